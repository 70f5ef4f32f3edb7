# shellcheck shell=bash
# What the tests of the daemon without a lab share: messages, and waiting for a condition.

fail()
{
	echo "FAILED: $*"
	exit 1
}

# until_true WHAT COMMAND…: waits until the command succeeds.
until_true()
{
	local what=$1 end=$((SECONDS + 20))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || fail "$what"
		read -rt 0.05 <> <(:) || true
	done
	echo "ok: $what"
}

# expect WHAT ACTUAL PATTERN
expect()
{
	grep -qE -- "$3" <<<"$2" || fail "$1: \"$2\", expected: $3"
	echo "ok: $1"
}
