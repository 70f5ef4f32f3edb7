#!/bin/bash
# A server that calls chroot(2) before it serves: it finds the daemon at the same path in there, and says so when it does not.
# Usage: test-chroot.sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
SERVER=haproxy
mkdir -p "$T/jail/run"
chmod 755 "$T/jail" "$T/jail/run"
GLOBAL="chroot $T/jail"
RUN=("$TLSBATON" run --library "$PRELOAD" --socket /run/worker.sock --)

case_ "no socket in there"
server_start a
is "full" "$(get /hello - "$T/s")" New
is "what it says of it" "$(n_lines a 'tlsbaton: no tlsbatond at /run/worker.sock')" 1

case_ "the socket is there"
SOCKET=$T/jail/run/worker.sock
daemon_start now 1000
stored_one()
{
	get /hello - "$T/s" >/dev/null
	[ "$(figure stored)" -ge 1 ]
}
until_true stored_one
is "resumed" "$(get /hello "$T/s" "$T/s2")" Reused

case_ "and again after the daemon's restart"
daemon_end KILL
daemon_start now 1000
until_true stored_one
server_stop a
daemon_end TERM
