# shellcheck shell=bash
# What the lab's servers have in common. lab/server-NAME.sh defines, for one kind of server:
#   server_check             dies when that server cannot be had here, or not as LAB_SHARING and LAB_TICKETS say
#   server_configure NODE    writes its configuration; the files to serve are there already
#   server_start NODE, server_stop NODE
#   server_pids NODE         all its processes on the node, parent first
#   $LAB_STATE/NODE/server.pid is its first process, $LAB_STATE/NODE/$LAB_SERVER.log what it says.
#
# A server listens on sites, words of PORT:CERTIFICATE:TICKETS:CLIENTS. CERTIFICATE is the name of $LAB_STATE/NAME.pem and
# .key; TICKETS is on or off; CLIENTS "required" asks for the lab's client certificate ($LAB_STATE/client.pem and .key),
# "none" for none. The first site is the lab's own, on port 443; LAB_SITES may name more, with certificates "rsa" and
# "ecdsa". LAB_FILES are more files to serve than 50k.bin, words of NAME:BYTES.

# shellcheck disable=SC2034 # for the files of servers, and redis.sh
APACHE_MODULES=/usr/lib/apache2/modules

sites()
{
	echo "443:server:$LAB_TICKETS:none ${LAB_SITES:-}"
}

# for_each_site COMMAND…: runs it with PORT CERTIFICATE TICKETS CLIENTS as further arguments.
for_each_site()
{
	local site port certificate tickets clients
	for site in $(sites); do
		IFS=: read -r port certificate tickets clients <<<"$site"
		"$@" "$port" "$certificate" "$tickets" "$clients"
	done
}

# make_certificate NAME rsa|ecdsa SUBJECT [openssl option…]
make_certificate()
{
	local algorithm=(-newkey rsa:2048)
	[ "$2" = rsa ] || algorithm=(-newkey ec -pkeyopt ec_paramgen_curve:P-256)
	openssl req -x509 "${algorithm[@]}" -nodes -days 30 -subj "/CN=$3" -addext basicConstraints=CA:FALSE "${@:4}" \
		-keyout "$LAB_STATE/$1.key" -out "$LAB_STATE/$1.pem" 2>"$LAB_STATE/openssl.log" ||
		die "no certificate: $(tail -n 1 "$LAB_STATE/openssl.log")"
	# As HAProxy wants it.
	(umask 077 && cat "$LAB_STATE/$1.pem" "$LAB_STATE/$1.key" >"$LAB_STATE/$1.both")
}

make_certificates()
{
	local names="subjectAltName=IP:$SERVICE_ADDRESS"
	make_certificate server "$LAB_KEY" "$SERVICE_ADDRESS" -addext "$names"
	[ -n "${LAB_SITES:-}" ] || return 0
	make_certificate rsa rsa "$SERVICE_ADDRESS" -addext "$names"
	make_certificate ecdsa ecdsa "$SERVICE_ADDRESS" -addext "$names"
	make_certificate client ecdsa "a client of the lab"
}

# make_files NODE: what its server serves. The first line of a large file names the node, so that a client sees who
# answered.
make_files()
{
	local directory=$LAB_STATE/$1/www file
	mkdir -p "$directory"
	printf '%s' "$1" >"$directory/node"
	for file in 50k.bin:51200 ${LAB_FILES:-}; do
		{
			printf '%s\n' "$1"
			head -c $((${file#*:} - 2)) /dev/zero | tr '\0' x
		} >"$directory/${file%:*}"
	done
}

# tls_versions JOIN PREFIX: the versions that --tls asked for, each behind the prefix.
tls_versions()
{
	case $LAB_TLS in
	both) printf '%s' "${2}1.2${1}${2}1.3" ;;
	*) printf '%s' "$2$LAB_TLS" ;;
	esac
}

# pids_named NODE NAME: the node's processes of that command name.
pids_named()
{
	local pid
	for pid in $(node_pids "$1"); do
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$2" ] || echo "$pid"
	done
}

# server_spawn NODE COMMAND…: starts a server that stays in the foreground, with the log that its kind has.
server_spawn()
{
	local directory=$LAB_STATE/$1
	# Not through in_node: of a function in the background, the shell would be the process.
	nsenter --net="/run/netns/$LAB_NAME-$1" -- setsid "${@:2}" >>"$directory/$LAB_SERVER.log" 2>&1 </dev/null &
	echo $! >"$directory/server.pid"
}

server_pid()
{
	cat "$LAB_STATE/$1/server.pid"
}

# For servers that know nothing of tlsbaton.
PRELOAD=$LAB_BUILD/adapters/preload/tlsbaton-preload.so

preload_check()
{
	[ "$LAB_SHARING" != redis ] || die "$LAB_SERVER has no session cache in Redis: use --server apache"
	[ "$LAB_SHARING" = off ] || [ -e "$PRELOAD" ] || die "no $PRELOAD: run make first"
}

# preload_spawn NODE COMMAND…: server_spawn, with the preload library where sessions are shared. A server file may have options
# for it in preload_options.
preload_options=()
preload_spawn()
{
	if [ "$LAB_SHARING" = on ]; then
		server_spawn "$1" "$TLSBATON" run "${preload_options[@]}" --library "$PRELOAD" \
			--socket "$LAB_STATE/$1/run/worker.sock" -- "${@:2}"
	else
		server_spawn "$@"
	fi
}
