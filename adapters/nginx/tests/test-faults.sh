#!/bin/bash
# With the daemon killed, absent or back, and with clients that end badly, nginx serves, old sessions resume, and
# the error log stays short. Usage: test-faults.sh TLSv1.2|TLSv1.3
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
PROTOCOL=$1

make_certificates
WORKERS=3

# The lines of the module in the error log of NAME that are warnings or worse.
n_complaints()
{
	grep -c '\[\(warn\|error\|crit\|alert\|emerg\)\].*tlsbaton: ' "$T/$1/error.log" || true
}

# A new session resumes in other workers: so that several have it, more than once.
is_shared()
{
	is "full" "$(get /hello - "$T/new")" New
	[ "$(get /hello "$T/new")" = Reused ] && [ "$(get /hello "$T/new")" = Reused ]
}

case_ "the daemon is killed"
daemon_start now 1000
nginx_start server
is "full" "$(get /hello - "$T/old")" New
daemon_end KILL
serves_on
is "complaints" "$(n_complaints server)" 1

case_ "the daemon is back"
daemon_start now 1000
is "old session" "$(get /hello "$T/old")" Reused
until_true is_shared

case_ "the daemon hangs"
kill -STOP "$DAEMON_PID"
serves_on
kill -CONT "$DAEMON_PID"
until_true is_shared

case_ "a reload with a daemon that hangs"
kill -STOP "$DAEMON_PID"
nginx_reload server
is "new session" "$(get /hello - "$T/new")" New
kill -CONT "$DAEMON_PID"
until_true is_shared
is "old session" "$(get /hello "$T/old")" Reused
nginx_stop server
no_crash server
daemon_end KILL

case_ "no daemon when nginx starts"
nginx_start server
is "full" "$(get /hello - "$T/new")" New
daemon_start now 1000
until_true is_shared
is "complaints" "$(n_complaints server)" 1
nginx_stop server
no_crash server

case_ "clients that end badly remove nothing"
nginx_start server
is "full" "$(get /hello - "$T/s")" New
bad_clients_remove_nothing /hello
nginx_stop server
no_crash server
daemon_end TERM
