#!/bin/bash
# With the daemon killed, absent or back, and with clients that end badly, Apache serves, old sessions
# resume, and the error log stays short. Usage: test-faults.sh event|prefork TLSv1.2|TLSv1.3
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
MPM=$1
PROTOCOL=$2

make_certificates
several_children

# The lines of the module in the error log of NAME that are warnings or worse.
n_complaints()
{
	grep -c '\[tlsbaton:\(warn\|error\|crit\|alert\|emerg\)\]' "$T/$1/error.log" || true
}

# The old session resumes; and its child, or another before, has complained.
says_it()
{
	is "old session" "$(get /hello "$T/old")" Reused
	[ "$(n_complaints "$1")" -gt 0 ]
}

# A new session resumes in another process.
is_shared()
{
	is "full" "$(get /hello - "$T/new")" New
	[ "$(get /hello "$T/new")" = Reused ]
}

case_ "the daemon is killed"
daemon_start now 1000
apache_start server
is "full" "$(get /hello - "$T/old")" New
daemon_end KILL
# Until a child has found out and said so; then new children, that start without a daemon.
until_true says_it server
apache_graceful server
serves_on
is "complaints" "$(n_complaints server)" 1

case_ "the daemon is back"
daemon_start now 1000
is "old session" "$(get /hello "$T/old")" Reused
until_true is_shared
apache_stop server
no_crash server
daemon_end KILL

case_ "no daemon when Apache starts"
apache_start server
is "full" "$(get /hello - "$T/new")" New
is "not shared" "$(get /hello "$T/new")" New
daemon_start now 1000
until_true is_shared
is "complaints" "$(n_complaints server)" 1
apache_stop server
no_crash server

case_ "clients that end badly remove nothing"
one_child # which then has seen all of them
apache_start server
is "full" "$(get /hello - "$T/s")" New
bad_clients_remove_nothing '/server-status?auto'
at_least "removals that OpenSSL asked for" "$(status_of RemovalsIgnored)" 1
apache_stop server
no_crash server
daemon_end TERM
