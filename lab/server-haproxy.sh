# shellcheck shell=bash
# The lab's HAProxy: Debian's own binary, a master and a worker of several threads, and the preload library where it
# shares its sessions; server.sh says what a server file defines. HAProxy answers by itself, from files that it reads at
# its start. LAB_HAPROXY_THREADS is how many threads it has (2); LAB_HAPROXY_EXTRA is one more configuration file.

# shellcheck disable=SC2034 # server.sh's
preload_options=(--fallback-cache)

server_check()
{
	[ -x /usr/sbin/haproxy ] || die "no HAProxy here: run scripts/setup evaluate"
	preload_check
}

# haproxy_site PORT CERTIFICATE TICKETS CLIENTS
haproxy_site()
{
	local options
	case $LAB_TLS in
	both) options="ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.3" ;;
	*) options="ssl-min-ver TLSv$LAB_TLS ssl-max-ver TLSv$LAB_TLS" ;;
	esac
	[ "$3" = on ] || options+=" no-tls-tickets"
	[ "$4" = none ] || options+=" verify required ca-file $LAB_STATE/client.pem"
	echo "bind :$1 ssl crt $LAB_STATE/$2.both $options"
}

# haproxy_returns NODE: a rule for each file that it serves.
haproxy_returns()
{
	local file
	for file in "$LAB_STATE/$1"/www/*; do
		echo "http-request return status 200 content-type application/octet-stream" \
			"file $file if { path /${file##*/} }"
	done
}

# An answer must fit into a buffer.
haproxy_buffer_size()
{
	local largest
	largest=$(stat -c %s "$LAB_STATE/$1"/www/* | sort -n | tail -n 1)
	echo $(((largest / 4096 + 2) * 4096))
}

server_configure()
{
	local directory=$LAB_STATE/$1
	cat >"$directory/haproxy.cfg" <<-END
		global
		    user www-data
		    group www-data
		    master-worker
		    nbthread ${LAB_HAPROXY_THREADS:-2}
		    maxconn 4096
		    log stderr local0 warning
		    stats socket $directory/haproxy.sock
		    tune.bufsize $(haproxy_buffer_size "$1")
		    tune.ssl.lifetime 300
		    tune.ssl.cachesize 100000
		    tune.ssl.default-dh-param 2048
		defaults
		    mode http
		    timeout client 10s
		    timeout http-keep-alive 5s
		frontend lab
		    $(for_each_site haproxy_site)
		    $(haproxy_returns "$1")
		    http-request return status 404
	END
}

server_start()
{
	local directory=$LAB_STATE/$1 words
	words=(/usr/sbin/haproxy -f "$directory/haproxy.cfg")
	[ -z "${LAB_HAPROXY_EXTRA:-}" ] || words+=(-f "$LAB_HAPROXY_EXTRA")
	in_node "$1" "${words[@]}" -c -q >>"$directory/haproxy.log" 2>&1 || die "HAProxy on $1 does not start"
	preload_spawn "$1" "${words[@]}"
}

# SIGUSR1: what is under way comes to its end.
server_stop()
{
	kill -USR1 "$(server_pid "$1")"
	wait_for "HAProxy on $1 ends" is_gone "$(server_pid "$1")"
}

server_pids()
{
	pids_named "$1" haproxy
}
