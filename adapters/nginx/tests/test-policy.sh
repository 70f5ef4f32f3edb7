#!/bin/bash
# Virtual servers of a real nginx honour each other's sessions no more than each other's clients: one asks for
# certificates and one does not, on one listener and on two servers with different configurations of one name.
# Usage: test-policy.sh TLSv1.2|TLSv1.3 on|off    (session tickets)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
PROTOCOL=$1
TICKETS=$2

make_certificates
make_client_certificate
daemon_start now 1000 "$([ "$TICKETS" = on ] && echo both || echo stateful)"

VERIFY="ssl_verify_client on; ssl_client_certificate $T/ca.crt;"
CLIENT=(-cert "$T/client.crt" -key "$T/client.key")
ALIAS= # what alias.example asks for
eval "write_config_alone() $(declare -f write_config | tail -n +2)"
write_config()
{
	HTTP="
	server { listen 127.0.0.1:$PORT ssl; server_name open.example; root $T/$1/www; }
	server { listen 127.0.0.1:$PORT ssl; server_name alias.example; root $T/$1/www; $ALIAS }
	server { listen 127.0.0.1:$PORT ssl; server_name strict.example; root $T/$1/www; $VERIFY }"
	write_config_alone "$1"
}

# visit NAME [IN|-] [OUT|-]: by a client that has a certificate, if it is asked for.
visit()
{
	HOST=$1 get /hello "${2:--}" "${3:--}" -servername "$1" "${CLIENT[@]}"
}

nginx_start first
port_first=$PORT
case_ "a session resumes where it was made"
for name in open strict alias; do
	is "$name, full" "$(visit $name.example - "$T/$name")" New
	is "$name, resumed" "$(visit $name.example "$T/$name" "$T/$name")" Reused
done

case_ "a session is refused at another name, without harm"
is "of open at strict" "$(visit strict.example "$T/open")" New
is "of strict at open" "$(visit open.example "$T/strict")" New
is "of open at alias, which is configured the same" "$(visit alias.example "$T/open")" New
at_least "refused" "$(figure refused_policy)" 3

case_ "a server whose configuration is the same"
nginx_start same
is "open" "$(visit open.example "$T/open" "$T/open")" Reused
is "strict" "$(visit strict.example "$T/strict" "$T/strict")" Reused
in_tickets
nginx_stop same
no_crash same

case_ "a server where one name is of another policy"
ALIAS=$VERIFY
nginx_start other
is "open" "$(visit open.example "$T/open" "$T/open")" Reused
# It was made without a certificate; here only its own worker learns that from the first client.
until_refused()
{
	[ "$(visit alias.example "$T/alias")" = New ]
}
is "never honoured" "$(visit alias.example "$T/alias" | grep -c Reused || true)" 0
until_true until_refused
nginx_stop other
no_crash other

case_ "a server that trusts another authority"
PORT=$port_first
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout "$T/ca2.key" -out "$T/ca2.crt" -subj /CN=ca2 2>/dev/null
cat "$T/ca.crt" "$T/ca2.crt" >"$T/both.crt"
VERIFY="ssl_verify_client on; ssl_client_certificate $T/both.crt;"
ALIAS=
nginx_start trusting
is "of strict" "$(visit strict.example "$T/strict")" New
is "of open" "$(visit open.example "$T/open" "$T/open")" Reused
nginx_stop trusting
no_crash trusting

case_ "seventy servers, each with a certificate of its own, which makes a policy"
for i in {1..70}; do
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout "$T/many$i.key" \
		-out "$T/many$i.crt" -subj "/CN=many$i" 2>/dev/null
done
write_config()
{
	local i
	HTTP=
	for i in {1..70}; do
		HTTP+="server { listen 127.0.0.1:$PORT ssl; server_name many$i.example; root $T/$1/www;
			ssl_certificate $T/many$i.crt; ssl_certificate_key $T/many$i.key; }
		"
	done
	write_config_alone "$1"
}
nginx_start many
for i in 1 35 64 65 70; do
	is "the ${i}th, full" "$(visit "many$i.example" - "$T/many.session")" New
	is "the ${i}th, resumed" "$(visit "many$i.example" "$T/many.session" "$T/many.session")" Reused
done
nginx_stop many
no_crash many
PORT=$port_first
nginx_stop first
no_crash first
daemon_end TERM
