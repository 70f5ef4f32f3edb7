# shellcheck shell=bash
# What all parts of the lab share: where things are, messages, waiting for a condition, processes.
#
# One lab is a directory of state and four namespaces, all named after LAB_NAME (default "tlsbaton"), so
# that a second lab beside the first needs only another name. Nothing of the host's network is touched.

LAB_NAME=${LAB_NAME:-tlsbaton}
LAB_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LAB_BUILD=${LAB_BUILD:-$LAB_ROOT/build}
case $LAB_BUILD in /*) ;; *) LAB_BUILD=$LAB_ROOT/$LAB_BUILD ;; esac
LAB_STATE=${XDG_RUNTIME_DIR:-/run}/$LAB_NAME-lab
LAB_DEADLINE_S=${LAB_DEADLINE_S:-20}
SERVICE_ADDRESS=10.77.0.10

say()
{
	printf 'lab: %s\n' "$*"
}

complain()
{
	printf 'lab: %s\n' "$*" >&2
}

die()
{
	complain "$@"
	exit 1
}

usage()
{
	[ $# = 0 ] || complain "$@"
	cat >&2 <<-'END'
		usage: lab/lab up [--server apache|nginx|haproxy|stunnel] [--sharing on|off|redis]
		                  [--tls 1.2|1.3|both] [--tickets on|off] [--key rsa|ecdsa]
		       lab/lab switchover | crash-active | status | down
		       lab/lab exec client|a|b -- COMMAND…
	END
	exit 2
}

namespace()
{
	printf '%s-%s\n' "$LAB_NAME" "$1"
}

# in_node NODE COMMAND…: runs a command in the network namespace of a, b, client or net. ("ip netns exec"
# would also make a mount namespace, which nothing here needs.)
in_node()
{
	local node=$1
	shift
	nsenter --net="/run/netns/$LAB_NAME-$node" -- "$@"
}

other_node()
{
	case $1 in
	a) echo b ;;
	b) echo a ;;
	esac
}

now_ms()
{
	local now=${EPOCHREALTIME/[.,]/}
	echo $((now / 1000))
}

# wait_for WHAT COMMAND…: until the command succeeds, or says what did not happen in time and fails.
wait_for()
{
	local what=$1 until_ms
	shift
	until_ms=$(($(now_ms) + LAB_DEADLINE_S * 1000))
	until "$@" >/dev/null 2>&1; do
		if [ "$(now_ms)" -ge "$until_ms" ]; then
			complain "not within $LAB_DEADLINE_S s: $what"
			return 1
		fi
		sleep 0.05
	done
}

show_logs()
{
	local file
	for file in "$LAB_STATE"/[ab]/*.log; do
		[ -s "$file" ] || continue
		complain "the end of ${file#"$LAB_STATE"/}:"
		tail -n 15 "$file" | sed 's/^/    /' >&2
	done
}

# fetch_from NODE PATH: what the service address gives, as seen from that namespace.
fetch_from()
{
	in_node "$1" curl --silent --insecure --max-time 2 "https://$SERVICE_ADDRESS$2"
}

# The node that answers the client: "a", "b" or "" when none does.
answering_node()
{
	fetch_from client /node || true
}

is_answering()
{
	[ "$(answering_node)" = "$1" ]
}

is_serving()
{
	[ "$(fetch_from "$1" /node)" = "$1" ]
}

# The pids that live in a node's namespace.
node_pids()
{
	ip netns pids "$(namespace "$1")" 2>/dev/null || true
}

# A zombie is gone, too: nobody may be there to wait for it.
is_gone()
{
	case $(ps -o stat= -p "$1") in
	'' | Z*) return 0 ;;
	*) return 1 ;;
	esac
}

has_no_pids()
{
	[ -z "$(node_pids "$1")" ]
}

# kill_all NODE: true once nothing is left. To be called again and again: who is killed may have forked since it was listed.
kill_all()
{
	local pids
	pids=$(node_pids "$1")
	[ -n "$pids" ] || return 0
	# shellcheck disable=SC2086 # a list
	kill -KILL $pids 2>/dev/null || true
	return 1
}

# stop_node NODE: ends every process in its namespace, asking first.
stop_node()
{
	local pids
	pids=$(node_pids "$1")
	[ -n "$pids" ] || return 0
	# shellcheck disable=SC2086 # a list
	kill -TERM $pids 2>/dev/null || true
	# shellcheck disable=SC2086
	kill -CONT $pids 2>/dev/null || true
	if ! LAB_DEADLINE_S=3 wait_for "processes of $1 end" has_no_pids "$1" 2>/dev/null; then
		wait_for "processes of $1 end when killed" kill_all "$1"
	fi
}
