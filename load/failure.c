#include "failure.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <openssl/err.h>

static const char *const phases[] = {
    [FAILURE_CONNECT] = "connect",
    [FAILURE_HANDSHAKE] = "handshake",
    [FAILURE_REPLY] = "reply",
};

static const char untrusted[] = "certificate";

void failure_set(struct failure *failure, const char *name)
{
	snprintf(failure->name, sizeof(failure->name), "%s", name);
}

bool failure_is_trust(const struct failure *failure)
{
	return strcmp(failure->name, untrusted) == 0;
}

void failure_of_phase(struct failure *failure, enum failure_phase phase, const char *what)
{
	snprintf(failure->name, sizeof(failure->name), "%s_%s", phases[phase], what);
}

void failure_of_status(struct failure *failure, unsigned status)
{
	snprintf(failure->name, sizeof(failure->name), "http_%u", status);
}

/* OpenSSL's words as one name: "sslv3 alert handshake failure" to "sslv3_alert_handshake_failure". */
static void set_words(struct failure *failure, const char *prefix, const char *words)
{
	size_t n;

	snprintf(failure->name, sizeof(failure->name), "%s%s", prefix, words ? words : "unknown");
	n = strlen(failure->name);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)failure->name[i];

		failure->name[i] = isalnum(c) ? (char)tolower(c) : '_';
	}
}

void failure_of_socket(struct failure *failure, int error)
{
	switch (error) {
	case EADDRNOTAVAIL:
		failure_set(failure, "no_port");
		break;
	case EMFILE:
	case ENFILE:
		failure_set(failure, "no_descriptor");
		break;
	case ENOMEM:
	case ENOBUFS:
		failure_set(failure, "no_memory");
		break;
	default:
		set_words(failure, "connect_", strerrorname_np(error));
	}
}

static void failure_of_errno(struct failure *failure, enum failure_phase phase, int error)
{
	switch (error) {
	case 0:
		failure_of_phase(failure, phase, "closed");
		break;
	case ECONNREFUSED:
		failure_of_phase(failure, phase, "refused");
		break;
	case ETIMEDOUT:
		failure_of_phase(failure, phase, "timeout");
		break;
	case ECONNRESET:
	case EPIPE:
		failure_of_phase(failure, phase, "reset");
		break;
	case EHOSTUNREACH:
	case ENETUNREACH:
		failure_of_phase(failure, phase, "unreachable");
		break;
	default:
		failure_of_socket(failure, error);
	}
}

/* OpenSSL 3.0 has no names for the alerts of TLS 1.3. */
static void failure_of_alert(struct failure *failure, int alert)
{
	switch (alert) {
	case SSL_AD_MISSING_EXTENSION:
		failure_set(failure, "alert_missing_extension");
		break;
	case SSL_AD_CERTIFICATE_REQUIRED:
		failure_set(failure, "alert_certificate_required");
		break;
	case SSL_AD_NO_APPLICATION_PROTOCOL:
		failure_set(failure, "alert_no_application_protocol");
		break;
	default:
		set_words(failure, "alert_", SSL_alert_desc_string_long(alert));
	}
}

void failure_of_ssl(struct failure *failure, enum failure_phase phase, SSL *ssl, int result,
                    int error)
{
	int kind = SSL_get_error(ssl, result);
	unsigned long code = ERR_peek_error();
	int reason = ERR_GET_REASON(code);

	ERR_clear_error();
	if (kind == SSL_ERROR_ZERO_RETURN)
		failure_of_phase(failure, phase, "closed");
	else if (kind == SSL_ERROR_SYSCALL)
		failure_of_errno(failure, phase, error);
	else if (ERR_GET_LIB(code) != ERR_LIB_SSL)
		set_words(failure, "tls_", ERR_reason_error_string(code));
	else if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		failure_of_phase(failure, phase, "closed");
	else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
		failure_set(failure, untrusted);
	else if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256)
		failure_of_alert(failure, reason - SSL_AD_REASON_OFFSET);
	else
		set_words(failure, "tls_", ERR_reason_error_string(code));
}
