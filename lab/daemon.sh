# shellcheck shell=bash
# The lab's tlsbatond on each node, and the operator's command that talks to them.

TLSBATOND=$LAB_BUILD/src/daemon/tlsbatond
TLSBATON=$LAB_BUILD/src/cli/tlsbaton

daemons_check()
{
	[ -x "$TLSBATOND" ] && [ -x "$TLSBATON" ] || die "no tlsbatond in $LAB_BUILD: run make first"
}

# baton NODE COMMAND…: the operator's command on a node.
baton()
{
	local node=$1
	shift
	in_node "$node" "$TLSBATON" --control "$LAB_STATE/$node/run/control.sock" "$@"
}
