# shellcheck shell=bash
# bare-server on a node, port 8444, as the user of a server's workers. Source lib.sh before.

# bare_start NODE TLS [USER]: returns when it listens.
bare_start()
{
	local node=$1 tls=$2 user=${3:-www-data} run=$LAB_STATE/$1/bare
	mkdir -p "$run"
	# A test key may be read by its server, which has no root to start from.
	chown "$user" "$LAB_STATE/server.key"
	mkfifo "$run/stdin"
	in_node "$node" setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups \
		"$LAB_BUILD/tests/integration/bare-server" "$LAB_STATE/$node/run/worker.sock" 8444 "$node" \
		"$tls" "$LAB_STATE/server.pem" "$LAB_STATE/server.key" \
		<"$run/stdin" >"$run/stdout" 2>"$LAB_STATE/$node/bare-server.log" &
	declare -g "bare_pid_$node=$!"
	exec {bare_fd}>"$run/stdin"
	declare -g "bare_fd_$node=$bare_fd"
	wait_for "bare-server on $node is ready" grep -q ready "$run/stdout"
}

# bare_stop NODE: ends it; its counters (JSON) are in `counters`.
bare_stop()
{
	local fd=bare_fd_$1 pid=bare_pid_$1
	echo >&"${!fd}"
	wait "${!pid}"
	eval "exec ${!fd}>&-"
	# shellcheck disable=SC2034 # for the test
	counters=$(tail -n 1 "$LAB_STATE/$1/bare/stdout")
	rm -r "$LAB_STATE/$1/bare"
}
