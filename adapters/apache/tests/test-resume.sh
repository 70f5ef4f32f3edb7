#!/bin/bash
# Sessions of a real Apache resume in another process, after a graceful restart, and on another server
# that looks into the same table. Usage: test-resume.sh event|prefork TLSv1.2|TLSv1.3
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
MPM=$1
PROTOCOL=$2

make_certificates
daemon_start now 1000

make_client_certificate

several_children

case_ "children connect before their first client comes"
apache_start first
port_first=$PORT
n_children=2
[ "$MPM" = prefork ] || n_children=4
until_true figure_is workers $((n_children + 1)) # and the parent

case_ "a full handshake is stored, and resumes in another process"
is "first handshake" "$(get '/server-status?auto' - "$T/s1")" New
at_least "records stored" "$(figure stored)" 1
is "second handshake" "$(get_elsewhere "$T/s1" "$T/s2")" Reused
at_least "hits" "$(status_of Hits)" 1

case_ "what mod_status shows"
is "socket" "$(status_of Socket)" "$SOCKET"
is "connected" "$(status_of Connected)" 1
is "page" "$(get /server-status "$T/s2")" Reused
is "rows" "$(grep -c 'cache type: <b>tlsbaton</b>\|look-ups that found a session</td><td><b>[0-9]*<' "$T/answer")" 2

case_ "a session that comes from a resumption expires when the first one does"
expires_with_the_first

case_ "a session lives on over graceful restarts"
for i in 1 2 3; do
	apache_graceful first
	is "after restart $i" "$(get /hello "$T/s3")" Reused
done

case_ "two servers of one service share what is in one table"
apache_start second
is "resumed on the second" "$(get /hello "$T/s3")" Reused
is "full on the second" "$(get /hello - "$T/s4")" New
PORT=$port_first
is "resumed on the first" "$(get /hello "$T/s4")" Reused
no_crash second
apache_stop second

case_ "client certificates"
VHOST="SSLVerifyClient require
SSLCACertificateFile $T/ca.crt"
apache_start client
is "without a certificate" "$(get /hello)" failed
is "full" "$(get /hello - "$T/s5" -cert "$T/client.crt" -key "$T/client.key")" New
at_least "bytes of DER" "$(figure n_der)" 3000
is "resumed" "$(get /hello "$T/s5" - -cert "$T/client.crt" -key "$T/client.key")" Reused
no_crash client

PORT=$port_first
no_crash first
is "removals" "$(figure removed)" 0
