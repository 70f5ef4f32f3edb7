/*
 * A client built on libcurl, with a share handle that keeps TLS sessions between transfers: a full
 * handshake, and after a line on standard input a second transfer. Prints "full a" or "resumed b" a
 * transfer: what the handshake was, and which node answered. Usage: client-curl URL 1.2|1.3
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <curl/curl.h>
#include <openssl/ssl.h>

#include "util/macro.h"

struct transfer {
	CURL *curl;
	char node;
	bool resumed;
};

/* The TLS connection can be asked only while it is there. */
static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
	struct transfer *transfer = arg;
	struct curl_tlssessioninfo *tls = NULL;

	if (!transfer->node && n > 0) {
		transfer->node = bytes[0];
		if (curl_easy_getinfo(transfer->curl, CURLINFO_TLS_SSL_PTR, &tls) == CURLE_OK &&
		    tls && tls->backend == CURLSSLBACKEND_OPENSSL && tls->internals)
			transfer->resumed = SSL_session_reused(tls->internals);
	}
	return size * n;
}

static int fetch(CURLSH *share, const char *url, long version)
{
	struct transfer transfer = {.curl = curl_easy_init()};
	CURLcode r = CURLE_OUT_OF_MEMORY;

	if (transfer.curl) {
		curl_easy_setopt(transfer.curl, CURLOPT_URL, url);
		curl_easy_setopt(transfer.curl, CURLOPT_SHARE, share);
		curl_easy_setopt(transfer.curl, CURLOPT_SSLVERSION, version);
		curl_easy_setopt(transfer.curl, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(transfer.curl, CURLOPT_SSL_VERIFYHOST, 0L);
		curl_easy_setopt(transfer.curl, CURLOPT_FORBID_REUSE, 1L);
		curl_easy_setopt(transfer.curl, CURLOPT_TIMEOUT, 10L);
		curl_easy_setopt(transfer.curl, CURLOPT_WRITEFUNCTION, on_body);
		curl_easy_setopt(transfer.curl, CURLOPT_WRITEDATA, &transfer);
		r = curl_easy_perform(transfer.curl);
		curl_easy_cleanup(transfer.curl);
	}
	if (r != CURLE_OK) {
		fprintf(stderr, "client-curl: %s\n", curl_easy_strerror(r));
		return -1;
	}
	printf("%s %c\n", transfer.resumed ? "resumed" : "full", transfer.node);
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	long version;
	CURLSH *share;
	int r = -1;

	if (argc != 3)
		return 2;
	version = strcmp(argv[2], "1.2") == 0
	              ? (long)CURL_SSLVERSION_TLSv1_2 | (long)CURL_SSLVERSION_MAX_TLSv1_2
	              : (long)CURL_SSLVERSION_TLSv1_3 | (long)CURL_SSLVERSION_MAX_TLSv1_3;
	curl_global_init(CURL_GLOBAL_DEFAULT);
	share = curl_share_init();
	if (share) {
		curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
		r = fetch(share, argv[1], version);
		if (r == 0 && getchar() != EOF)
			r = fetch(share, argv[1], version);
		curl_share_cleanup(share);
	}
	curl_global_cleanup();
	return r == 0 ? 0 : 1;
}
