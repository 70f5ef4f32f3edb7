# shellcheck shell=bash
# What the tests in the lab share. A test sources this, then uses lab/lab like anybody would.
#
# The tests have a lab of their own name, so that one that a person has up is left alone. Without root or
# namespaces a test is skipped (exit status 77). Whatever happens, the lab is taken down at the end.
set -euo pipefail

export LAB_NAME=${LAB_NAME:-tlsbaton-test}
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lab/lib.sh
. "$tests/../../lab/lib.sh"
# shellcheck source=lab/daemon.sh
. "$tests/../../lab/daemon.sh"
# shellcheck source=lab/server.sh
. "$tests/../../lab/server.sh"
# shellcheck source=lab/clients.sh
. "$tests/../../lab/clients.sh"

if [ "$(id -u)" != 0 ]; then
	echo "skipped: network namespaces need root"
	exit 77
fi
if ! unshare --net true 2>/dev/null; then
	echo "skipped: this system lets us make no network namespaces"
	exit 77
fi

# Whose test it is: apache or nginx.
SERVER=${SERVER:-apache}

lab()
{
	[ "${1:-}" != up ] || set -- up --server "$SERVER" "${@:2}"
	"$LAB_ROOT/lab/lab" "$@"
}

finish()
{
	local status=$?
	trap - EXIT
	if [ "$status" != 0 ] && [ "$status" != 77 ]; then
		echo "--- the test failed with status $status; the lab's logs:"
		show_logs 2>&1
	fi
	lab down
	rm -rf "$scratch"
	exit "$status"
}
scratch=$(mktemp -d)
trap finish EXIT
trap 'exit 130' INT TERM HUP

# Left over from a test that was killed.
lab down

step()
{
	printf -- '--- %s\n' "$*"
}

fail()
{
	printf 'FAILED: %s\n' "$*"
	exit 1
}

# expect WHAT ACTUAL EXPECTED
expect()
{
	[ "$2" = "$3" ] || fail "$1: $2, expected: $3"
	printf 'ok: %s: %s\n' "$1" "$2"
}

# expect_at_least WHAT ACTUAL MINIMUM
expect_at_least()
{
	[ "$2" -ge "$3" ] || fail "$1: $2, expected at least: $3"
	printf 'ok: %s: %s\n' "$1" "$2"
}

# expect_round FIGURE=N…: what the crowd's last round must have been.
expect_round()
{
	local figure
	printf 'round: %s\n' "$crowd"
	for figure in "$@"; do
		expect "${figure%=*}" "$(crowd_figure "${figure%=*}")" "${figure#*=}"
	done
}

# expect_log FILE PATTERN N: how many lines of a log match.
expect_log()
{
	local n
	n=$(grep -cE -- "$2" "$LAB_STATE/$1" || true)
	expect "lines of $1 that match '$2'" "$n" "$3"
}

# log_has FILE PATTERN
log_has()
{
	grep -qE -- "$2" "$LAB_STATE/$1"
}

# status_is NODE FILTER: whether jq finds this true in the node's status.
status_is()
{
	daemon_status "$1" "$2"
}

# figure NODE FILTER: one figure of the node's status.
figure()
{
	baton "$1" status --json | jq -r "$2"
}

# Single clients of the libraries (client-*, ClientJava.java): each makes a visit, and a second when it gets a line.
declare -A client_pids client_inputs

# client_start NAME COMMAND…
client_start()
{
	local name=$1 fd
	shift
	mkfifo "$scratch/$name.in"
	in_node client "$@" <"$scratch/$name.in" >"$scratch/$name.out" 2>"$scratch/$name.err" &
	client_pids[$name]=$!
	exec {fd}>"$scratch/$name.in"
	client_inputs[$name]=$fd
}

client_again()
{
	# One that has ended has said nothing, which is found when it is asked what.
	echo again >&"${client_inputs[$1]}" || true
}

client_has_said()
{
	[ "$(wc -l <"$scratch/$1.out")" -ge "$2" ] || is_gone "${client_pids[$1]}"
}

# client_said NAME VISIT: what it said of that visit, "full a" or the like; "nothing" if it ended over it, or took too
# long.
client_said()
{
	local line
	LAB_DEADLINE_S=60 wait_for "$1: visit $2" client_has_said "$1" "$2" || true
	line=$(sed -n "$2p" "$scratch/$1.out")
	[ -n "$line" ] || cat "$scratch/$1.err" >&2
	echo "${line:-nothing}"
}

# A worker comes back to the daemon when it has something to do.
is_back()
{
	is_serving "$1" && status_is "$1" '.workers.connected >= 1'
}

# picks_up_on NODE: waits until its workers and its peer are back at its daemon.
picks_up_on()
{
	wait_for "the server's workers are back at the daemon of $1" is_back "$1"
	daemons_wait_in_sync
}
