#!/bin/bash
# What the module says to a configuration that is wrong, or that shares less than its author thinks.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

make_certificates
daemon_start now 1000

case_ "arguments"
SHARING='tlsbaton worker.sock;'
refuses wrong '"worker.sock" is not an absolute path'
SHARING='tlsbaton "";'
refuses wrong '"" is not an absolute path'
SHARING="tlsbaton /$(printf 'x%.0s' {1..107});"
refuses wrong "has 108 bytes; a Unix socket's may have 107"
SHARING='tlsbaton on; tlsbaton off;'
refuses wrong '"tlsbaton" is here twice'
SHARING='tlsbaton on off;'
refuses wrong 'invalid number of arguments'
SHARING='location / { tlsbaton on; }'
refuses wrong 'directive is not allowed here'

case_ "two daemons"
SHARING="tlsbaton $SOCKET;"
HTTP='server { listen 127.0.0.1:1 ssl; tlsbaton /run/other.sock; }'
refuses wrong 'one nginx has one tlsbatond'

case_ "nginx's own cache"
SHARING="tlsbaton $SOCKET;"
for cache in shared:x:1m builtin:100 off 'builtin shared:x:1m'; do
	HTTP="ssl_session_cache $cache;"
	warns cache '"ssl_session_cache" has no effect for the server in'
done
HTTP='ssl_session_cache none;'
nginx_says cache 'test is successful'
is "lines about the cache" "$(grep -c ssl_session_cache "$T/cache/start.log")" 0

case_ "early data"
HTTP='ssl_early_data on;'
warns early '"ssl_early_data" has no effect for the server in'
nginx_start early
is "full" "$(get /hello - "$T/s")" New
is "early data offered" "$(openssl sess_id -in "$T/s" -noout -text | sed -n 's/.*Max Early Data: *//p')" 0
no_crash early
nginx_stop early

case_ "a default server that does not share"
SHARING=
HTTP="server { listen 127.0.0.1:1 ssl; } server { listen 127.0.0.1:1 ssl; server_name x; tlsbaton $SOCKET; }"
warns default 'decides; write "tlsbaton on" in it, or in http'
HTTP=

case_ "off: nothing is done"
SHARING='tlsbaton off;'
nginx_start off
is "full" "$(get /hello - "$T/s")" New
is "not resumed" "$(get /hello "$T/s")" New
is "workers at the daemon" "$(figure workers)" 0
is "outcomes" "$(logged off '^/hello 200 none 0.000$')" 2
no_crash off
nginx_stop off

SHARING="tlsbaton $SOCKET;"
TICKETS=on
for version in 1.2 1.3; do
	case_ "TLS $version, tickets on, where the group resumes statefully: they are turned off"
	PROTOCOL=TLSv$version
	stored=$(figure stored)
	nginx_start stateful
	is "full" "$(get /hello - "$T/s")" New
	is "resumed" "$(get /hello "$T/s")" Reused
	at_least "records stored" "$(figure stored)" $((stored + 1))
	no_crash stateful
	nginx_stop stateful
done
daemon_end TERM

openssl rand 80 >"$T/key"
daemon_start now 1000 both
for version in 1.2 1.3; do
	case_ "TLS $version, in tickets: nothing is stored, and their keys outlive the server"
	PROTOCOL=TLSv$version
	nginx_start tickets
	is "full" "$(get /hello - "$T/s")" New
	is "resumed from its ticket" "$(get /hello "$T/s")" Reused
	is "full" "$(get /hello - "$T/s")" New
	nginx_stop tickets
	SERVER="ssl_session_ticket_key $T/key;"
	warns tickets '"ssl_session_ticket_key" has no effect'
	nginx_start tickets
	SERVER=
	is "resumed from its ticket by another server" "$(get /hello "$T/s")" Reused
	is "records stored" "$(figure stored)" 0
	is "outcomes" "$(logged tickets '^/hello 200 none 0.000$')" 1
	no_crash tickets
	nginx_stop tickets
done
daemon_end TERM
