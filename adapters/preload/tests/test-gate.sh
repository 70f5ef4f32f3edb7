#!/bin/bash
# The gate of servers that know nothing of it: a client gets no byte of a response before its session is where the
# policy wants it, and event loops go on meanwhile. Usage:
# test-gate.sh SERVER TLSv1.2|TLSv1.3 [edge], `edge` for an HAProxy that has edge-triggered events.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
SERVER=$1
PROTOCOL=$2
[ "${3:-}" != edge ] || GLOBAL=$'expose-experimental-directives\ntune.fd.edge-triggered on'
# One thread, one worker: were it to sleep, nobody would be answered.
THREADS=1
WORKERS=1

REQUEST='GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'

n_bytes()
{
	cat "$@" | wc -c
}


[ "$SERVER" != stunnel ] || plain_start

case_ "nothing before the ack, all of it after"
daemon_start hold 60000
server_start gate
begin bytes "$REQUEST"
until_true figure_is gate_waits 1
at_least "records stored" "$(figure stored)" 1
is "bytes that came too early" "$(n_bytes "$T/bytes")" 0

case "$SERVER" in
haproxy | nginx)
	case_ "others are served while gates are closed"
	clients=("$CLIENT")
	for i in {1..8}; do
		begin "bytes.$i" "$REQUEST"
		clients+=("$CLIENT")
	done
	until_true figure_is gate_waits 9
	for i in {1..20}; do
		is "answer over a plain connection" \
			"$(curl -s --unix-socket "$T/gate/plain.sock" http://localhost/)" hello
	done
	is "bytes that came too early" "$(n_bytes "$T"/bytes*)" 0
	;;
*) clients=("$CLIENT") ;;
esac
daemon_release
wait "${clients[@]}" || true
is "answers" "$(grep -l '^HTTP/1.1 200' "$T"/bytes* | wc -l)" ${#clients[@]}
is "gates that were closed" "$(figure gate_waits)" ${#clients[@]}
is "gates that opened at the deadline" "$(figure gate_timeouts)" 0
server_stop gate
daemon_end TERM

if [ "$SERVER" != asyncio ]; then # its only thread sleeps at the first client's gate
	case_ "a client that resumes a session which the peers do not have yet"
	daemon_start hold 60000
	server_start gate
	resume_behind_gate
	server_stop gate
	daemon_end TERM
fi

case_ "at the deadline the client is answered all the same, and counted"
daemon_start hold 50
server_start gate
is "handshake" "$(get /hello - "$T/s")" New
until_true figure_is gate_timeouts 1
is "gates that were closed" "$(figure gate_waits)" 1

case_ "a connection without a new session waits for nothing"
daemon_release
if [ "$PROTOCOL" = TLSv1.2 ]; then # a resumption with TLS 1.3 is a new session
	is "handshake" "$(get /hello "$T/s")" Reused
	is "gates that were closed" "$(figure gate_waits)" 1
fi
server_stop gate
daemon_end TERM

case_ "a daemon that dies: its gates open"
daemon_start hold 200
server_start gate
begin bytes "$REQUEST"
until_true figure_is gate_waits 1
daemon_end KILL
wait "$CLIENT" || true
is "first line" "$(head -n 1 "$T/bytes" | tr -d '\r')" 'HTTP/1.1 200 OK'
server_stop gate
