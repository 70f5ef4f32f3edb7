# shellcheck shell=bash
# Two nodes, a and b, whose daemons talk over loopback, in a directory of their own, $dir, which goes at the end of the
# test with all that runs in it. Source it after lib.sh, with $tlsbatond and $tlsbaton set.

: "${tlsbatond:?}" "${tlsbaton:?}"
dir=$(mktemp -d /tmp/tlsbaton-daemon-XXXXXX)
chmod 755 "$dir"
declare -A pids=()

finish()
{
	local status=$?
	trap - EXIT
	for node in "${!pids[@]}"; do
		kill -KILL "${pids[$node]}" 2>/dev/null || true
	done
	[ "$status" = 0 ] || tail -n 30 "$dir"/*.log
	rm -rf "$dir"
	exit "$status"
}
trap finish EXIT

free_port()
{
	local port
	while port=$((20000 + RANDOM % 12000)); do
		(: </dev/tcp/127.0.0.1/$port) 2>/dev/null || break
	done
	echo "$port"
}

declare -A port=([a]=$(free_port) [b]=$(free_port))
other() { [ "$1" = a ] && echo b || echo a; }

# config NODE [LINE…]: writes its configuration.
config()
{
	local node=$1 peer
	peer=$(other "$1")
	shift
	cat >"$dir/$node.conf" <<-END
		node = "$node"
		group = "test"
		user = "nobody"
		run-directory = "$dir/run-$node"
		table-size = "4M"
		listen = "127.0.0.1:${port[$node]}"
		http = ""
		peer $peer { address = "127.0.0.1:${port[$peer]}" }
	END
	printf '%s\n' "$@" >>"$dir/$node.conf"
}

# change NODE OPTION VALUE: one line of its configuration.
change()
{
	sed -i "s#^$2 = .*#$2 = \"$3\"#" "$dir/$1.conf"
}

# start NODE: and waits until it is ready.
start()
{
	"$tlsbatond" -c "$dir/$1.conf" >>"$dir/$1.log" 2>&1 &
	pids[$1]=$!
	until_true "$1 is ready" status "$1" .node
}

status() { "$tlsbaton" --control "$dir/run-$1/control.sock" status --json | jq -e "$2"; }
in_sync() { status "$1" '.peers[0].state == "in-sync" and .peers[0].from_in_sync'; }
logged() { grep -qE -- "$2" "$dir/$1.log"; }

stop()
{
	local status=0
	kill -TERM "${pids[$1]}"
	wait "${pids[$1]}" || status=$?
	unset "pids[$1]"
	expect "$1 stopped cleanly" "$status" '^0$'
}
