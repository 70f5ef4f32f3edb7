/* What libFuzzer, or replay.c in its place, calls with each input. */
#ifndef TLSBATON_FUZZ_H
#define TLSBATON_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data);

/* For invariants: a fuzzer reports what ends in a trap. */
#define FUZZ_CHECK(condition)                                                                      \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

#endif
