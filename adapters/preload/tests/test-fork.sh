#!/bin/bash
# A program that forks while another of its threads is in the library for the first time (forks.c): its children do not hang.
# Usage: test-fork.sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

# forks ARGUMENT…: its exit status.
forks()
{
	local status=0
	mkdir -p "$T/forks"
	"${RUN[@]}" "$PROGRAMS/forks" "$@" 2>"$T/forks/error.log" || status=$?
	echo "$status"
}

case_ "at the first connection, without a daemon"
is "exit status" "$(forks accept 200)" 0

case_ "at the first connection, with a daemon that hangs: it is waited for"
daemon_start now 1000
kill -STOP "$DAEMON_PID"
is "exit status" "$(forks accept 10)" 0
daemon_end KILL

case_ "at the first context, while the second object is being loaded"
mkdir "$T/slow"
cp "$PRELOAD" "$T/slow/"
cp "$PROGRAMS/slow-second.so" "$T/slow/tlsbaton-preload-openssl3.so"
RUN=("$TLSBATON" run --library "$T/slow/$(basename "$PRELOAD")" --socket "$SOCKET" --)
is "exit status" "$(forks load)" 0
is "what the child says" "$(n_lines forks 'was forked too early')" 1
