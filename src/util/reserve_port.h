/* A TCP port for a test to listen on. Header-only: tests and benchmarks share nothing else. */
#ifndef UTIL_RESERVE_PORT_H
#define UTIL_RESERVE_PORT_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

/*
 * A port of 127.0.0.1 that nobody is given until this process ends: the socket stays bound, and is never closed. The
 * kernel passes over a port that is bound when it chooses one, for a bind() to port 0 and for a connect() alike. But who
 * names the port, and sets SO_REUSEADDR as the bound socket does, may listen on it, as none of them listens (socket(7)).
 * Ends the process where there is no port.
 */
static inline uint16_t reserve_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
	                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, n) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &n) < 0) {
		perror("reserve_port");
		abort();
	}
	return ntohs(address.sin_port);
}

#endif
