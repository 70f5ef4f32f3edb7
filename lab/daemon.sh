# shellcheck shell=bash
# The lab's tlsbatond on each node, and the operator's command that talks to them.
#
# The daemons run as nobody, since the lab makes no accounts. LAB_TABLE_SIZE, LAB_GATE_MS,
# LAB_HEARTBEAT_MS and LAB_ROTATION_S set what their configuration says about these; what LAB_DAEMON_PREFIX holds goes before
# their command.

TLSBATOND=$LAB_BUILD/src/daemon/tlsbatond
TLSBATON=$LAB_BUILD/src/cli/tlsbaton

daemons_check()
{
	local program
	for program in "$TLSBATOND" "$TLSBATON"; do
		[ -x "$program" ] || die "no $program: run make first"
	done
}

# baton NODE COMMAND…: the operator's command on a node.
baton()
{
	local node=$1
	shift
	in_node "$node" "$TLSBATON" --control "$LAB_STATE/$node/run/control.sock" "$@"
}

notification_address()
{
	case $1 in
	a) echo 10.78.0.1 ;;
	b) echo 10.78.0.2 ;;
	esac
}

daemon_configure()
{
	local node=$1 peer start=standby resumption=stateful
	[ "$LAB_TICKETS" = off ] || resumption=both
	peer=$(other_node "$node")
	[ "$node" != a ] || start=active
	cat >"$LAB_STATE/$node/tlsbaton.conf" <<-END
		node = "$node"
		group = "lab"
		user = "nobody"
		run-directory = "$LAB_STATE/$node/run"
		table-size = "${LAB_TABLE_SIZE:-32M}"
		worker-users = {"www-data"}
		gate-deadline = "${LAB_GATE_MS:-20}"
		heartbeat = "${LAB_HEARTBEAT_MS:-500}"
		resumption = "$resumption"
		ticket-rotation = "${LAB_ROTATION_S:-3600}"
		key-file = "$LAB_STATE/group.key"
		listen = "$(notification_address "$node"):7410"
		peer $peer {
			address = "$(notification_address "$peer"):7410"
		}
		service svc0 {
			addresses = {"$SERVICE_ADDRESS/24"}
			start-as = "$start"
		}
	END
}

make_group_key()
{
	"$TLSBATON" keygen "$LAB_STATE/group.key"
	chgrp nogroup "$LAB_STATE/group.key"
	chmod 640 "$LAB_STATE/group.key"
}

daemon_start()
{
	local node=$1
	# shellcheck disable=SC2086 # the prefix is words
	nsenter --net="/run/netns/$LAB_NAME-$node" -- setsid ${LAB_DAEMON_PREFIX:-} "$TLSBATOND" \
		-c "$LAB_STATE/$node/tlsbaton.conf" >>"$LAB_STATE/$node/tlsbatond.log" 2>&1 </dev/null &
	echo $! >"$LAB_STATE/$node/tlsbatond.pid"
	wait_for "tlsbatond on $node answers" baton "$node" status --json
}

daemon_pid()
{
	cat "$LAB_STATE/$1/tlsbatond.pid"
}

# daemon_stop NODE TERM|KILL
daemon_stop()
{
	local pid
	pid=$(daemon_pid "$1")
	kill "-$2" "$pid"
	wait_for "tlsbatond on $1 ends" is_gone "$pid"
}

# daemon_status NODE FILTER: what jq makes of the node's status.
daemon_status()
{
	baton "$1" status --json | jq -er "$2"
}

# Each node's peer has all that the node has, and both know it.
is_in_sync()
{
	daemon_status "$1" '(.peers | length) > 0 and all(.peers[]; .state == "in-sync" and .from_in_sync)'
}

daemons_start()
{
	local node
	make_group_key
	for node in a b; do
		daemon_configure "$node"
		daemon_start "$node"
	done
}

daemons_wait_in_sync()
{
	local node
	for node in a b; do
		wait_for "$node is in sync with its peer" is_in_sync "$node"
	done
}
