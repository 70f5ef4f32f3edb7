/*
 * A histogram of durations with a bounded relative error, in fixed memory.
 *
 * Values are exact up to 255 µs. Above, each power of two is divided into 128 buckets of equal width, so a bucket
 * is at most 1/128 of the values in it, and a percentile is given as the largest value of its bucket: never too
 * low, and at most 0.8 % too high. Merging two histograms gives, exactly, that of all their values.
 */
#ifndef TLSBATON_LOAD_HISTOGRAM_H
#define TLSBATON_LOAD_HISTOGRAM_H

#include <stdint.h>

#include "util/macro.h"

#define HISTOGRAM_SUB_BITS 7
#define HISTOGRAM_MAX_US ((INT64_C(1) << 36) - 1) /* 19 hours: what is longer counts as this */
#define HISTOGRAM_N_BUCKETS ((36 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
	uint64_t n; /* values recorded */
	uint32_t buckets[HISTOGRAM_N_BUCKETS];
};

/* Adds one value; below 0 counts as 0, above HISTOGRAM_MAX_US as that. */
void histogram_record(struct histogram *histogram, int64_t value_us);

/* Adds all values of `from` to `to`. */
void histogram_merge(struct histogram *to, const struct histogram *from);

/* Forgets all values. */
void histogram_clear(struct histogram *histogram);

/* The smallest recorded value, up to the error above, that at least `permille` of 1000 of the values do not
 * exceed; the largest of all for 1000. Returns -1 for an empty histogram. */
int64_t histogram_permille(const struct histogram *histogram, unsigned permille) MUST_CHECK;

#endif
