/*
 * The ring's memory.
 *
 *   file     0                4096                                   4096 + data_bytes
 *            | header page    | data: notices, 8-byte aligned        |
 *
 *   notice   | kind 8 · n_id 8 · n_der 16 · zero 32 | expires_s 64 | seq 64 | id, DER | pad to 8 |
 *
 * A mark is a notice with neither ID nor DER.
 *
 * Positions are 64-bit and only grow; position modulo data_bytes is the offset. A notice is never
 * split at the end of the data: where it does not fit, a skip (one word) sends the reader to offset 0.
 *
 * Three positions chase each other: tail <= taken <= head. The worker alone moves `head`, after the
 * notice is whole, so a worker that dies in the middle has published nothing. The daemon moves `taken`
 * once the notices are in the table, then wipes their bytes (they hold master secrets), then moves
 * `tail`, which gives the room back. A daemon that dies in between leaves `taken` behind what it has
 * stored, never ahead; so the worker carries everything from `taken` on to the next daemon, and what
 * that one has already is a duplicate there, without effect.
 *
 * Trust is one way. The daemon believes nothing here: it keeps its own positions, reads the header
 * words of a notice exactly once each (as atomics: a compiler may otherwise load them again, after the
 * check), copies the rest, and checks the copy. The file is sealed against resizing, or a worker could
 * truncate it under the daemon's feet. What a hostile worker can do is to spoil its own notices.
 */
#include "ring/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define RING_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

size_t ring_round(size_t bytes)
{
	size_t rounded = RING_BYTES_MIN;

	while (rounded < bytes && rounded < RING_BYTES_MAX)
		rounded *= 2;
	return rounded;
}

int ring_create(size_t data_bytes, int *fd)
{
	_cleanup_(closep) int memory = -1;
	struct ring_page page = {.magic = RING_MAGIC, .data_bytes = ring_round(data_bytes)};

	memory = memfd_create("tlsbaton-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memory < 0)
		return -errno;
	if (ftruncate(memory, (off_t)(RING_PAGE_BYTES + page.data_bytes)) < 0)
		return -errno;
	if (pwrite(memory, &page, sizeof(page), 0) != sizeof(page))
		return -EIO;
	if (fcntl(memory, F_ADD_SEALS, RING_SEALS) < 0)
		return -errno;
	*fd = memory;
	memory = -1;
	return 0;
}

static int ring_map_both(int fd, int flags, size_t data_bytes, struct ring_page **page,
                         uint8_t **data)
{
	const int prot = PROT_READ | PROT_WRITE;
	void *header, *bytes;

	header = mmap(NULL, RING_PAGE_BYTES, prot, flags, fd, 0);
	if (header == MAP_FAILED)
		return -errno;
	bytes = mmap(NULL, data_bytes, prot, flags, fd, fd < 0 ? 0 : RING_PAGE_BYTES);
	if (bytes == MAP_FAILED) {
		int error = -errno;

		munmap(header, RING_PAGE_BYTES);
		return error;
	}
	/* Kernels without it dump what a debugger would see anyway: not a reason to go without a ring. */
	(void)madvise(bytes, data_bytes, MADV_DONTDUMP);
	*page = header;
	*data = bytes;
	return 0;
}

int ring_map(int fd, struct ring_page **page, uint8_t **data)
{
	struct ring_page *header = NULL;
	uint8_t *bytes = NULL;
	struct stat st;
	size_t data_bytes;
	int seals, r;

	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & RING_SEALS) != RING_SEALS || fstat(fd, &st) < 0)
		return -EPROTO;
	if (st.st_size < RING_PAGE_BYTES + RING_BYTES_MIN ||
	    st.st_size > RING_PAGE_BYTES + RING_BYTES_MAX)
		return -EPROTO;
	data_bytes = (size_t)st.st_size - RING_PAGE_BYTES;
	if (data_bytes & (data_bytes - 1))
		return -EPROTO;
	r = ring_map_both(fd, MAP_SHARED, data_bytes, &header, &bytes);
	if (r < 0)
		return r;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): mmap(2) that fails sets errno, so r < 0 then */
	if (header->magic != RING_MAGIC || header->data_bytes != data_bytes) {
		ring_unmap_page(header);
		ring_unmap_data(bytes, data_bytes, false);
		return -EPROTO;
	}
	*page = header;
	*data = bytes;
	return 0;
}

int ring_map_private(size_t data_bytes, struct ring_page **page, uint8_t **data)
{
	int r;

	data_bytes = ring_round(data_bytes);
	r = ring_map_both(-1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, data_bytes, page, data);
	if (r < 0)
		return r;
	(*page)->magic = RING_MAGIC;
	(*page)->data_bytes = data_bytes;
	/* A worker's own memory, whose other parts hold the same secrets and are not locked either. */
	(void)!ring_lock(*data, data_bytes);
	return 0;
}

int ring_lock(uint8_t *data, size_t data_bytes)
{
	/* On fault: most rings are used a few pages deep until they have gone round. */
	return mlock2(data, data_bytes, MLOCK_ONFAULT) < 0 ? -errno : 0;
}

int ring_move_page(struct ring_page *page, struct ring_page *to)
{
	/* The kernel holds the address space's lock from the unmapping of the old to the end. */
	if (mremap(page, RING_PAGE_BYTES, RING_PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to) ==
	    MAP_FAILED)
		return -errno;
	return 0;
}

void ring_unmap_page(struct ring_page *page)
{
	if (page)
		munmap(page, RING_PAGE_BYTES);
}

void ring_unmap_data(uint8_t *data, size_t data_bytes, bool wipe)
{
	if (!data)
		return;
	if (wipe)
		explicit_bzero(data, data_bytes);
	munmap(data, data_bytes);
}
