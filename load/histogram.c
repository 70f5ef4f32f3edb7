#include "histogram.h"

#define SUB_COUNT (1U << HISTOGRAM_SUB_BITS)

/* Values below 2 * SUB_COUNT are their own bucket; above, the highest SUB_BITS + 1 bits choose it. */
static unsigned bucket_of(uint64_t value)
{
	unsigned shift = value < SUB_COUNT ? 0 : 63U - (unsigned)__builtin_clzll(value);

	shift = shift > HISTOGRAM_SUB_BITS ? shift - HISTOGRAM_SUB_BITS : 0;
	return (shift << HISTOGRAM_SUB_BITS) + (unsigned)(value >> shift);
}

/* The largest value that falls into the bucket. */
static int64_t bucket_top(unsigned bucket)
{
	unsigned shift = bucket < 2 * SUB_COUNT ? 0 : (bucket >> HISTOGRAM_SUB_BITS) - 1;
	int64_t step = (int64_t)(bucket - (shift << HISTOGRAM_SUB_BITS));

	return ((step + 1) << shift) - 1;
}

void histogram_record(struct histogram *histogram, int64_t value_us)
{
	int64_t value = MIN(MAX(value_us, 0), HISTOGRAM_MAX_US);

	histogram->buckets[bucket_of((uint64_t)value)]++;
	histogram->n++;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
	if (from->n == 0)
		return;
	for (size_t i = 0; i < HISTOGRAM_N_BUCKETS; i++)
		to->buckets[i] += from->buckets[i];
	to->n += from->n;
}

void histogram_clear(struct histogram *histogram)
{
	if (histogram->n > 0)
		*histogram = (struct histogram){0};
}

int64_t histogram_permille(const struct histogram *histogram, unsigned permille)
{
	uint64_t rank, seen = 0;

	if (histogram->n == 0)
		return -1;
	rank = (histogram->n * permille + 999) / 1000;
	rank = MAX(rank, 1);
	for (unsigned i = 0; i < HISTOGRAM_N_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen >= rank)
			return bucket_top(i);
	}
	return HISTOGRAM_MAX_US;
}
