#!/bin/bash
# Virtual hosts of a real Apache honour each other's sessions no more than each other's clients: on one server, and on
# two whose configurations of one name differ. Usage: test-policy.sh TLSv1.2|TLSv1.3 on|off    (session tickets)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
PROTOCOL=$1
TICKETS=$2

make_certificates
make_client_certificate
daemon_start now 1000 "$([ "$TICKETS" = on ] && echo both || echo stateful)"

NAMES='open.example strict.example'
ASKS="SSLVerifyClient require
SSLCACertificateFile $T/ca.crt"
OPEN=        # more lines of one virtual host …
STRICT=$ASKS # … and of the other
eval "write_config_alone() $(declare -f write_config | tail -n +2)"
write_config()
{
	write_config_alone "$1"
	open=$OPEN strict=$STRICT awk '{ print }
		/ServerName open.example:/ { print ENVIRON["open"] }
		/ServerName strict.example:/ { print ENVIRON["strict"] }' "$T/$1/httpd.conf" >"$T/$1/new"
	mv "$T/$1/new" "$T/$1/httpd.conf"
}

# visit NAME [IN|-] [OUT|-]: by a client that has a certificate, if it is asked for.
visit()
{
	HOST=$1 get /hello "${2:--}" "${3:--}" -servername "$1" -cert "$T/client.crt" -key "$T/client.key"
}

apache_start first
port_first=$PORT
case_ "a session resumes where it was made"
for name in open strict; do
	is "$name, full" "$(visit $name.example - "$T/$name")" New
	is "$name, resumed" "$(visit $name.example "$T/$name" "$T/$name")" Reused
done

case_ "a session is refused at another name, without harm"
is "of open at strict" "$(visit strict.example "$T/open")" New
is "of strict at open" "$(visit open.example "$T/strict")" New

case_ "a server whose configuration is the same"
apache_start same
is "open" "$(visit open.example "$T/open" "$T/open")" Reused
is "strict" "$(visit strict.example "$T/strict" "$T/strict")" Reused
in_tickets
apache_stop same
no_crash same

case_ "a server where one name is of another policy"
refused=$(figure refused_policy)
OPEN=$ASKS
apache_start other
is "open" "$(visit open.example "$T/open")" New
is "strict" "$(visit strict.example "$T/strict" "$T/strict")" Reused
at_least "refused" "$(figure refused_policy)" $((refused + 1))

case_ "a reload that changes a policy"
STRICT="SSLVerifyClient optional
SSLCACertificateFile $T/ca.crt"
write_config other
apache_graceful other
is "strict" "$(visit strict.example "$T/strict" "$T/strict2")" New
is "and what is made then" "$(visit strict.example "$T/strict2")" Reused
apache_stop other
no_crash other

case_ "directories of authorities, which OpenSSL reads as it needs them: their names count"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout "$T/ca2.key" -out "$T/ca2.crt" -subj /CN=ca2 2>/dev/null
OPEN=
for directory in one same more; do
	mkdir "$T/$directory.d"
	cp "$T/ca.crt" "$T/$directory.d/ca.pem"
done
cp "$T/ca2.crt" "$T/more.d/ca2.pem"
for directory in one same more; do
	openssl rehash "$T/$directory.d"
	STRICT="SSLVerifyClient require
SSLCACertificatePath $T/$directory.d"
	apache_start "$directory"
	[ "$directory" != one ] || is "made" "$(visit strict.example - "$T/strict")" New
	how=Reused
	[ "$directory" != more ] || how=New
	is "$directory" "$(visit strict.example "$T/strict" "$T/strict")" $how
	apache_stop "$directory"
	no_crash "$directory"
done
PORT=$port_first
apache_stop first
no_crash first
daemon_end TERM
