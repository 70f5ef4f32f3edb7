#!/bin/bash
# What the module says to a configuration that is wrong, or that shares less than its author thinks.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

make_certificates
daemon_start now 1000

case_ "arguments"
CACHE=tlsbaton:worker.sock
apache_refuses wrong "SSLSessionCache: tlsbaton: 'worker.sock' is not an absolute path"
CACHE=tlsbaton:
apache_refuses wrong "SSLSessionCache: tlsbaton: '' is not an absolute path"
CACHE=tlsbaton:/$(printf 'x%.0s' {1..107})
apache_refuses wrong "the socket's path has 108 bytes; a Unix socket's may have 107"

case_ "a cache for something else than sessions"
CACHE=none
GLOBAL="SSLUseStapling on
SSLStaplingCache tlsbaton:$SOCKET"
apache_refuses wrong "'mod_ssl-staple' cannot use the cache 'tlsbaton'"
GLOBAL=

case_ "no mod_ssl"
CACHE=tlsbaton:$SOCKET
MODULES=tlsbaton
apache_refuses wrong "shares the sessions of mod_ssl, which is not loaded"

case_ "loaded, but not used"
MODULES='tlsbaton ssl'
CACHE=none
apache_start unused
is "lines" "$(n_lines unused 'mod_tlsbaton is loaded, but no session is shared')" 1
is "serves" "$(get /hello)" New
apache_stop unused

case_ "the order of LoadModule does not matter"
CACHE=tlsbaton:$SOCKET
MODULES='ssl tlsbaton'
several_children
apache_start order
is "full" "$(get /hello - "$T/s")" New
is "resumed" "$(get /hello "$T/s")" Reused
apache_stop order

TICKETS=on
GLOBAL=
NAMES='localhost another'
for version in 1.2 1.3; do
	case_ "TLS $version, tickets on, where the group resumes statefully: they are turned off"
	PROTOCOL=TLSv$version
	stored=$(figure stored)
	apache_start stateful
	is "full" "$(get /hello - "$T/s")" New
	is "resumed" "$(get /hello "$T/s")" Reused
	at_least "records stored" "$(figure stored)" $((stored + 1))
	apache_stop stateful
done
daemon_end TERM

openssl rand 80 >"$T/key-1"
openssl rand 80 >"$T/key-2"
daemon_start now 1000 both
for version in 1.2 1.3; do
	case_ "TLS $version, in tickets: nothing is stored, and their keys outlive the server"
	PROTOCOL=TLSv$version
	# Keys that mod_ssl is given for its tickets are not asked.
	VHOST="SSLSessionTicketKeyFile $T/key-1"
	apache_start tickets
	is "full" "$(get /hello - "$T/s")" New
	is "resumed from its ticket" "$(get /hello "$T/s")" Reused
	is "full" "$(get /hello - "$T/s")" New
	apache_stop tickets
	VHOST="SSLSessionTicketKeyFile $T/key-2"
	apache_start tickets
	is "resumed from its ticket by another server" "$(get /hello "$T/s")" Reused
	is "records stored" "$(figure stored)" 0
	apache_stop tickets
done
daemon_end TERM

case_ "a daemon that comes after Apache: tickets are off until a reload, and the log says so"
says_it()
{
	get /hello >/dev/null
	says late 'tickets stay off until a reload'
}
VHOST=
apache_start late
daemon_start now 1000 both
until_true says_it
is "full" "$(get /hello - "$T/s")" New
is "resumed" "$(get /hello "$T/s")" Reused
is "tickets that were opened" "$(figure tickets_opened)" 0
apache_graceful late
is "full" "$(get /hello - "$T/s")" New
is "resumed from its ticket" "$(get /hello "$T/s")" Reused
at_least "tickets that were opened" "$(figure tickets_opened)" 1
is "lines that say so" "$(n_lines late 'tickets stay off')" 1
is "lines that sharing starts, with that of the reload" "$(n_lines late 'sessions are shared')" 2
apache_stop late
