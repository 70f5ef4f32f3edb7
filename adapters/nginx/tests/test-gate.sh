#!/bin/bash
# The gate: a client gets no byte of any response before its session is where the policy wants it, over HTTP/1.1
# and HTTP/2, and no worker sleeps for that. Usage: test-gate.sh TLSv1.2|TLSv1.3
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
PROTOCOL=$1
WORKERS=1
LISTEN='ssl http2'
HTTP="
upstream plain { server unix:$T/plain.sock; }
upstream echo { server unix:$T/echo.sock; }
server { listen unix:$T/plain.sock; return 200 'from behind'; }"
SERVER="
location /moved { return 301 /hello; }
location /silent { return 444; }
location /page { error_page 403 /hello; deny all; }
location /proxied { proxy_pass http://plain; }
location /upgrade {
	proxy_pass http://echo;
	proxy_http_version 1.1;
	proxy_set_header Upgrade \$http_upgrade;
	proxy_set_header Connection upgrade;
}"

make_certificates

# ask REQUEST: begins it, into $T/bytes.
ask()
{
	waits=$(figure gate_waits)
	begin bytes "$1"
}

# Since ask.
gate_is_closed()
{
	until_true figure_is gate_waits $((waits + 1))
	at_least "records stored" "$(figure stored)" 1
	is "bytes that came too early" "$(cat "$@" 2>/dev/null | wc -c)" 0
}

release()
{
	daemon_release
	wait "$CLIENT" || true
	is "gates that were closed" "$(figure gate_waits)" $((waits + 1))
	is "gates that opened at the deadline" "$(figure gate_timeouts)" 0
	daemon_hold
}

first_line()
{
	head -n 1 "$T/bytes" | tr -d '\r'
}

last_line()
{
	tail -n 1 "$T/bytes" | tr -d '\r'
}

has_logged()
{
	[ "$(logged gate "$1")" -ge 1 ]
}

has_waited()
{
	[ "$(figure gate_waits)" -ge 1 ]
}

start_held()
{
	daemon_start hold 60000
	rm -f "$T/plain.sock"
	nginx_start gate
}

stop()
{
	nginx_stop gate
	no_crash gate
	daemon_end TERM
}

# held FIRST-LINE REQUEST: no byte before the release, then a response that begins with FIRST-LINE.
held()
{
	case_ "$1: $(head -n 1 <<<"${2//\\r\\n/$'\n'}")"
	ask "$2"
	gate_is_closed "$T/bytes"
	release
	is "first line" "$(first_line)" "$1"
}

start_held

end='Host: localhost\r\nConnection: close\r\n\r\n'
held 'HTTP/1.1 200 OK' "GET /hello HTTP/1.1\r\n$end"
held 'HTTP/1.1 200 OK' "GET /large HTTP/1.1\r\n$end"
is "bytes of the large one" "$(($(wc -c <"$T/bytes") > 200000))" 1
held 'HTTP/1.1 404 Not Found' "GET /none HTTP/1.1\r\n$end"
held 'HTTP/1.1 400 Bad Request' 'nonsense\r\n\r\n'
held 'HTTP/1.1 301 Moved Permanently' "GET /moved HTTP/1.1\r\n$end"
held 'HTTP/1.1 403 Forbidden' "GET /page HTTP/1.1\r\n$end"
held 'HTTP/1.1 200 OK' "GET /proxied HTTP/1.1\r\n$end"
held 'HTTP/1.1 100 Continue' "POST /proxied HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n${end}hi"
is "and then" "$(last_line)" 'from behind'

case_ "two requests on one connection"
before=$(logged gate '^/hello 200 ')
ask "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\nGET /proxied HTTP/1.1\r\n$end"
gate_is_closed "$T/bytes"
release
is "answers" "$(grep -c '^HTTP/1.1 200' "$T/bytes")" 2
is "outcome of the first" "$(logged gate "^/hello 200 $(first_outcome) [0-9]+\.[0-9]{3}\$")" $((before + 1))
is "it has waited" "$(logged gate '^/hello 200 [a-z]+ 0\.000$')" 0

case_ "an upgrade"
"$(dirname "$0")/upgrade-server.py" "$T/echo.sock" &
upstream=$!
until_true test -S "$T/echo.sock"
chmod 666 "$T/echo.sock"
ask 'GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nping\n'
gate_is_closed "$T/bytes"
release
wait "$upstream"
is "first line" "$(first_line)" 'HTTP/1.1 101 Switching Protocols'
is "what is sent back" "$(tr -d '\r' <"$T/bytes" | sed '1,/^$/d' | tr '\n' ' ')" 'welcome ping '
stop

case_ "HTTP/2, several streams"
start_held
rm -f "$T"/body.*
curl -sk --http2 --parallel -w '%{http_version} %{http_code} ' "https://127.0.0.1:$PORT/{hello,none,moved,proxied,large}" \
	-o "$T/body.#1" >"$T/said" &
CLIENT=$!
until_true has_waited
is "bytes that came too early" "$(cat "$T"/body.* 2>/dev/null | wc -c)" 0
daemon_release
wait "$CLIENT" || fail "curl: $?"
is "answers" "$(tr ' ' '\n' <"$T/said" | grep -v '^2$' | sort | tr '\n' ' ')" '200 200 200 301 404 '
is "bytes of the large one" "$(wc -c <"$T/body.large")" 200000
stop

case_ "who resumes a session that is not acked yet waits, too"
start_held
resume_behind_gate
stop

case_ "a response that is not sent does not wait"
start_held
ask "GET /silent HTTP/1.1\r\n$end"
wait "$CLIENT" || true
is "bytes" "$(wc -c <"$T/bytes")" 0
is "gates that were closed" "$(figure gate_waits)" 0

case_ "who hangs up while the gate is closed"
ask "GET /large HTTP/1.1\r\n$end"
until_true figure_is gate_waits 1
kill -TERM "$CLIENT" # which ends its client, too
wait "$CLIENT" 2>/dev/null || true
until_true has_logged '^/large '

case_ "others are served while gates are closed"
# The only worker: were it to sleep, nobody would be answered before the release.
clients=()
for i in {1..20}; do
	begin "bytes.$i" "GET /hello HTTP/1.1\r\n$end"
	clients+=("$CLIENT")
done
until_true figure_is gate_waits 21
for i in {1..20}; do
	is "answer over a plain connection" "$(curl -s --unix-socket "$T/plain.sock" http://localhost/)" 'from behind'
done
is "bytes that came too early" "$(cat "$T"/bytes.* | wc -c)" 0
daemon_release
wait "${clients[@]}"
is "answers" "$(grep -l '^HTTP/1.1 200' "$T"/bytes.* | wc -l)" 20
stop

case_ "at the deadline the client is answered all the same, and counted"
daemon_start hold 50
rm -f "$T/plain.sock"
nginx_start gate
answered_at_deadline /hello
[ "$PROTOCOL" != TLSv1.2 ] || is "outcome" "$(logged gate '^/hello 200 hit 0.000$')" 1

case_ "a connection that ends without a request waits for nothing"
daemon_hold
waits=$(figure gate_waits)
openssl s_client -connect "127.0.0.1:$PORT" </dev/null >/dev/null 2>&1
stop_waits=$(figure gate_waits)
is "gates that were closed" "$stop_waits" "$waits"
stop

case_ "a daemon that dies: its gates open"
daemon_start hold 200
rm -f "$T/plain.sock"
nginx_start gate
ask "GET /hello HTTP/1.1\r\n$end"
until_true figure_is gate_waits 1
daemon_end KILL
wait "$CLIENT" || true
is "first line" "$(first_line)" 'HTTP/1.1 200 OK'
nginx_stop gate
no_crash gate
