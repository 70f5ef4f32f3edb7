# For the tests of the preload library, to be sourced: real servers that know nothing of tlsbaton, on loopback, as root (they
# start as root and serve as www-data, as they do in real life). adapters/tests/lib.sh has the rest.
#
# Usage, in a test: . "$(dirname "$0")/lib.sh"    with TLSBATON, PRELOAD and DAEMON in the environment
#   (tlsbaton, tlsbaton-preload.so, and the test-daemon that stands in for tlsbatond; Meson sets them).
# shellcheck shell=bash
PRELOAD_TESTS=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=adapters/tests/lib.sh
. "$PRELOAD_TESTS/../../tests/lib.sh"

RUN=("$TLSBATON" run --library "$PRELOAD" --socket "$SOCKET" --) # before each server's command

# What a test may change before server_start:
SERVER=haproxy # haproxy, stunnel, nginx, apache, python (a thread a connection) or asyncio
PROTOCOL=TLSv1.3
THREADS=4 # HAProxy's
WORKERS=2 # nginx'
GLOBAL=   # more lines for the configuration: HAProxy's global section, stunnel's beginning

# Each of these writes the configuration of server NAME in $T/NAME, and says in `command` how it is run in the foreground.
# They answer each request with "hello".

haproxy_config()
{
	command=(/usr/sbin/haproxy -W -db -f "$T/$1/haproxy.cfg")
	cat >"$T/$1/haproxy.cfg" <<-EOF
		global
			nbthread $THREADS
			user www-data
			group www-data
			ssl-default-bind-options ssl-min-ver $PROTOCOL ssl-max-ver $PROTOCOL no-tls-tickets
			$GLOBAL
		defaults
			mode http
			timeout client 60s
			timeout server 60s
			timeout connect 5s
		frontend https
			bind 127.0.0.1:$PORT ssl crt $T/server.pem
			bind unix@$T/$1/plain.sock mode 666
			http-request return status 200 content-type text/plain string "hello\\n"
	EOF
}

# It needs a server behind it.
stunnel_config()
{
	command=(/usr/bin/stunnel4 "$T/$1/stunnel.conf")
	cat >"$T/$1/stunnel.conf" <<-EOF
		foreground = yes
		pid =
		syslog = no
		setuid = www-data
		setgid = www-data
		$GLOBAL
		[https]
		accept = 127.0.0.1:$PORT
		connect = 127.0.0.1:$(cat "$T/plain/port")
		cert = $T/server.pem
		sslVersion = $PROTOCOL
		options = NO_TICKET
	EOF
}

nginx_config()
{
	command=(/usr/sbin/nginx -c "$T/$1/nginx.conf" -e "$T/$1/nginx.log")
	cat >"$T/$1/nginx.conf" <<-EOF
		daemon off;
		user www-data;
		worker_processes $WORKERS;
		pid $T/$1/nginx.pid;
		error_log $T/$1/nginx.log notice;
		events { }
		http {
			access_log off;
			client_body_temp_path $T/$1/body;
			proxy_temp_path $T/$1/proxy;
			fastcgi_temp_path $T/$1/fastcgi;
			uwsgi_temp_path $T/$1/uwsgi;
			scgi_temp_path $T/$1/scgi;
			server {
				listen 127.0.0.1:$PORT ssl;
				listen unix:$T/$1/plain.sock;
				ssl_certificate $T/server.crt;
				ssl_certificate_key $T/server.key;
				ssl_protocols $PROTOCOL;
				ssl_session_tickets off;
				return 200 "hello\\n";
			}
		}
	EOF
}

apache_config()
{
	local module
	command=(/usr/sbin/apache2 -DFOREGROUND -f "$T/$1/httpd.conf")
	mkdir -p "$T/$1/www"
	echo hello >"$T/$1/www/hello"
	{
		for module in mpm_event authz_core socache_shmcb ssl; do
			echo "LoadModule ${module}_module /usr/lib/apache2/modules/mod_$module.so"
		done
		cat <<-EOF
			ServerRoot $T/$1
			DefaultRuntimeDir $T/$1
			PidFile $T/$1/httpd.pid
			ErrorLog $T/$1/apache.log
			User www-data
			Group www-data
			DocumentRoot $T/$1/www
			Listen 127.0.0.1:$PORT
			StartServers 2
			ServerName localhost:443
			SSLEngine on
			SSLProtocol -all +$PROTOCOL
			SSLCertificateFile $T/server.crt
			SSLCertificateKeyFile $T/server.key
			SSLSessionCache shmcb:$T/$1/cache
			SSLSessionTickets off
		EOF
	} >"$T/$1/httpd.conf"
}

python_config()
{
	command=(setpriv --reuid www-data --regid www-data --clear-groups /usr/bin/python3 "$T/server.py" "$SERVER" "$PORT"
		"$T/server.pem" "$PROTOCOL")
}

asyncio_config()
{
	python_config "$1"
}

plain_config()
{
	command=(/usr/bin/python3 "$T/server.py" plain "$PORT")
	echo "$PORT" >"$T/$1/port"
}

listens()
{
	(exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null
}

has_ended()
{
	! kill -0 "$1" 2>/dev/null
}

listens_or_has_ended()
{
	listens || has_ended "$1"
}

# server_start NAME: on a port that is free; one that was taken in between is not. Out: PORT.
server_start()
{
	local command i pid
	mkdir -p "$T/$1"
	chmod 755 "$T/$1"
	for ((i = 0; i < 20; i++)); do
		PORT=$((20000 + RANDOM % 12000)) # not among those that clients get
		! listens || continue
		"${SERVER}_config" "$1"
		"${RUN[@]}" "${command[@]}" >"$T/$1/out.log" 2>"$T/$1/error.log" </dev/null &
		pid=$!
		until_true listens_or_has_ended "$pid"
		if ! has_ended "$pid"; then
			echo "$pid" >"$T/$1/pid"
			return 0
		fi
		grep -qs 'Address already in use\|could not bind' "$T/$1"/*.log || break
	done
	fail "$SERVER does not start"
}

server_stop()
{
	local pid
	pid=$(cat "$T/$1/pid")
	kill -TERM "$pid"
	wait "$pid" 2>/dev/null || true
	rm "$T/$1/pid"
}

# Debian's servers, no modules of ours.
case ${1:-} in
haproxy) [ -x /usr/sbin/haproxy ] || skip "needs haproxy" ;;
stunnel) [ -x /usr/bin/stunnel4 ] || skip "needs stunnel4" ;;
nginx) [ -x /usr/sbin/nginx ] || skip "needs nginx" ;;
apache) [ -x /usr/sbin/apache2 ] || skip "needs Debian's apache2-bin" ;;
*) ;;
esac

make_certificates
cat "$T/server.crt" "$T/server.key" >"$T/server.pem"
chmod 644 "$T/server.pem" # python serves as a user that is never root
cp "$PRELOAD_TESTS/server.py" "$T/server.py"

# The server behind stunnel.
plain_start()
{
	local SERVER=plain RUN=()
	server_start plain
}
