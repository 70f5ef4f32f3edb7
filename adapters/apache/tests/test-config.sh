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
is "lines about tickets" "$(n_lines order 'session tickets are on')" 0
stored=$(figure stored)
apache_stop order

TICKETS=on
GLOBAL=
NAMES='localhost another'
for version in 1.2 1.3; do
	case_ "TLS $version with tickets: serves, stores nothing, says why once"
	PROTOCOL=TLSv$version
	apache_start tickets
	for i in 1 2 3 4 5; do
		is "full" "$(get '/server-status?auto' - "$T/s")" New
	done
	[ "$version" = 1.2 ] || at_least "stateless ones that were seen" "$(status_of Stateless)" 1
	is "resumed from its ticket" "$(get /hello "$T/s")" Reused
	is "records stored" "$(figure stored)" "$stored"
	is "lines" "$(n_lines tickets "session tickets are on for the virtual host at $T/tickets/httpd.conf")" 1
	apache_stop tickets
done
