# For the tests of mod_tlsbaton, to be sourced: a real Apache on loopback, as root (it starts as root and
# serves as www-data, as it does in real life). adapters/tests/lib.sh has the rest.
#
# Usage, in a test: . "$(dirname "$0")/lib.sh"    with MOD_TLSBATON and DAEMON in the environment
#   (mod_tlsbaton.so, and the test-daemon that stands in for tlsbatond; Meson sets both).
# shellcheck shell=bash
HTTPD=/usr/sbin/apache2
LIBEXEC=/usr/lib/apache2/modules
# shellcheck source=adapters/tests/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tests/lib.sh"

[ -x $HTTPD ] || skip "needs Debian's apache2-bin"

# ---- Apache ----

# write_config NAME: $T/NAME/httpd.conf, from these variables:
MPM=event
PROTOCOL=TLSv1.3
TICKETS=off
CACHE=tlsbaton:$SOCKET
MODULES='tlsbaton ssl' # loaded in this order
GLOBAL=                # more lines for the server …
VHOST=                 # … and for its virtual hosts
NAMES=localhost        # of the virtual hosts
LEVELS='warn tlsbaton:info'
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
			LogLevel $LEVELS
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
			$([ "$MPM" = prefork ] || echo MinSpareThreads 25)
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
		PORT=$((20000 + RANDOM % 10000))
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
	PORT=$((20000 + RANDOM % 10000))
	write_config "$1"
	rm -f "$T/$1/error.log"
	"$HTTPD" -f "$T/$1/httpd.conf" >"$T/$1/start.log" 2>&1 || true
	until_true says "$1" "$2"
	until_true no_process "$1"
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

# Whether each child of the Apache $1 serves. One that SIGTERM meets while it starts ends in the signal's handler
# (just_die() in mpm/event and mpm/prefork), wherever it was, in malloc() for instance, and may crash there.
children_serve()
{
	local child threads
	for child in $(pgrep -P "$1"); do
		threads=("/proc/$child/task"/*)
		case $MPM in
		event) [ "${#threads[@]}" -gt 1 ] || return 1 ;;
		prefork) grep -q '^State:.*S' "/proc/$child/status" 2>/dev/null || return 1 ;;
		esac
	done
}

apache_stop()
{
	local pid
	pid=$(cat "$T/$1/pid")
	until_true children_serve "$pid"
	kill -TERM "$pid"
	until_true test ! -e "$T/$1/pid"
	until_true test ! -e "/proc/$pid"
}

no_crash()
{
	is "crashed children of $1" "$(n_lines "$1" 'exit signal')" 0
}

# ---- Clients ----

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
