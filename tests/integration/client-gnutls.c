/*
 * A client built on GnuTLS: a full handshake, and after a line on standard input a second visit with the
 * session of the first. Prints "full a" or "resumed b" a visit: what the handshake was, and which node
 * answered. Usage: client-gnutls ADDRESS PORT 1.2|1.3 [CERTIFICATE KEY], files in PEM
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <gnutls/gnutls.h>

#include "util/macro.h"

static const char request[] = "GET /50k.bin HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n";

static int dial(const char *address, const char *port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && inet_pton(AF_INET, address, &to.sin_addr) == 1 &&
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	perror("connect");
	closep(&fd);
	return -1;
}

/* Reads the answer. Returns the first byte of its body, which names the node, or 0. */
static char read_node(gnutls_session_t tls)
{
	char bytes[65536], *body;
	size_t n = 0;
	ssize_t r;

	do {
		r = gnutls_record_recv(tls, bytes + n, sizeof(bytes) - 1 - n);
		if (r > 0)
			n += (size_t)r;
	} while ((r > 0 && n < sizeof(bytes) - 1) || r == GNUTLS_E_AGAIN ||
	         r == GNUTLS_E_INTERRUPTED);
	bytes[n] = '\0';
	body = strstr(bytes, "\r\n\r\n");
	return body ? body[4] : '\0';
}

/* One visit; offers `kept` if it holds data, and leaves the session's there. */
static int visit(const char *address, const char *port, const char *priority,
                 gnutls_certificate_credentials_t credentials, gnutls_datum_t *kept)
{
	_cleanup_(closep) int fd = dial(address, port);
	gnutls_session_t tls;
	char node = '\0';
	int r;

	if (fd < 0 || gnutls_init(&tls, GNUTLS_CLIENT) < 0)
		return -1;
	gnutls_priority_set_direct(tls, priority, NULL);
	gnutls_credentials_set(tls, GNUTLS_CRD_CERTIFICATE, credentials);
	gnutls_transport_set_int(tls, fd);
	if (kept->size > 0)
		gnutls_session_set_data(tls, kept->data, kept->size);
	r = gnutls_handshake(tls);
	if (r == 0)
		r = gnutls_record_send(tls, request, sizeof(request) - 1) < 0 ? -1 : 0;
	if (r == 0)
		node = read_node(tls);
	if (node) {
		printf("%s %c\n", gnutls_session_is_resumed(tls) ? "resumed" : "full", node);
		fflush(stdout);
		gnutls_free(kept->data);
		r = gnutls_session_get_data2(tls, kept);
	} else {
		fprintf(stderr, "client-gnutls: %s\n", r < 0 ? gnutls_strerror(r) : "no answer");
		r = -1;
	}
	gnutls_bye(tls, GNUTLS_SHUT_WR);
	gnutls_deinit(tls);
	return r;
}

int main(int argc, char **argv)
{
	gnutls_certificate_credentials_t credentials;
	gnutls_datum_t kept = {0};
	const char *priority;
	int r;

	if (argc != 4 && argc != 6)
		return 2;
	priority = strcmp(argv[3], "1.2") == 0 ? "NORMAL:-VERS-ALL:+VERS-TLS1.2"
	                                       : "NORMAL:-VERS-ALL:+VERS-TLS1.3";
	if (gnutls_certificate_allocate_credentials(&credentials) < 0)
		return 1;
	r = argc == 4 ? 0
	              : gnutls_certificate_set_x509_key_file(credentials, argv[4], argv[5],
	                                                     GNUTLS_X509_FMT_PEM);
	if (r < 0)
		fprintf(stderr, "client-gnutls: %s: %s\n", argv[4], gnutls_strerror(r));
	else
		r = visit(argv[1], argv[2], priority, credentials, &kept);
	if (r >= 0 && getchar() != EOF)
		r = visit(argv[1], argv[2], priority, credentials, &kept);
	gnutls_free(kept.data);
	gnutls_certificate_free_credentials(credentials);
	return r == 0 ? 0 : 1;
}
