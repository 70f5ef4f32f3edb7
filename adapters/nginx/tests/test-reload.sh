#!/bin/bash
# Reloads, binary upgrades and killed workers under load: no request fails (but on a killed worker's own
# connections), no process crashes, no session is lost. Usage: test-reload.sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
N_RELOADS=${N_RELOADS:-4}

make_certificates
daemon_start now 1000
nginx_start server
is "full" "$(get /hello - "$T/s")" New

load_start()
{
	rm -f "$T/stop"
	load 1 &
	load_1=$!
	load 2 &
	load_2=$!
}

# load_end MOST-FAILURES
load_end()
{
	touch "$T/stop"
	wait "$load_1" "$load_2"
	while read -r n n_failed; do
		at_least "requests" "$n" 1
		at_least "failures that are allowed" "$1" "$n_failed"
	done < <(cat "$T/load.1" "$T/load.2")
}

ends()
{
	[ ! -e "/proc/$1" ]
}

case_ "reloads under load"
load_start
for ((i = 0; i < N_RELOADS; i++)); do
	nginx_reload server
	is "after reload $i" "$(get /hello "$T/s")" Reused
done
load_end 0
no_crash server

case_ "binary upgrades under load"
load_start
for i in 1 2; do
	old=$(cat "$T/server/pid")
	kill -USR2 "$old"
	until_true test -s "$T/server/pid.oldbin"
	until_true test -s "$T/server/pid"
	new=$(cat "$T/server/pid")
	until_true has_new_workers "$new" ""
	is "beside the old one, $i" "$(get /hello "$T/s")" Reused
	kill -QUIT "$old"
	until_true ends "$old"
	is "after upgrade $i" "$(get /hello "$T/s")" Reused
done
load_end 0
no_crash server

case_ "a worker is killed"
load_start
pid=$(cat "$T/server/pid")
old=$(workers "$pid")
for worker in $old; do
	kill -KILL "$worker"
done
until_true has_new_workers "$pid" "$old"
is "after the kill" "$(get /hello "$T/s")" Reused
until_true figure_is workers "$WORKERS"
load_end 20
is "workers that were killed" "$(n_lines server 'exited on signal 9')" "$WORKERS"

case_ "the master leaks no descriptor over reloads, and has none of the daemon's"
has_fds()
{
	[ "$(find "/proc/$pid/fd" -mindepth 1 | wc -l)" = "$1" ]
}
has_workers()
{
	[ "$(pgrep -P "$pid" | wc -l)" = "$WORKERS" ]
}
nginx_reload server
until_true has_workers # those of before are gone
n_fds=$(find "/proc/$pid/fd" -mindepth 1 | wc -l)
for ((i = 0; i < N_RELOADS; i++)); do
	nginx_reload server
done
until_true has_fds "$n_fds"
is "mappings of the daemon's" "$(grep -c 'memfd:\|/table' "/proc/$pid/maps" || true)" 0
until_true figure_is workers "$WORKERS"
nginx_stop server
until_true figure_is workers 0
daemon_end TERM
