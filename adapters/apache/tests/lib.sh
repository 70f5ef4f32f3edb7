# For the tests of mod_tlsbaton, to be sourced: a real Apache on loopback, as root (it starts as root and
# serves as www-data, as it does in real life), with everything that it writes in a directory of the test.
#
# Usage, in a test: . "$(dirname "$0")/lib.sh"    with MOD_TLSBATON and DAEMON in the environment
#   (mod_tlsbaton.so, and the test-daemon that stands in for tlsbatond; Meson sets both).
# shellcheck shell=bash
set -euo pipefail

HTTPD=/usr/sbin/apache2
LIBEXEC=/usr/lib/apache2/modules

skip()
{
	echo "skipped: $*"
	exit 77
}

[ "$(id -u)" = 0 ] || skip "needs root"
[ -x $HTTPD ] || skip "needs Debian's apache2-bin"
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

# daemon_start now|hold DEADLINE_MS
daemon_start()
{
	local line
	# shellcheck disable=SC2093 # the exec in the substitution gives $! the daemon's own process ID
	exec {DAEMON_OUT}< <(exec "$DAEMON" "$SOCKET" "$T/table" "$1" "$2" www-data)
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

# ---- Apache ----

make_certificates()
{
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
		-addext basicConstraints=critical,CA:FALSE \
		-keyout "$T/server.key" -out "$T/server.crt" 2>/dev/null
}

# write_config NAME: $T/NAME/httpd.conf, from these variables:
MPM=event
PROTOCOL=TLSv1.3
TICKETS=off
CACHE=tlsbaton:$SOCKET
MODULES='tlsbaton ssl' # loaded in this order
GLOBAL=                # more lines for the server …
VHOST=                 # … and for its virtual hosts
NAMES=localhost        # of the virtual hosts
write_config()
{
	local root=$T/$1 module path name
	mkdir -p "$root/www"
	echo 'hello' >"$root/www/hello"
	cp "$root/www/hello" "$root/www/private"
	{
		cat <<-EOF
			ServerRoot $root
			DefaultRuntimeDir $root
			PidFile $root/pid
			ErrorLog $root/error.log
			LogLevel warn tlsbaton:info
			ServerName localhost
			User www-data
			Group www-data
			DocumentRoot $root/www
			LoadModule mpm_${MPM}_module $LIBEXEC/mod_mpm_$MPM.so
		EOF
		for module in authz_core $MODULES status http2; do
			path=$LIBEXEC/mod_$module.so
			[ "$module" != tlsbaton ] || path=$MOD_TLSBATON
			echo "LoadModule ${module}_module $path"
		done
		cat <<-EOF
			Listen 127.0.0.1:$PORT
			StartServers 2
			$GLOBAL
			ExtendedStatus off
			<IfModule ssl_module>
			SSLSessionCache $CACHE
			SSLSessionTickets $TICKETS
		EOF
		for name in $NAMES; do
			cat <<-EOF
				<VirtualHost 127.0.0.1:$PORT>
				# mod_ssl ties a session to name and port, so one service has the same of both on all its
				# servers; here their real ports have to differ.
				ServerName $name:443
				SSLEngine on
				SSLProtocol -all +$PROTOCOL
				SSLCertificateFile $T/server.crt
				SSLCertificateKeyFile $T/server.key
				<Location /server-status>
				SetHandler server-status
				</Location>
				$VHOST
				</VirtualHost>
			EOF
		done
		echo '</IfModule>'
	} >"$root/httpd.conf"
}

# apache_start NAME: writes its configuration and starts it on a free port. Out: PORT.
apache_start()
{
	local i
	for ((i = 0; i < 20; i++)); do
		PORT=$((20000 + RANDOM % 20000))
		write_config "$1"
		rm -f "$T/$1/error.log"
		if "$HTTPD" -f "$T/$1/httpd.conf" >"$T/$1/start.log" 2>&1; then
			until_true test -s "$T/$1/pid"
			return 0
		fi
		grep -q 'could not bind' "$T/$1/start.log" "$T/$1/error.log" || break
	done
	cat "$T/$1/start.log" >&2
	fail "Apache does not start"
}

# apache_refuses NAME TEXT: it must not come to serve, and say TEXT, to its user or, where it has gone
# to the background by then, to its error log.
apache_refuses()
{
	PORT=$((20000 + RANDOM % 20000))
	write_config "$1"
	rm -f "$T/$1/error.log"
	"$HTTPD" -f "$T/$1/httpd.conf" >"$T/$1/start.log" 2>&1 || true
	until_true says "$1" "$2"
	until_true no_process "$1"
}

says()
{
	grep -qsF -- "$2" "$T/$1/start.log" "$T/$1/error.log"
}

no_process()
{
	! pgrep -f "^$HTTPD -f $T/$1/httpd.conf" >/dev/null
}

# How often the server NAME has begun to serve: once at its start and after each restart.
n_started()
{
	grep -c 'resuming normal operations' "$T/$1/error.log"
}

started_more_than()
{
	[ "$(n_started "$1")" -gt "$2" ]
}

# apache_graceful NAME: returns when the new configuration serves.
apache_graceful()
{
	local n
	n=$(n_started "$1")
	kill -USR1 "$(cat "$T/$1/pid")"
	until_true started_more_than "$1" "$n"
}

apache_stop()
{
	local pid
	pid=$(cat "$T/$1/pid")
	kill -TERM "$pid"
	until_true test ! -e "$T/$1/pid"
	until_true test ! -e "/proc/$pid"
}

# n_lines NAME TEXT: how many lines of its error log have TEXT.
n_lines()
{
	grep -cF -- "$2" "$T/$1/error.log" || true
}

no_crash()
{
	is "crashed children of $1" "$(n_lines "$1" 'exit signal')" 0
}

# ---- Clients ----

# get PATH [IN|-] [OUT|-] [OPTION…]: a request with OpenSSL's client on a connection of its own, with the
# session in file IN, leaving the session to be resumed next in OUT. Prints New or Reused (or failed); the
# answer is in $T/answer.
get()
{
	local path=$1 in=${2:--} out=${3:--} options=()
	shift $(($# < 3 ? $# : 3))
	[ "$in" = - ] || options+=(-sess_in "$in")
	[ "$out" = - ] || options+=(-sess_out "$out")
	printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$path" |
		timeout 20 openssl s_client -connect "127.0.0.1:$PORT" -ign_eof "${options[@]}" "$@" \
			>"$T/answer" 2>"$T/answer.err" || true
	# A resumption with TLS 1.2 is no new session: the old one goes on.
	[ "$out" = - ] || [ "$in" = - ] || [ -e "$out" ] || cp "$in" "$out"
	if grep -q '^HTTP/1.1 200' "$T/answer"; then
		grep -aoE -m 1 '^(New|Reused), TLS' "$T/answer" | cut -d, -f1
	else
		echo failed
	fi
}

# status_of NAME: a value that the child which served the last `get /server-status?auto` showed.
status_of()
{
	sed -n "s/^Tlsbaton$1: \([^\r]*\)\r\?$/\1/p" "$T/answer"
}

# So that a session has to go from one process to another to be resumed at all: under prefork, a process
# for each connection; under event (whose processes may reset a connection that they have accepted when
# their last one is over) several, and get_elsewhere below.
several_children()
{
	if [ "$MPM" = prefork ]; then
		GLOBAL='MaxConnectionsPerChild 1'
	else
		GLOBAL=$'ThreadsPerChild 2\nThreadLimit 2\nServerLimit 4\nStartServers 4\nMaxRequestWorkers 8\nMinSpareThreads 8\nMaxSpareThreads 8'
	fi
}

one_child()
{
	if [ "$MPM" = prefork ]; then
		GLOBAL=$'StartServers 1\nServerLimit 1\nMaxRequestWorkers 1'
	else
		GLOBAL=$'ThreadsPerChild 4\nThreadLimit 4\nServerLimit 1\nStartServers 1\nMaxRequestWorkers 4\nMinSpareThreads 1\nMaxSpareThreads 4'
	fi
}

# get_elsewhere IN OUT: resumes until another process than the one of the last request of
# `get /server-status?auto` has answered. Prints Reused if all were.
get_elsewhere()
{
	local child i
	child=$(status_of Child)
	for ((i = 0; i < 100; i++)); do
		[ "$(get '/server-status?auto' "$1" "$2")" = Reused ] || break
		[ "$(status_of Child)" = "$child" ] || { echo Reused && return; }
	done
	echo "not Reused elsewhere"
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
