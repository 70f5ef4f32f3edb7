#!/bin/bash
# Graceful restarts, restarts and stops under load: no request fails (but at a hard restart), no child
# crashes, no session is lost. Usage: test-reload.sh event|prefork
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
MPM=$1
N_RESTARTS=${N_RESTARTS:-5}

make_certificates
daemon_start now 1000
apache_start server
is "full" "$(get /hello - "$T/s")" New

case_ "graceful restarts under load"
load 1 &
load_1=$!
load 2 &
load_2=$!
for ((i = 0; i < N_RESTARTS; i++)); do
	apache_graceful server
	is "after restart $i" "$(get /hello "$T/s")" Reused
done
touch "$T/stop"
wait "$load_1" "$load_2"
while read -r n n_failed; do
	at_least "requests" "$n" 1
	is "requests that failed" "$n_failed" 0
done < <(cat "$T/load.1" "$T/load.2")
no_crash server

case_ "hard restarts"
for ((i = 0; i < 2; i++)); do
	n=$(n_started server)
	kill -HUP "$(cat "$T/server/pid")"
	until_true started_more_than server "$n"
	is "after restart $i" "$(get /hello "$T/s")" Reused
done
no_crash server

case_ "stop and start"
apache_stop server
"$HTTPD" -f "$T/server/httpd.conf" || fail "does not start again"
until_true test -s "$T/server/pid"
is "after a stop and a start" "$(get /hello "$T/s")" Reused
pid=$(cat "$T/server/pid")
kill -WINCH "$pid" # a graceful stop; its children have the port until they end, before it does
until_true test ! -e "/proc/$pid"
no_crash server

case_ "the parent leaks no descriptor over restarts"
"$HTTPD" -f "$T/server/httpd.conf" || fail "does not start again"
until_true test -s "$T/server/pid"
count_fds()
{
	find "/proc/$(cat "$T/server/pid")/fd" -mindepth 1 | wc -l
}
apache_graceful server
n_fds=$(count_fds)
for ((i = 0; i < N_RESTARTS; i++)); do
	apache_graceful server
done
[ "$(count_fds)" -le "$n_fds" ] || fail "$n_fds descriptors, then $(count_fds)"
