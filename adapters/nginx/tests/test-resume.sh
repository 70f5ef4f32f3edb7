#!/bin/bash
# Sessions of a real nginx resume in another worker, on another server that looks into the same table, with any of
# its virtual servers and certificates; and removals that security asks for reach all. Usage:
# test-resume.sh TLSv1.2|TLSv1.3
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
PROTOCOL=$1

make_certificates
daemon_start now 1000

make_client_certificate
# The service's second certificate.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
	-addext basicConstraints=critical,CA:FALSE -keyout "$T/ec.key" -out "$T/ec.crt" 2>/dev/null
WORKERS=4

case_ "the workers, and nobody else, are at the daemon"
nginx_start first
until_true figure_is workers 4

case_ "a full handshake is stored, and resumes in another worker"
port_first=$PORT
is "first handshake" "$(get /hello - "$T/s1")" New
at_least "records stored" "$(figure stored)" 1
is "second handshake" "$(get_elsewhere "$T/s1" "$T/s2")" Reused
is "outcome of the first" "$(logged first "^/hello 200 $(first_outcome) [0-9]+\.[0-9]{3}\$")" 1
at_least "outcomes of the others" "$(logged first '^/hello 200 hit [0-9]+\.[0-9]{3}$')" 1

case_ "a session that comes from a resumption expires when the first one does"
expires_with_the_first

case_ "two servers of one service share what is in one table"
nginx_start second
is "resumed on the second" "$(get /hello "$T/s3")" Reused
is "full on the second" "$(get /hello - "$T/s4")" New
port_second=$PORT
PORT=$port_first
is "resumed on the first" "$(get /hello "$T/s4")" Reused
PORT=$port_second
nginx_stop second
no_crash second

case_ "a session that no node knows"
PORT=$port_first
nginx_stop first
no_crash first
daemon_end TERM
rm "$T/table"
daemon_start now 1000
nginx_start first
is "full" "$(get /hello "$T/s3")" New
is "outcome" "$(logged first '^/hello 200 miss [0-9]+\.[0-9]{3}$')" 1
nginx_stop first
no_crash first

case_ "virtual servers, the default one refuses unknown names"
# The port is known when it starts.
eval "write_config_alone() $(declare -f write_config | tail -n +2)"
write_config()
{
	HTTP="server { listen 127.0.0.1:$PORT ssl default_server; ssl_reject_handshake on; }
	server { listen 127.0.0.1:$PORT ssl; server_name one.example; }
	server { listen 127.0.0.1:$PORT ssl; server_name two.example; }"
	write_config_alone "$1"
}
nginx_start virtual
is "an unknown name" "$(get /hello - - -servername three.example)" failed
for name in one two; do
	is "full" "$(get /hello - "$T/v" -servername $name.example)" New
	is "resumed" "$(get /hello "$T/v" - -servername $name.example)" Reused
done
nginx_stop virtual
no_crash virtual
eval "write_config() $(declare -f write_config_alone | tail -n +2)"
HTTP=

case_ "two certificates"
SERVER="ssl_certificate $T/server.crt; ssl_certificate_key $T/server.key; ssl_certificate $T/ec.crt; ssl_certificate_key $T/ec.key;"
nginx_start certificates
for algorithm in RSA-PSS+SHA256 ECDSA+SHA256; do
	is "full, $algorithm" "$(get /hello - "$T/c" -sigalgs "$algorithm")" New
	is "resumed, $algorithm" "$(get /hello "$T/c" - -sigalgs "$algorithm")" Reused
done
if command -v gnutls-cli >/dev/null; then
	case_ "a client of GnuTLS"
	printf 'GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' |
		gnutls-cli --insecure --resume --waitresumption --priority "NORMAL:-VERS-ALL:+VERS-${PROTOCOL/v/}" -p "$PORT" 127.0.0.1 \
			>"$T/answer" 2>&1 || true
	at_least "it has resumed" "$(grep -c 'This is a resumed session' "$T/answer")" 1
fi
nginx_stop certificates
no_crash certificates

case_ "client certificates"
SERVER="ssl_verify_client on; ssl_client_certificate $T/ca.crt; error_page 495 496 =200 /hello;"
nginx_start client
is "full" "$(get /hello - "$T/s5" -cert "$T/client.crt" -key "$T/client.key")" New
at_least "bytes of DER" "$(figure n_der)" 3000
is "resumed" "$(get /hello "$T/s5" - -cert "$T/client.crt" -key "$T/client.key")" Reused
is "removals" "$(figure removed)" 0
removed_more_than()
{
	[ "$(figure removed)" -gt "$1" ]
}
for how in none unknown; do
	case_ "a client that is refused for its certificate: $how"
	options=()
	[ $how = none ] || options=(-cert "$T/server.crt" -key "$T/server.key")
	removed=$(figure removed)
	is "full" "$(get /hello - "$T/s6" "${options[@]}")" New
	until_true removed_more_than "$removed"
	is "not resumed" "$(get /hello "$T/s6" - "${options[@]}")" New
done
nginx_stop client
no_crash client
daemon_end TERM
