/*
 * Which slots of a bucket have a tag, one bit each: the first step of every lookup and put.
 *
 * Without a branch on what the slots hold: which one matches is random, and a processor that has to guess it would
 * stall on each bucket that is not in its cache, where it could go on to the record, and to the next lookup.
 */
#ifndef TLSBATON_TABLE_BUCKET_H
#define TLSBATON_TABLE_BUCKET_H

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "table/layout.h"

#if defined(__SSE2__) && !defined(LAYOUT_TSAN)
/*
 * With SSE2, which every x86-64 has. These loads are not atomic to the letter of C11. Nothing rests on what they
 * give: whoever follows a slot that matches loads it again, atomically.
 *
 * Four slots at a time: their upper halves, each of which has the tag in its own upper half, so that after a
 * comparison in 16-bit lanes the sign of each 32-bit lane says whether the tag is equal. Packing with saturation
 * keeps signs.
 */
static inline __m128i bucket_half_match(const word_t *half, __m128i tags)
{
	const __m128i *pairs = (const __m128i *)(uintptr_t)half;
	__m128 upper =
	    _mm_shuffle_ps(_mm_castsi128_ps(_mm_load_si128(&pairs[0])),
	                   _mm_castsi128_ps(_mm_load_si128(&pairs[1])), _MM_SHUFFLE(3, 1, 3, 1));

	return _mm_cmpeq_epi16(_mm_castps_si128(upper), tags);
}

static inline unsigned bucket_match(const word_t *bucket, unsigned tag)
{
	__m128i tags = _mm_set1_epi16((short)tag);
	__m128i equal = _mm_packs_epi32(bucket_half_match(bucket, tags),
	                                bucket_half_match(bucket + LAYOUT_SLOTS / 2, tags));

	return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128()));
}
#else
static inline unsigned bucket_match(const word_t *bucket, unsigned tag)
{
	unsigned matches = 0;

#pragma GCC unroll 8
	for (unsigned i = LAYOUT_SLOTS; i-- > 0;)
		matches = matches * 2 +
		          ((word_load(&bucket[i]) ^ (uint64_t)tag << 48) < UINT64_C(1) << 48);
	return matches;
}
#endif

#endif
