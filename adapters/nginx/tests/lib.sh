# For the tests of the module for nginx, to be sourced: a real nginx on loopback, as root (it starts as root and
# serves as www-data, as it does in real life). adapters/tests/lib.sh has the rest.
#
# Usage, in a test: . "$(dirname "$0")/lib.sh"    with MODULE and DAEMON in the environment
#   (ngx_http_tlsbaton_module.so, and the test-daemon that stands in for tlsbatond; Meson sets both).
# shellcheck shell=bash
NGINX=${NGINX:-/usr/sbin/nginx}
# shellcheck source=adapters/tests/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tests/lib.sh"

[ -x "$NGINX" ] || skip "needs nginx"

# write_config NAME: $T/NAME/nginx.conf, from these variables:
PROTOCOL=TLSv1.3
TICKETS=off
SHARING="tlsbaton $SOCKET;" # in http
WORKERS=2
LISTEN=ssl # parameters of the server's listen
EVENTS=    # lines for the events block
SERVER=    # more lines for the server …
HTTP=      # … and for http, before it
write_config()
{
	local root=$T/$1
	mkdir -p "$root/www"
	chmod 755 "$root"
	echo 'hello' >"$root/www/hello"
	head -c 200000 /dev/zero | tr '\0' x >"$root/www/large"
	cat >"$root/nginx.conf" <<-EOF
		load_module $MODULE;
		user www-data;
		worker_processes $WORKERS;
		pid $root/pid;
		lock_file $root/lock;
		error_log $root/error.log notice;
		events { $EVENTS }
		http {
			log_format outcomes '\$uri \$status \$tlsbaton \$tlsbaton_gate_wait';
			access_log $root/access.log outcomes;
			client_body_temp_path $root/body;
			proxy_temp_path $root/proxy;
			fastcgi_temp_path $root/fastcgi;
			uwsgi_temp_path $root/uwsgi;
			scgi_temp_path $root/scgi;
			ssl_certificate $T/server.crt;
			ssl_certificate_key $T/server.key;
			ssl_protocols $PROTOCOL;
			ssl_session_tickets $TICKETS;
			$SHARING
			$HTTP
			server {
				listen 127.0.0.1:$PORT $LISTEN;
				server_name localhost;
				root $root/www;
				add_header X-Worker \$pid always;
				$SERVER
			}
		}
	EOF
}

# Starts what write_config wrote; fails when the port is taken.
run_nginx()
{
	"$NGINX" -c "$T/$1/nginx.conf" -e "$T/$1/error.log" >"$T/$1/start.log" 2>&1
}

# nginx_start NAME: writes its configuration and starts it on a free port. Out: PORT.
nginx_start()
{
	local i
	for ((i = 0; i < 20; i++)); do
		PORT=$((20000 + RANDOM % 10000))
		write_config "$1"
		rm -f "$T/$1/error.log" "$T/$1/access.log"
		if run_nginx "$1"; then
			until_true test -s "$T/$1/pid"
			return 0
		fi
		grep -q 'Address already in use' "$T/$1/start.log" || break
	done
	cat "$T/$1/start.log" >&2
	fail "nginx does not start"
}

# nginx_says NAME TEXT: what `nginx -t` says of its configuration, be it good or bad.
nginx_says()
{
	PORT=$((20000 + RANDOM % 10000))
	write_config "$1"
	"$NGINX" -t -c "$T/$1/nginx.conf" -e "$T/$1/error.log" >"$T/$1/start.log" 2>&1 || true
	N_CHECKS=$((N_CHECKS + 1))
	grep -qF -- "$2" "$T/$1/start.log" || fail "nginx -t does not say '$2' but: $(cat "$T/$1/start.log")"
}

# refuses NAME TEXT
refuses()
{
	nginx_says "$1" "$2"
	grep -q 'test failed' "$T/$1/start.log" || fail "nginx takes it"
}

# warns NAME TEXT
warns()
{
	nginx_says "$1" "$2"
	grep -q 'test is successful' "$T/$1/start.log" || fail "nginx refuses it"
	is "how often" "$(grep -cF -- "$2" "$T/$1/start.log")" 1
}

# workers PID: its worker processes that do not shut down.
workers()
{
	pgrep -P "$1" -f 'nginx: worker process$' || true
}

has_new_workers()
{
	local pid
	[ "$(workers "$1" | wc -l)" = "$WORKERS" ] || return 1
	for pid in $2; do
		! workers "$1" | grep -qx "$pid" || return 1
	done
}

# nginx_reload NAME: returns when only workers of the new configuration take connections.
nginx_reload()
{
	local pid old
	pid=$(cat "$T/$1/pid")
	old=$(workers "$pid")
	kill -HUP "$pid"
	until_true has_new_workers "$pid" "$old"
}

nginx_stop()
{
	local pid
	pid=$(cat "$T/$1/pid")
	kill -QUIT "$pid"
	until_true test ! -e "/proc/$pid"
}

# What nginx says when something in it is wrong: a crashed worker, a leaked connection.
no_crash()
{
	is "alerts of $1" "$(grep -c '\[alert\]\|\[emerg\]\|exited on signal' "$T/$1/error.log" || true)" 0
}

# The worker that served the last `get`.
worker()
{
	sed -n 's/^X-Worker: \([0-9]*\).*/\1/p' "$T/answer"
}

# get_elsewhere IN OUT: resumes until another worker than that of the last `get` has answered. Prints Reused if
# all were.
get_elsewhere()
{
	local before i
	before=$(worker)
	for ((i = 0; i < 200; i++)); do
		[ "$(get /hello "$1" "$2")" = Reused ] || break
		[ "$(worker)" = "$before" ] || { echo Reused && return; }
	done
	echo "not Reused elsewhere"
}

# What $tlsbaton says of a client's first visit. One that knows TLS 1.3 offers a session ID of random bytes, which a
# server without TLS 1.3 looks up.
first_outcome()
{
	[ "$PROTOCOL" = TLSv1.2 ] && echo miss || echo new
}

# logged NAME PATTERN: how many requests' outcomes match.
logged()
{
	grep -cE -- "$2" "$T/$1/access.log" || true
}
