/*
 * Reading and writing messages: two cursors over a caller's buffer that latch their first error. A
 * reader that has run out gives zeros from then on, a writer writes nothing; so a decoder reads all
 * its fields in a row and asks once, at the end, whether they were there. Numbers are big-endian.
 * Neither allocates, and neither ever touches a byte outside the buffer it was given.
 */
#ifndef TLSBATON_WIRE_CURSOR_H
#define TLSBATON_WIRE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct wire_reader {
	const uint8_t *at, *end; /* borrowed */
	bool failed;             /* more was asked for than there is */
};

struct wire_writer {
	uint8_t *start, *at, *end; /* borrowed */
	bool failed;               /* more was written than there is room for */
};

static inline struct wire_reader wire_reader(const uint8_t *bytes, size_t n_bytes)
{
	return (struct wire_reader){.at = bytes, .end = bytes + n_bytes};
}

static inline struct wire_writer wire_writer(uint8_t *bytes, size_t n_bytes)
{
	return (struct wire_writer){.start = bytes, .at = bytes, .end = bytes + n_bytes};
}

static inline size_t wire_left(const struct wire_reader *reader)
{
	return (size_t)(reader->end - reader->at);
}

static inline size_t wire_room(const struct wire_writer *writer)
{
	return (size_t)(writer->end - writer->at);
}

/* `n` bytes in place, or NULL: the caller checks only `failed`, once. */
static inline const uint8_t *wire_get(struct wire_reader *reader, size_t n)
{
	const uint8_t *at = reader->at;

	if (reader->failed || wire_left(reader) < n) {
		reader->failed = true;
		return NULL;
	}
	reader->at += n;
	return at;
}

static inline uint64_t wire_get_number(struct wire_reader *reader, size_t n)
{
	const uint8_t *at = wire_get(reader, n);
	uint64_t value = 0;

	for (size_t i = 0; at && i < n; i++)
		value = value << 8 | at[i];
	return value;
}

static inline uint8_t wire_get_u8(struct wire_reader *reader)
{
	return (uint8_t)wire_get_number(reader, 1);
}

static inline uint16_t wire_get_u16(struct wire_reader *reader)
{
	return (uint16_t)wire_get_number(reader, 2);
}

static inline uint32_t wire_get_u32(struct wire_reader *reader)
{
	return (uint32_t)wire_get_number(reader, 4);
}

static inline uint64_t wire_get_u64(struct wire_reader *reader)
{
	return wire_get_number(reader, 8);
}

/* Room for `n` bytes, which the caller fills, or NULL. */
static inline uint8_t *wire_reserve(struct wire_writer *writer, size_t n)
{
	uint8_t *at = writer->at;

	if (writer->failed || wire_room(writer) < n) {
		writer->failed = true;
		return NULL;
	}
	writer->at += n;
	return at;
}

static inline void wire_put(struct wire_writer *writer, const void *bytes, size_t n)
{
	uint8_t *at = wire_reserve(writer, n);

	if (at && n > 0)
		memcpy(at, bytes, n);
}

static inline void wire_put_number(struct wire_writer *writer, uint64_t value, size_t n)
{
	uint8_t *at = wire_reserve(writer, n);

	for (size_t i = 0; at && i < n; i++)
		at[i] = (uint8_t)(value >> 8 * (n - 1 - i));
}

static inline void wire_put_u8(struct wire_writer *writer, uint8_t value)
{
	wire_put_number(writer, value, 1);
}

static inline void wire_put_u16(struct wire_writer *writer, uint16_t value)
{
	wire_put_number(writer, value, 2);
}

static inline void wire_put_u32(struct wire_writer *writer, uint32_t value)
{
	wire_put_number(writer, value, 4);
}

static inline void wire_put_u64(struct wire_writer *writer, uint64_t value)
{
	wire_put_number(writer, value, 8);
}

#endif
