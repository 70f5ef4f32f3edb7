#!/bin/bash
# With the daemon killed, absent, hung or back, and with clients that end badly, a server that knows nothing of tlsbaton
# serves, old sessions resume, and what it says is short. Usage: test-faults.sh SERVER TLSv1.2|TLSv1.3
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
SERVER=$1
PROTOCOL=$2
WORKERS=1 # one that was not at the daemon before it hangs has no table to look in

# A new session resumes on the other server, too.
is_shared()
{
	PORT=$port_a
	is "full" "$(get /hello - "$T/new")" New
	PORT=$port_b
	[ "$(get /hello "$T/new")" = Reused ]
}

# complaints N: how many lines on standard error, where the server leaves that alone.
complaints()
{
	case "$SERVER" in
	nginx | apache) ;;
	*) is "complaints" "$(grep '^tlsbaton: ' "$T/a/error.log" | grep -vc '; 0 had waited')" "$1" ;;
	esac
}

[ "$SERVER" != stunnel ] || plain_start

case_ "no daemon when it starts"
server_start a
port_a=$PORT
for i in 1 2 3; do
	is "full $i" "$(get /hello - "$T/new")" New
done
complaints 1
server_start b
port_b=$PORT

case_ "the daemon comes"
daemon_start now 1000
until_true is_shared
PORT=$port_a
is "full" "$(get /hello - "$T/old")" New

case_ "the daemon is killed"
daemon_end KILL
for i in 1 2 3; do
	is "new session $i" "$(get /hello - "$T/new")" New
	is "old session $i" "$(get /hello "$T/old")" Reused
done

case_ "the daemon is back"
daemon_start now 1000
is "old session" "$(get /hello "$T/old")" Reused
until_true is_shared

case_ "the daemon hangs"
kill -STOP "$DAEMON_PID"
PORT=$port_a
for i in 1 2 3; do
	is "new session $i" "$(get /hello - "$T/new")" New
	is "old session $i" "$(get /hello "$T/old")" Reused
done
kill -CONT "$DAEMON_PID"
until_true is_shared

case_ "clients that end badly remove nothing"
is "full" "$(get /hello - "$T/s")" New
for how in reset garbage silence; do
	bad_client "$how" "$T/s"
	is "after $how" "$(get /hello "$T/s")" Reused
done
is "removals that the daemon saw" "$(figure removed)" 0

server_stop a
server_stop b
daemon_end TERM
