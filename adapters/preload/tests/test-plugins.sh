#!/bin/bash
# A program whose plugins bring libssls of their own (plugins.c): libssl.so.3 is served, another is passed on as if the library
# were not there. Usage: test-plugins.sh 1.2|1.3
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
version=$1

FIRST=$PROGRAMS/plugin.so
export LD_LIBRARY_PATH=$T/sec:$T/mut

# other_make NAME: a plugin $T/NAME/plugin.so that brings libNAME.so.3, copies of $FIRST and of the system's libraries under
# other names, in all that they say of themselves and of each other. NAME has three letters, so that nothing moves.
other_make()
{
	local library path
	mkdir "$T/$1"
	cp "$FIRST" "$T/$1/plugin.so"
	for library in ssl.$1 crypto.cry$1; do
		path=$(ldd "$FIRST" | sed -n "s/.*lib${library%.*}\.so\.3 => \([^ ]*\).*/\1/p")
		[ -n "$path" ] || skip "needs libssl.so.3"
		cp "$path" "$T/$1/lib${library#*.}.so.3"
	done
	LC_ALL=C sed -i "s/libssl\.so\.3/lib$1.so.3/g; s/libcrypto\.so\.3/libcry$1.so.3/g" "$T/$1"/*
}

other_make sec
OTHER=$T/sec/plugin.so
# One that cannot be asked whose a connection is.
other_make mut
MUTE=$T/mut/plugin.so
LC_ALL=C sed -i 's/SSL_get_ssl_method/SSL_get_ssl_mute__/g' "$T/mut/libmut.so.3"

plain()
{
	"$PROGRAMS/plugins" "$1" "$version" "$T/server.pem" "${@:2}"
}

# preloaded WHAT PLUGIN…: its lines are in $T/plugins/error.log.
preloaded()
{
	mkdir -p "$T/plugins"
	"${RUN[@]}" "$PROGRAMS/plugins" "$1" "$version" "$T/server.pem" "${@:2}" 2>"$T/plugins/error.log"
}

# same_as_plain WHAT N_LINES PLUGIN…: the program is told what it is told without us, and N_LINES say of another libssl that it
# is not served.
same_as_plain()
{
	is "what it is told" "$(preloaded "$1" "${@:3}" || echo "exit status $?")" "$(plain "$1" "${@:3}")"
	is "what it says" "$(n_lines plugins 'with another libssl')" "$2"
}

daemon_start now 1000
case_ "libssl.so.3 alone"
same_as_plain serve 0 "$FIRST"
each=$(figure stored)
at_least "records stored" "$each" 1

case_ "another alone"
same_as_plain serve 1 "$OTHER"
is "records stored" "$(figure stored)" "$each"
is "which one it says" "$(n_lines plugins "$T/sec/libsec.so.3")" 1

case_ "libssl.so.3, then another"
same_as_plain serve 1 "$FIRST" "$OTHER"
is "records stored" "$(figure stored)" $((2 * each))

case_ "another, then libssl.so.3"
same_as_plain serve 1 "$OTHER" "$FIRST"
is "records stored" "$(figure stored)" $((3 * each))

case_ "several others, and one of them cannot be asked"
same_as_plain serve 2 "$MUTE" "$FIRST" "$OTHER"
is "records stored" "$(figure stored)" $((4 * each))

case_ "libssl.so.3, then another for all to see"
same_as_plain serve 1 "$FIRST" "g:$OTHER"
is "records stored" "$(figure stored)" $((5 * each))

case_ "another for all to see, then libssl.so.3"
is "what it is told" "$(preloaded serve "g:$OTHER" "$FIRST")" "$(plain serve "g:$OTHER" "$FIRST")"
is "records stored" "$(figure stored)" $((5 * each))

case_ "libssl.so.3, then another for all to see, before anything is called"
is "what it is told" "$(preloaded late "$FIRST" "g:$OTHER")" "$(plain late "$FIRST" "g:$OTHER")"
is "records stored" "$(figure stored)" $((5 * each))
is "what it says" "$(n_lines plugins 'another libssl before libssl.so.3: sessions are not shared')" 1

case_ "one that accepts no connections is not worth a word"
same_as_plain connect 0 "$FIRST" "$OTHER"
daemon_end TERM

case_ "another's connections wait at no gate"
daemon_start hold 60000
same_as_plain serve 1 "$OTHER"
is "gates that were closed" "$(figure gate_waits)" 0
daemon_end TERM
daemon_start hold 50
same_as_plain serve 1 "$FIRST" "$OTHER"
at_least "gates that were closed" "$(figure gate_waits)" 1
daemon_end TERM
