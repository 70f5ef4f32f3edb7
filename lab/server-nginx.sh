# shellcheck shell=bash
# The lab's nginx: Debian's own binary, one generated configuration a node; server-apache.sh says what a server
# file defines. LAB_NGINX_EXTRA is a file to include in http{}, LAB_NGINX_WORKERS how many workers it has (2).

NGINX_MODULE=$LAB_BUILD/adapters/nginx/ngx_http_tlsbaton_module.so

server_check()
{
	[ -x /usr/sbin/nginx ] || die "no nginx here: run scripts/setup demo"
	[ "$LAB_SHARING" != redis ] || die "nginx has no session cache in Redis: use --server apache"
	[ "$LAB_SHARING" = off ] || [ -e "$NGINX_MODULE" ] || die "no $NGINX_MODULE: run make first"
}

# The lines that decide about sharing, in http{}: all that a user of an existing pair would change there.
nginx_cache_lines()
{
	if [ "$LAB_SHARING" = on ]; then
		echo "tlsbaton $LAB_STATE/$1/run/worker.sock;"
	else
		echo "ssl_session_cache shared:lab:8m;"
	fi
}

server_configure()
{
	local directory=$LAB_STATE/$1
	mkdir -p "$directory/www"
	printf '%s' "$1" >"$directory/www/node"
	# The first line names the node, so that a client of the file sees who answered.
	{
		printf '%s\n' "$1"
		head -c 51198 /dev/zero | tr '\0' x
	} >"$directory/www/50k.bin"
	cat >"$directory/nginx.conf" <<-END
		$([ "$LAB_SHARING" = off ] || echo "load_module $NGINX_MODULE;")
		user www-data;
		worker_processes ${LAB_NGINX_WORKERS:-2};
		pid $directory/nginx.pid;
		lock_file $directory/nginx.lock;
		error_log $directory/nginx.log warn;
		events {
		    worker_connections 4096;
		}
		http {
		    access_log off;
		    client_body_temp_path $directory/body;
		    proxy_temp_path $directory/proxy;
		    fastcgi_temp_path $directory/fastcgi;
		    uwsgi_temp_path $directory/uwsgi;
		    scgi_temp_path $directory/scgi;
		    ssl_certificate $LAB_STATE/server.pem;
		    ssl_certificate_key $LAB_STATE/server.key;
		    ssl_protocols TLSv$LAB_TLS;
		    ssl_session_timeout 300s;
		    ssl_session_tickets $LAB_TICKETS;
		    $(nginx_cache_lines "$1")
		    keepalive_timeout 5s;
		    include ${LAB_NGINX_EXTRA:-$directory/extra.con[f]};
		    server {
		        listen 443 ssl;
		        server_name $SERVICE_ADDRESS;
		        root $directory/www;
		    }
		}
	END
}

# server_start NODE
server_start()
{
	local directory=$LAB_STATE/$1
	in_node "$1" /usr/sbin/nginx -c "$directory/nginx.conf" \
		>>"$directory/nginx.log" 2>&1 || die "nginx on $1 does not start"
}

server_stop()
{
	local directory=$LAB_STATE/$1
	kill -QUIT "$(cat "$directory/nginx.pid")"
	wait_for "nginx on $1 ends" test ! -e "$directory/nginx.pid"
}

# All processes of the node's server, parent first.
server_pids()
{
	local pid
	for pid in $(node_pids "$1"); do
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" != nginx ] || echo "$pid"
	done
}
