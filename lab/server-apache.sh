# shellcheck shell=bash
# The lab's Apache: Debian's own binary and modules, one generated configuration a node; server.sh says what a server
# file defines. LAB_MPM=prefork takes that MPM instead of event; LAB_APACHE_EXTRA is a file to include.

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

# apache_site PORT CERTIFICATE TICKETS CLIENTS
apache_site()
{
	cat <<-END
		Listen $1
		<VirtualHost *:$1>
		    SSLEngine on
		    SSLCertificateFile $LAB_STATE/$2.pem
		    SSLCertificateKeyFile $LAB_STATE/$2.key
		    SSLSessionTickets $3
	END
	[ "$4" = none ] || cat <<-END
		    SSLVerifyClient require
		    SSLCACertificateFile $LAB_STATE/client.pem
	END
	echo '</VirtualHost>'
}

server_configure()
{
	local directory=$LAB_STATE/$1 mpm=${LAB_MPM:-event}
	cat >"$directory/apache.conf" <<-END
		ServerName $SERVICE_ADDRESS
		ServerRoot $directory
		DefaultRuntimeDir $directory
		PidFile $directory/server.pid
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
		SSLProtocol -all $(tls_versions ' ' +TLSv)
		DocumentRoot $directory/www
		<Location /server-status>
		    SetHandler server-status
		</Location>
		ExtendedStatus on
		KeepAliveTimeout 5
		$(for_each_site apache_site)
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
	wait_for "Apache on $1 ends" test ! -e "$directory/server.pid"
}

server_pids()
{
	pids_named "$1" apache2
}
