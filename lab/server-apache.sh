# shellcheck shell=bash
# The lab's Apache: Debian's own binary and modules, one generated configuration a node. A server file
# defines server_check, server_configure NODE, server_start NODE, server_stop NODE and server_pids NODE.
# LAB_MPM=prefork takes that MPM instead of event; LAB_APACHE_EXTRA is a file to include.

APACHE_MODULES=/usr/lib/apache2/modules

server_check()
{
	[ -x /usr/sbin/apache2 ] || die "no Apache here: run scripts/setup demo"
	[ "$LAB_SHARING" != on ] || [ -e "$LAB_BUILD/adapters/apache/mod_tlsbaton.so" ] ||
		die "no mod_tlsbaton.so in $LAB_BUILD: run make first"
}

# The lines that decide about sharing: all that a user of an existing pair would change.
apache_cache_lines()
{
	local directory=$LAB_STATE/$1
	case $LAB_SHARING in
	on)
		cat <<-END
			LoadModule tlsbaton_module $LAB_BUILD/adapters/apache/mod_tlsbaton.so
			SSLSessionCache tlsbaton:$directory/run/worker.sock
		END
		;;
	off)
		cat <<-END
			LoadModule socache_shmcb_module $APACHE_MODULES/mod_socache_shmcb.so
			SSLSessionCache shmcb:$directory/shmcb(33554432)
		END
		;;
	redis)
		cat <<-END
			LoadModule socache_redis_module $APACHE_MODULES/mod_socache_redis.so
			SSLSessionCache redis:$REDIS_ADDRESS:$REDIS_PORT
		END
		;;
	esac
}

server_configure()
{
	local directory=$LAB_STATE/$1 mpm=${LAB_MPM:-event}
	mkdir -p "$directory/www"
	printf '%s' "$1" >"$directory/www/node"
	# The first line names the node, so that a client of the file sees who answered.
	{
		printf '%s\n' "$1"
		head -c 51198 /dev/zero | tr '\0' x
	} >"$directory/www/50k.bin"
	cat >"$directory/apache.conf" <<-END
		ServerName $SERVICE_ADDRESS
		ServerRoot $directory
		DefaultRuntimeDir $directory
		PidFile $directory/apache.pid
		ErrorLog $directory/apache.log
		LogLevel warn
		User www-data
		Group www-data
		LoadModule mpm_${mpm}_module $APACHE_MODULES/mod_mpm_$mpm.so
		LoadModule authz_core_module $APACHE_MODULES/mod_authz_core.so
		LoadModule status_module $APACHE_MODULES/mod_status.so
		LoadModule ssl_module $APACHE_MODULES/mod_ssl.so
		$(apache_cache_lines "$1")
		SSLSessionCacheTimeout 300
		SSLSessionTickets $LAB_TICKETS
		SSLProtocol -all +TLSv$LAB_TLS
		SSLCertificateFile $LAB_STATE/server.pem
		SSLCertificateKeyFile $LAB_STATE/server.key
		Listen 443
		DocumentRoot $directory/www
		<Location /server-status>
		    SetHandler server-status
		</Location>
		ExtendedStatus on
		KeepAliveTimeout 5
		<VirtualHost *:443>
		    SSLEngine on
		</VirtualHost>
		IncludeOptional ${LAB_APACHE_EXTRA:-$directory/extra.conf}
	END
}

server_start()
{
	local directory=$LAB_STATE/$1
	in_node "$1" /usr/sbin/apache2 -f "$directory/apache.conf" -k start >>"$directory/apache.log" 2>&1 ||
		die "Apache on $1 does not start"
}

server_stop()
{
	local directory=$LAB_STATE/$1
	in_node "$1" /usr/sbin/apache2 -f "$directory/apache.conf" -k stop >>"$directory/apache.log" 2>&1
	wait_for "Apache on $1 ends" test ! -e "$directory/apache.pid"
}

# All processes of the node's server, parent first.
server_pids()
{
	local pid
	for pid in $(node_pids "$1"); do
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" != apache2 ] || echo "$pid"
	done
}
