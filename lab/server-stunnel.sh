# shellcheck shell=bash
# The lab's stunnel: Debian's own binary, and the preload library where it shares its sessions; server.sh says what a
# server file defines. It ends TLS before an Apache without any, which serves the files on loopback.

STUNNEL_BACKEND=127.0.0.1:8000

server_check()
{
	[ -x /usr/bin/stunnel4 ] || die "no stunnel here: run scripts/setup test"
	[ -x /usr/sbin/apache2 ] || die "no Apache here, to stand behind stunnel: run scripts/setup demo"
	preload_check
}

# stunnel_site PORT CERTIFICATE TICKETS CLIENTS
stunnel_site()
{
	cat <<-END
		[port-$1]
		accept = $1
		connect = $STUNNEL_BACKEND
		cert = $LAB_STATE/$2.pem
		key = $LAB_STATE/$2.key
		$([ "$3" = on ] || echo "options = NO_TICKET")
		$([ "$4" = none ] || echo "CAfile = $LAB_STATE/client.pem")
		$([ "$4" = none ] || echo "verifyChain = yes")
		$([ "$LAB_TLS" = both ] || echo "sslVersion = TLSv$LAB_TLS")
		sessionCacheSize = 100000
		sessionCacheTimeout = 300
	END
}

server_configure()
{
	local directory=$LAB_STATE/$1
	cat >"$directory/stunnel.conf" <<-END
		foreground = yes
		pid =
		setuid = www-data
		setgid = www-data
		debug = warning
		syslog = no
		$(for_each_site stunnel_site)
	END
	cat >"$directory/backend.conf" <<-END
		ServerName $SERVICE_ADDRESS
		ServerRoot $directory
		DefaultRuntimeDir $directory
		PidFile $directory/backend.pid
		ErrorLog $directory/backend.log
		User www-data
		Group www-data
		LoadModule mpm_event_module $APACHE_MODULES/mod_mpm_event.so
		LoadModule authz_core_module $APACHE_MODULES/mod_authz_core.so
		Listen $STUNNEL_BACKEND
		DocumentRoot $directory/www
		KeepAliveTimeout 5
	END
}

server_start()
{
	local directory=$LAB_STATE/$1
	in_node "$1" /usr/sbin/apache2 -f "$directory/backend.conf" -k start >>"$directory/backend.log" 2>&1 ||
		die "the Apache behind stunnel on $1 does not start"
	preload_spawn "$1" /usr/bin/stunnel4 "$directory/stunnel.conf"
}

server_stop()
{
	kill -TERM "$(server_pid "$1")"
	wait_for "stunnel on $1 ends" is_gone "$(server_pid "$1")"
	in_node "$1" /usr/sbin/apache2 -f "$LAB_STATE/$1/backend.conf" -k stop >>"$LAB_STATE/$1/backend.log" 2>&1
	wait_for "the Apache behind it ends" test ! -e "$LAB_STATE/$1/backend.pid"
}

server_pids()
{
	pids_named "$1" stunnel4
	pids_named "$1" stunnel
}
