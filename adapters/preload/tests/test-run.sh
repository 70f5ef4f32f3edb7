#!/bin/bash
# tlsbaton run: what cannot be helped is said, and runs as it would have. Usage: test-run.sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

# runs STATUS OUTPUT ERRORS COMMAND…: ERRORS is how many lines of standard error tlsbaton has written.
runs()
{
	local status=0 output
	output=$("${RUN[@]}" "${@:4}" 2>"$T/said" </dev/null) || status=$?
	is "exit status of ${4:-nothing}" "$status" "$1"
	is "output of ${4:-nothing}" "$output" "$2"
	is "lines of tlsbaton's about ${4:-nothing}" "$(grep -c '^tlsbaton: ' "$T/said" || true)" "$3"
}

says_of()
{
	grep -qF -- "$1" "$T/said" || fail "it does not say '$1' but: $(cat "$T/said")"
	N_CHECKS=$((N_CHECKS + 1))
}

case_ "a program is what it was: arguments, output, exit status"
# shellcheck disable=SC2016 # for that shell
runs 7 'a b|c' 0 sh -c 'echo "$1|$2"; exit 7' sh 'a b' c
runs 0 yes 0 /bin/echo yes
runs 141 '' 0 bash -c 'kill -PIPE $$'

case_ "an option of the command's is not ours"
RUN=("$TLSBATON" run --library "$PRELOAD" --socket "$SOCKET")
runs 0 --socket 0 /bin/echo --socket

case_ "the program's own cache as a fallback is the program's to know"
# shellcheck disable=SC2016 # for that shell
TLSBATON_FALLBACK_CACHE=1 runs 0 none 0 sh -c 'echo ${TLSBATON_FALLBACK_CACHE-none}'
RUN=("$TLSBATON" run --fallback-cache --library "$PRELOAD" --socket "$SOCKET")
# shellcheck disable=SC2016 # for that shell
runs 0 1 0 sh -c 'echo ${TLSBATON_FALLBACK_CACHE-none}'
RUN=("$TLSBATON" run --library "$PRELOAD" --socket "$SOCKET")

case_ "what is preloaded already stays"
export LD_PRELOAD=libdl.so.2
# shellcheck disable=SC2016 # for that shell
runs 0 "$PRELOAD:libdl.so.2 $SOCKET" 0 sh -c 'echo $LD_PRELOAD $TLSBATON_SOCKET'
unset LD_PRELOAD

case_ "a static program"
runs 3 'static' 1 "$PROGRAMS/static-program"
says_of 'is linked statically'

case_ "a program with another TLS library"
runs 2 '' 1 "$PROGRAMS/../../../tests/integration/client-gnutls"
says_of 'has its TLS from libgnutls.so'

case_ "a program that changes its rights"
cp /bin/true "$T/program"
chown www-data "$T/program"
chmod 4755 "$T/program"
runs 0 '' 1 "$T/program"
says_of 'changes its rights'

case_ "a program for another machine"
# Bytes 18 and 19 of an ELF file: 0xb7 is AArch64.
cp /bin/true "$T/foreign"
printf '\xb7\0' | dd of="$T/foreign" bs=1 seek=18 conv=notrunc 2>/dev/null
runs 126 '' 2 "$T/foreign"
says_of 'another architecture'

case_ "scripts: the interpreter counts"
printf '#!/bin/sh\necho script\n' >"$T/script"
printf '#!%s\n' "$PROGRAMS/static-program" >"$T/static-script"
chmod 755 "$T/script" "$T/static-script"
runs 0 script 0 "$T/script"
runs 3 static 1 "$T/static-script"
says_of 'is linked statically'
printf '#!%s/loop\n' "$T" >"$T/loop"
chmod 755 "$T/loop"
runs 126 '' 1 "$T/loop"
mkfifo -m 755 "$T/fifo"
printf '#!%s/fifo\n' "$T" >"$T/fifo-script"
chmod 755 "$T/fifo-script"
runs 126 '' 1 "$T/fifo-script"

case_ "no program"
runs 127 '' 1 no-such-program
runs 127 '' 1 "$T/none"
echo >"$T/text"
runs 126 '' 1 "$T/text"
runs 2 '' 1
says_of 'no command to run'

case_ "no library"
RUN=("$TLSBATON" run --library "$T/none.so" --socket "$SOCKET" --)
runs 0 yes 1 /bin/echo yes
says_of 'cannot be preloaded'

case_ "the library loads nothing into a program that has no OpenSSL"
RUN=("$TLSBATON" run --library "$PRELOAD" --socket "$SOCKET" --)
is "libraries" "$("${RUN[@]}" cat /proc/self/maps | grep -c 'libssl\|libcrypto' || true)" 0
is "the library" "$("${RUN[@]}" cat /proc/self/maps | grep -c 'r-xp.*/tlsbaton-preload\.so$')" 1
