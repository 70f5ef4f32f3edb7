/* Fills a store within a time limit, and times lookups in it. Shared by all that bench-stores starts. */
#ifndef TLSBATON_BENCH_LOOKUPS_H
#define TLSBATON_BENCH_LOOKUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The exit status of a program that could not hold or fill so many sessions: the others may still do. */
#define LOOKUPS_EXIT_TOO_MANY 3

/*
 * Calls `put` for the sessions 0 to n - 1, thousands at a time. Ends the program with LOOKUPS_EXIT_TOO_MANY, and
 * says on stderr how far it came, when that takes longer than `limit_s` seconds.
 */
void lookups_fill(void *store, void (*put)(void *store, uint64_t first, uint64_t end), uint64_t n,
                  double limit_s);

/*
 * Times `get` of random sessions out of `n`, all of which must be there, and prints the row
 * "name,n,get_ns,get_cpu_ns,server_cpu_ns". Each figure is the median of 7 rounds, each round's the mean over up
 * to 200,000 lookups one after the other, fewer where so many take longer than a round's share of `seconds`.
 * get_cpu_ns is this process's CPU time, server_cpu_ns that of process `server` (0: none).
 */
void lookups_measure(const char *name, void *store, void (*get)(void *store, const uint8_t *id),
                     uint64_t n, double seconds, pid_t server);

#endif
