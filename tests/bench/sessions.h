/* Made-up sessions, random numbers and medians, for the benchmarks of stores. */
#ifndef TLSBATON_BENCH_SESSIONS_H
#define TLSBATON_BENCH_SESSIONS_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ID_BYTES 32
#define DER_BYTES 130

/* Ends the program; `error` is a negated errno. */
static inline void die(const char *what, int error)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(-error));
	exit(1);
}

static inline double clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* What stands there is taken for used: the compiler must not leave out what made it. */
static inline void keep(const void *result)
{
	__asm__ __volatile__("" : : "r"(result) : "memory");
}

static inline uint64_t mix(uint64_t x) /* splitmix64 */
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static inline uint64_t random_below(uint64_t n)
{
	static uint64_t state = 1;

	return (uint64_t)((unsigned __int128)mix(state++) * n >> 64);
}

/* The ID of session `i`: random bytes, the same in every process. */
static inline void make_id(uint8_t *id, uint64_t i)
{
	for (uint64_t k = 0; k < ID_BYTES / 8; k++) {
		uint64_t word = mix(i * 4 + k + 0x1000000000);

		memcpy(id + k * 8, &word, 8);
	}
}

/* What stands for the DER of session `i`. */
static inline void make_der(uint8_t *der, uint64_t i)
{
	memset(der, (int)(i & 0xff), DER_BYTES);
	memcpy(der, &i, sizeof(i));
}

static inline int compare_doubles(const void *a, const void *b)
{
	double x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

/* Sorts `values`. */
static inline double median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), compare_doubles);
	return values[n / 2];
}

#endif
