#!/bin/bash
# The gate: a client gets no byte of a response before its session is where the policy wants it, over
# HTTP/1.1 and HTTP/2. Usage: test-gate.sh event|prefork TLSv1.2|TLSv1.3
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
MPM=$1
PROTOCOL=$2
GLOBAL='ErrorDocument 404 "no such thing"'
VHOST='
<Location /private>
	SSLVerifyClient optional_no_ca
</Location>'
# mod_http2 does not work under prefork.
[ "$MPM" = prefork ] || VHOST+='
Protocols h2 http/1.1'

make_certificates

# fetch_behind HTTP-VERSION PATH: asks for PATH while no notice is acked and the deadline is
# far; checks that nothing arrives while a worker waits at its gate, and everything once that opens.
fetch_behind()
{
	local curl_pid
	daemon_start hold 60000
	apache_start gate
	rm -f "$T/body" "$T/head"
	curl -sk "--http$1" -o "$T/body" -D "$T/head" -w '%{http_version} %{http_code}' \
		"https://127.0.0.1:$PORT$2" >"$T/said" &
	curl_pid=$!
	until_true figure_is gate_waits 1
	at_least "records stored" "$(figure stored)" 1
	is "bytes that came too early" "$(cat "$T/head" "$T/body" 2>/dev/null | wc -c)" 0
	daemon_release
	wait "$curl_pid" || fail "curl: $?"
	is "gates that were closed" "$(figure gate_waits)" 1
	is "gates that opened at the deadline" "$(figure gate_timeouts)" 0
	apache_stop gate
	no_crash gate
	daemon_end TERM
}

case_ "HTTP/1.1"
fetch_behind 1.1 /hello
is "answer" "$(cat "$T/said")" "1.1 200"
case_ "HTTP/1.1, an error page"
fetch_behind 1.1 /none
is "answer" "$(cat "$T/said")" "1.1 404"
if [ "$MPM" != prefork ]; then
	case_ "HTTP/2"
	fetch_behind 2 /hello
	is "answer" "$(cat "$T/said")" "2 200"
fi

case_ "who resumes a session that is not acked yet waits, too"
daemon_start hold 60000
apache_start gate
resume_behind_gate
apache_stop gate
no_crash gate
daemon_end TERM

case_ "at the deadline the client is answered all the same, and counted"
daemon_start hold 50
apache_start gate
answered_at_deadline '/server-status?auto'

case_ "a second session on a connection, for a client certificate, waits again"
daemon_hold
curl -sk --http1.1 --cert "$T/server.crt" --key "$T/server.key" -w '%{http_code} %{num_connects} ' \
	-o "$T/body" "https://127.0.0.1:$PORT/hello" -o "$T/body" "https://127.0.0.1:$PORT/private" >"$T/said" ||
	fail "curl: $?"
is "answers, and connections made" "$(cat "$T/said")" "200 1 200 0 "
waits=$(figure gate_waits)
is "gates that were closed" "$waits" 3

case_ "a connection that ends without a request waits for nothing"
openssl s_client -connect "127.0.0.1:$PORT" </dev/null >/dev/null 2>&1
n=$(figure stored)
at_least "records stored" "$n" 2
apache_stop gate # children finish what they have begun
is "gates that were closed" "$(figure gate_waits)" "$waits"
no_crash gate
daemon_end TERM
