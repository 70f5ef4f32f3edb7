# shellcheck shell=bash
# The lab's nginx: Debian's own binary, one generated configuration a node; server.sh says what a server
# file defines. LAB_NGINX_EXTRA is a file to include in http{}, LAB_NGINX_WORKERS how many workers it has (2).

NGINX_MODULE=$LAB_BUILD/adapters/nginx/ngx_http_tlsbaton_module.so

server_check()
{
	[ -x /usr/sbin/nginx ] || die "no nginx here: run scripts/setup evaluate"
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

# nginx_site PORT CERTIFICATE TICKETS CLIENTS
nginx_site()
{
	cat <<-END
		server {
		    listen $1 ssl;
		    server_name $SERVICE_ADDRESS;
		    ssl_certificate $LAB_STATE/$2.pem;
		    ssl_certificate_key $LAB_STATE/$2.key;
		    ssl_session_tickets $3;
		    $([ "$4" = none ] || echo "ssl_verify_client on; ssl_client_certificate $LAB_STATE/client.pem;")
		}
	END
}

server_configure()
{
	local directory=$LAB_STATE/$1
	cat >"$directory/nginx.conf" <<-END
		$([ "$LAB_SHARING" = off ] || echo "load_module $NGINX_MODULE;")
		user www-data;
		worker_processes ${LAB_NGINX_WORKERS:-2};
		pid $directory/server.pid;
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
		    root $directory/www;
		    ssl_protocols $(tls_versions ' ' TLSv);
		    ssl_session_timeout 300s;
		    $(nginx_cache_lines "$1")
		    keepalive_timeout 5s;
		    include ${LAB_NGINX_EXTRA:-$directory/extra.con[f]};
		    $(for_each_site nginx_site)
		}
	END
}

server_start()
{
	local directory=$LAB_STATE/$1
	in_node "$1" /usr/sbin/nginx -c "$directory/nginx.conf" \
		>>"$directory/nginx.log" 2>&1 || die "nginx on $1 does not start"
}

server_stop()
{
	kill -QUIT "$(server_pid "$1")"
	wait_for "nginx on $1 ends" test ! -e "$LAB_STATE/$1/server.pid"
}

server_pids()
{
	pids_named "$1" nginx
}
