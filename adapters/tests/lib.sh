# What the tests of the servers' modules share, to be sourced: checks, the daemon that stands in for tlsbatond, and
# clients. A test has real servers on loopback, and everything that it writes in a directory of its own.
# DAEMON is test-daemon (Meson sets it). A server NAME has its files in $T/NAME, among them pid and error.log.
# shellcheck shell=bash
set -euo pipefail

ADAPTER_TESTS=$(dirname "${BASH_SOURCE[0]}")

skip()
{
	echo "skipped: $*"
	exit 77
}

[ "$(id -u)" = 0 ] || skip "needs root"
# A network of its own: no port is taken by somebody else, and tests may run side by side.
if [ -z "${ADAPTER_TESTS_NETWORK:-}" ]; then
	ADAPTER_TESTS_NETWORK=own exec unshare --net -- "$0" "$@"
fi
ip link set lo up
for command in openssl curl python3; do
	command -v $command >/dev/null || skip "needs $command"
done
id www-data >/dev/null 2>&1 || skip "needs the user www-data"

T=$(mktemp -d)
chmod 755 "$T"
SOCKET=$T/worker.sock
N_CHECKS=0
CASE=

# ---- Checks ----

case_()
{
	CASE=$*
	echo "-- $CASE"
}

fail()
{
	echo "FAILED ($CASE): $*" >&2
	[ ! -e "$T/answer.err" ] || grep -v '^depth=\|^verify ' "$T/answer.err" >&2
	for log in "$T"/*/error.log; do
		[ ! -e "$log" ] || { echo "== $log" && tail -n 25 "$log"; } >&2
	done
	exit 1
}

# is WHAT GOT WANTED
is()
{
	N_CHECKS=$((N_CHECKS + 1))
	[ "$2" = "$3" ] || fail "$1: '$2', not '$3'"
}

# at_least WHAT GOT MINIMUM
at_least()
{
	N_CHECKS=$((N_CHECKS + 1))
	[ "$2" -ge "$3" ] || fail "$1: $2, less than $3"
}

# Waits until COMMAND… succeeds: for what other processes do in their own time. A test that passes
# never waits longer than it must; one that fails gives up after some 10 seconds.
until_true()
{
	local i
	for ((i = 0; i < 500; i++)); do
		! "$@" || return 0
		sleep 0.02
	done
	fail "never became true: $*"
}

# ---- The daemon ----

DAEMON_PID=
DAEMON_OUT=

# daemon_start now|hold|late=MS DEADLINE_MS [stateful|tickets|both]
daemon_start()
{
	local line
	# shellcheck disable=SC2093 # the exec in the substitution gives $! the daemon's own process ID
	exec {DAEMON_OUT}< <(exec "$DAEMON" "$SOCKET" "$T/table" "$1" "$2" www-data "${3:-stateful}")
	DAEMON_PID=$!
	read -r -t 10 line <&"$DAEMON_OUT" || fail "the daemon did not start"
	[ "$line" = ready ] || fail "the daemon said: $line"
}

# daemon_end SIGNAL
daemon_end()
{
	[ -n "$DAEMON_PID" ] || return 0
	kill -"$1" "$DAEMON_PID"
	wait "$DAEMON_PID" 2>/dev/null || true
	DAEMON_PID=
	exec {DAEMON_OUT}<&-
}

# figure NAME: one of the figures that the daemon shows.
figure()
{
	local line
	kill -USR1 "$DAEMON_PID"
	read -r -t 10 line <&"$DAEMON_OUT" || fail "the daemon shows no figures"
	line=" $line "
	line=${line##* "$1"=}
	echo "${line%% *}"
}

figure_is()
{
	[ "$(figure "$1")" = "$2" ]
}

# The daemon acks what it holds back, and all that comes; or holds back again.
daemon_release()
{
	kill -USR2 "$DAEMON_PID"
	until_true figure_is held 0
}

daemon_hold()
{
	kill -USR2 "$DAEMON_PID"
	until_true figure_is held 1
}

# ---- Servers ----

make_certificates()
{
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
		-addext basicConstraints=critical,CA:FALSE \
		-keyout "$T/server.key" -out "$T/server.crt" 2>/dev/null
}

# A client's certificate whose many names make a DER of some kilobytes, and its authority.
make_client_certificate()
{
	local names
	names=$(printf 'DNS:name-%03d.of.a.client.example,' {1..100})
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout "$T/ca.key" -out "$T/ca.crt" -subj /CN=ca 2>/dev/null
	openssl req -newkey rsa:2048 -nodes -keyout "$T/client.key" -subj /CN=client -out "$T/client.csr" 2>/dev/null
	openssl x509 -req -in "$T/client.csr" -CA "$T/ca.crt" -CAkey "$T/ca.key" -CAcreateserial -days 2 \
		-extfile <(echo "subjectAltName=${names%,}") -out "$T/client.crt" 2>/dev/null
}

# load N: clients one after the other, each with a full handshake, until $T/stop is there. Says in $T/load.N how
# many there were, and how many failed.
load()
{
	local n=0 n_failed=0
	until [ -e "$T/stop" ]; do
		n=$((n + 1))
		curl -sk -o /dev/null "https://127.0.0.1:$PORT/hello" || n_failed=$((n_failed + 1))
	done
	echo "$n $n_failed" >"$T/load.$1"
}

# n_lines NAME TEXT: how many lines of its error log have TEXT.
n_lines()
{
	grep -cF -- "$2" "$T/$1/error.log" || true
}

says()
{
	grep -qsF -- "$2" "$T/$1/start.log" "$T/$1/error.log"
}

# ---- Clients ----

HOST=localhost # what clients ask for

# get PATH [IN|-] [OUT|-] [OPTION…]: a request with OpenSSL's client on a connection of its own, with the
# session in file IN, leaving the session to be resumed next in OUT. Prints New or Reused (or failed); the
# answer is in $T/answer.
get()
{
	local path=$1 in=${2:--} out=${3:--} options=()
	shift $(($# < 3 ? $# : 3))
	[ "$in" = - ] || options+=(-sess_in "$in")
	[ "$out" = - ] || options+=(-sess_out "$out")
	printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$path" "$HOST" |
		timeout 20 openssl s_client -connect "127.0.0.1:$PORT" -ign_eof "${options[@]}" "$@" \
			>"$T/answer" 2>"$T/answer.err" || true
	# A resumption with TLS 1.2 is no new session: the old one goes on.
	[ "$out" = - ] || [ "$in" = - ] || [ -e "$out" ] || cp "$in" "$out"
	if grep -q 'HTTP/1.1 200' "$T/answer"; then
		grep -aoE -m 1 '^(New|Reused), TLS' "$T/answer" | cut -d, -f1
	else
		echo failed
	fi
}

# in_tickets: what has resumed so far did so by ticket if TICKETS is on, and else by session ID.
in_tickets()
{
	if [ "$TICKETS" = on ]; then
		at_least "tickets that were opened" "$(figure tickets_opened)" 4
		is "sessions that were stored" "$(figure stored)" 0
	else
		is "tickets that were opened" "$(figure tickets_opened)" 0
		at_least "sessions that were found" "$(figure hits)" 4
	fi
}

# Without a daemon, or with one that hangs: full handshakes are done, and the session in $T/old resumes.
serves_on()
{
	local i
	for i in 1 2 3 4 5; do
		is "new session $i" "$(get /hello - "$T/new")" New
		is "old session $i" "$(get /hello "$T/old")" Reused
	done
}

# bad_clients_remove_nothing PATH: clients of the session in $T/s end badly, and it resumes with PATH all the same.
bad_clients_remove_nothing()
{
	local how
	for how in reset garbage silence; do
		bad_client "$how" "$T/s"
		is "after $how" "$(get "$1" "$T/s")" Reused
	done
	is "removals that the daemon saw" "$(figure removed)" 0
}

# The session that is put last, of a resumption of $T/s2 a second later (into $T/s3), expires when the first one does.
expires_with_the_first()
{
	local expires second
	expires=$(figure expires)
	second=$(date +%s)
	until_true second_is_over "$second"
	is "resumed" "$(get /hello "$T/s2" "$T/s3")" Reused
	is "expiry of what was stored last" "$(figure expires)" "$expires"
}

second_is_over()
{
	[ "$(date +%s)" -gt "$1" ]
}

# begin NAME REQUEST [OPTION…]: sends the bytes REQUEST on a connection of its own, in the background, with OpenSSL's
# client. What comes back, and nothing else, goes to $T/NAME. Out: CLIENT.
begin()
{
	local name=$1 request=$2
	shift 2
	rm -f "$T/$name"
	# shellcheck disable=SC2059 # the request is a format
	printf "$request" | timeout 60 openssl s_client -connect "127.0.0.1:$PORT" -quiet -ign_eof "$@" \
		>"$T/$name" 2>/dev/null &
	CLIENT=$!
}

# resume_behind_gate: while no notice is acked and the deadline is far, a client resumes the session of another one
# that still waits at its gate. Checks that neither gets a byte, and both everything once the daemon acks.
resume_behind_gate()
{
	local request='GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' first n_sessions=1
	[ "$PROTOCOL" = TLSv1.2 ] || n_sessions=2
	rm -f "$T/session"
	begin made "$request" -sess_out "$T/session"
	first=$CLIENT
	until_true figure_is stored $n_sessions
	until_true test -s "$T/session"
	begin resumed "$request" -sess_in "$T/session"
	until_true figure_is gate_waits 2
	is "sessions that were found" "$(figure hits)" 1
	is "bytes that came too early" "$(cat "$T/made" "$T/resumed" | wc -c)" 0
	daemon_release
	wait "$first" "$CLIENT" || true
	is "answers" "$(grep -l '^HTTP/1.1 200' "$T/made" "$T/resumed" | wc -l)" 2
	is "gates that opened at the deadline" "$(figure gate_timeouts)" 0
}

# answered_at_deadline PATH: nothing is acked, the deadline comes, and a client is answered all the same, and counted; then
# it is acked, and a resumption of it, $T/s, waits for nothing.
answered_at_deadline()
{
	is "handshake" "$(get "$1" - "$T/s")" New
	until_true figure_is gate_timeouts 1
	is "gates that were closed" "$(figure gate_waits)" 1
	daemon_release
	[ "$PROTOCOL" = TLSv1.2 ] || return 0 # a resumption with TLS 1.3 is a new session
	is "handshake" "$(get /hello "$T/s")" Reused
	is "gates that were closed" "$(figure gate_waits)" 1
}

# bad_client HOW SESSION: a client that resumes SESSION, has its answer, and ends badly (bad-client.py).
bad_client()
{
	python3 "$ADAPTER_TESTS/bad-client.py" "$PORT" "${PROTOCOL#TLSv}" "$1" "$2" || fail "bad client: $1"
}

finish()
{
	local status=$? pid file
	trap - EXIT
	daemon_end KILL 2>/dev/null || true
	for file in "$T"/*/pid; do
		[ -e "$file" ] || continue
		pid=$(cat "$file")
		kill -TERM "$pid" 2>/dev/null || continue
		for _ in {1..250}; do
			[ -e "/proc/$pid" ] || break
			sleep 0.02
		done
	done
	[ "$status" != 0 ] || echo "$N_CHECKS checks passed"
	rm -rf "$T"
	exit "$status"
}
trap finish EXIT
trap 'exit 1' TERM INT
