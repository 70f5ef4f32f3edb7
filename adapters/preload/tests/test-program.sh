#!/bin/bash
# A program with session callbacks of its own, and with contexts for both ends, is told with the library in it what it is told
# without (own-callbacks.c). Usage: test-program.sh 1.2|1.3
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
version=$1

plain()
{
	"$PROGRAMS/own-callbacks" "$1" "$version" "$T/server.pem"
}

preloaded()
{
	mkdir -p "$T/$1"
	"${RUN[@]}" "$PROGRAMS/own-callbacks" "$1" "$version" "$T/server.pem" 2>"$T/$1/error.log"
}

daemon_start now 1000

case_ "contexts for one end each"
is "what it is told" "$(preloaded two)" "$(plain two)"
stored=$(figure stored)
at_least "records stored" "$stored" 1

case_ "one context for both ends: sessions of the client's end are its own"
# The context is a server's, too, so its callbacks and mode are ours.
is "what it is told" "$(preloaded one)" "$(plain one | sed 's/client_as_it_was=1/client_as_it_was=0/')"
is "records stored" "$(figure stored)" $((2 * stored))

case_ "a context that is chosen by the client's server name"
is "what it is told" "$(preloaded name)" "$(plain name)"
is "records stored" "$(figure stored)" $((3 * stored))

case_ "threads that use a new context all at once"
for i in {1..10}; do
	is "what they are told" "$(preloaded threads)" "$(plain threads)"
done

case_ "a session of a server that asks for nobody's certificate, at one that does and has no session ID context"
is "what it is told" "$(preloaded other)" "$(plain other)"
is "what it says" "$(n_lines other 'sets no session ID context')" 1
case_ "only such a server"
is "what it is told" "$(preloaded asks)" "$(plain asks)"
is "what it says" "$(n_lines asks 'sets no session ID context')" 1

case_ "its own cache is a fallback: it is told of no session that the group has, and asked for those that the group has not"
stored=$(figure stored)
RUN=("$TLSBATON" run --fallback-cache --library "$PRELOAD" --socket "$SOCKET" --)
is "what it is told" "$(preloaded two)" "$(plain two | sed 's/new_server=[0-9]*/new_server=0/')"
at_least "records stored" "$(figure stored)" $((stored + 1))
RUN=("$TLSBATON" run --library "$PRELOAD" --socket "$SOCKET" --)

case_ "sessions are switched off"
stored=$(figure stored)
is "what it is told" "$(preloaded off)" "$(plain off)"
is "what it says" "$(n_lines off 'has switched sessions off')" 1
is "records stored" "$(figure stored)" "$stored"

case_ "callbacks that are set late"
preloaded late >"$T/said"
at_least "connections" "$(grep -c 'first=0 second=0' "$T/said")" 1
is "what it says" "$(n_lines late 'sets its session callbacks after its first connection')" 1
daemon_end TERM

case_ "a handshake within SSL_write(): the gate is in between"
daemon_start hold 50
is "what it is told" "$(preloaded greets)" "$(plain greets)"
at_least "gates that were closed" "$(figure gate_waits)" 1
daemon_end TERM

case_ "a server that begins by reading early data, and answers it: the gate of the session that it came with"
daemon_start hold 500
is "what it is told" "$(preloaded early | sed 's/ new_server=.*//')" "$(plain early | sed 's/ new_server=.*//')"
at_least "records stored" "$(figure stored)" 1
if [ "$version" = 1.3 ]; then
	at_least "gates that were closed" "$(figure gate_waits)" 1
fi
daemon_end TERM

case_ "the second object is not there"
mkdir "$T/alone"
cp "$PRELOAD" "$T/alone/"
RUN=("$TLSBATON" run --library "$T/alone/$(basename "$PRELOAD")" --socket "$SOCKET" --)
is "what it is told" "$(preloaded two)" "$(plain two)"
is "what it says" "$(n_lines two 'sessions are not shared')" 1
RUN=("$TLSBATON" run --library "$PRELOAD" --socket "$SOCKET" --)

case_ "without a daemon"
told=$(preloaded two)
is "what it is told" "${told%second=*}" 'first=0 '
case_ "without a daemon, its own cache a fallback: it is told the same"
RUN=("$TLSBATON" run --fallback-cache --library "$PRELOAD" --socket "$SOCKET" --)
is "what it is told" "$(preloaded two)" "$told"
