#!/bin/bash
# Sessions of a server that knows nothing of tlsbaton resume on another one that looks into the same table. Usage:
# test-resume.sh SERVER TLSv1.2|TLSv1.3
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
SERVER=$1
PROTOCOL=$2

daemon_start now 1000
[ "$SERVER" != stunnel ] || plain_start

case_ "a full handshake on a is stored"
server_start a
port_a=$PORT
is "full on a" "$(get /hello - "$T/s1")" New
at_least "records stored" "$(figure stored)" 1
is "resumed on a" "$(get /hello "$T/s1" "$T/s2")" Reused

case_ "and resumes on b, and back"
server_start b
hits=$(figure hits)
is "resumed on b" "$(get /hello "$T/s2" "$T/s3")" Reused
at_least "hits" "$(figure hits)" $((hits + 1))
is "full on b" "$(get /hello - "$T/s4")" New
PORT=$port_a
is "resumed on a" "$(get /hello "$T/s4")" Reused
is "resumed on a, from b" "$(get /hello "$T/s3")" Reused

if [ "$SERVER" = haproxy ]; then
	case_ "a reload, for which HAProxy runs itself anew: its own cache is gone, the library is there"
	pid=$(cat "$T/a/pid")
	worker=$(pgrep -P "$pid")
	kill -USR2 "$pid"
	until_true test ! -e "/proc/$worker"
	is "resumed on a" "$(get /hello "$T/s4" "$T/s5")" Reused
	is "full on a" "$(get /hello - "$T/s6")" New
	is "resumed on a" "$(get /hello "$T/s6")" Reused
fi

case_ "many at once"
for i in {1..20}; do
	curl -sk "https://127.0.0.1:$PORT/hello" >"$T/many.$i" &
	clients[i]=$!
done
wait "${clients[@]}"
is "answers" "$(grep -l hello "$T"/many.* | wc -l)" 20

server_stop a
server_stop b
daemon_end TERM
