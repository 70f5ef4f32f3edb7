/* A wall clock that tests stop and put forward, for this process and for OpenSSL in it: time(3) and clock_gettime(2) of
 * programs that have test-clock.c. Other clocks, and other processes, go on. */
#ifndef TLSBATON_CLIENT_TEST_CLOCK_H
#define TLSBATON_CLIENT_TEST_CLOCK_H

#include <time.h>

/* It stands still from now on. Returns what it shows. */
time_t test_clock_stop(void);
/* One that stands still shows so many seconds more. */
void test_clock_advance(time_t s);
void test_clock_go_on(void);

#endif
