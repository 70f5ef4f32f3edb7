/* A program's file. What is read of it is bounded: it may be any file. */
#include "cli/program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define N_SEGMENTS_MAX 128
#define N_DYNAMIC_MAX 4096
#define N_STRINGS_MAX (4 * 1024 * 1024)
#define LINE_MAX_BYTES 256 /* of a script's first line: what the kernel takes */
#define INTERPRETERS_MAX 4 /* scripts whose interpreters are scripts: as in the kernel */
#define PATH_DEFAULT "/bin:/usr/bin"

#define OPENSSL_3 "libssl.so.3"

/* Libraries that make TLS servers, by the beginning of their names. */
static const char *const others[] = {"libgnutls.so.",  "libssl.so.1",    "libssl3.so",
                                     "libmbedtls.so.", "libwolfssl.so.", "libtls.so.",
                                     "libs2n.so",      "libssl.so.5"};

/* ---- Finding ---- */

static int is_executable(const char *path)
{
	struct stat file;

	if (stat(path, &file) < 0)
		return -errno;
	return S_ISREG(file.st_mode) && access(path, X_OK) == 0 ? 0 : -EACCES;
}

int program_find(const char *name, char *path, size_t n)
{
	const char *at = getenv("PATH"), *end;
	int r, denied = -ENOENT;

	if (strchr(name, '/') || !*name) {
		r = *name ? is_executable(name) : -ENOENT;
		if (r == 0 && strlen(name) >= n)
			return -ENAMETOOLONG;
		if (r == 0)
			memcpy(path, name, strlen(name) + 1);
		return r;
	}
	for (at = at ? at : PATH_DEFAULT;; at = end + 1) {
		char candidate[PATH_MAX];
		int length;

		end = strchrnul(at, ':');
		length = snprintf(candidate, sizeof(candidate), "%.*s%s%s", (int)(end - at), at,
		                  end > at ? "/" : "", name);
		if (length > 0 && (size_t)length < MIN(n, sizeof(candidate))) {
			r = is_executable(candidate);
			if (r == 0) {
				memcpy(path, candidate, (size_t)length + 1);
				return 0;
			}
			if (r == -EACCES)
				denied = r;
		}
		if (*end == '\0')
			return denied;
	}
}

/* ---- Looking into ELF ---- */

struct elf {
	int fd;
	ElfW(Ehdr) header;
	ElfW(Phdr) segments[N_SEGMENTS_MAX];
};

static bool read_at(int fd, void *to, size_t n, uint64_t offset)
{
	return offset <= INT64_MAX && pread(fd, to, n, (off_t)offset) == (ssize_t)n;
}

/* Of our own kind: class, byte order and machine are those of the program that runs this. */
static int elf_read(struct elf *elf)
{
	ElfW(Ehdr) own;
	_cleanup_(closep) int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	if (self >= 0 && read_at(self, &own, sizeof(own), 0) &&
	    (own.e_machine != elf->header.e_machine ||
	     memcmp(own.e_ident, elf->header.e_ident, EI_DATA + 1) != 0))
		return PROGRAM_FOREIGN;
	if (elf->header.e_phentsize != sizeof(elf->segments[0]) ||
	    elf->header.e_phnum > N_SEGMENTS_MAX ||
	    !read_at(elf->fd, elf->segments, elf->header.e_phnum * sizeof(elf->segments[0]),
	             elf->header.e_phoff))
		return -ENOEXEC;
	return 0;
}

static const ElfW(Phdr) * elf_segment(const struct elf *elf, uint32_t type)
{
	for (size_t i = 0; i < elf->header.e_phnum; i++)
		if (elf->segments[i].p_type == type)
			return &elf->segments[i];
	return NULL;
}

/* Where the file has what stands at `address` in memory; UINT64_MAX: nowhere. */
static uint64_t elf_offset(const struct elf *elf, uint64_t address)
{
	for (size_t i = 0; i < elf->header.e_phnum; i++) {
		const ElfW(Phdr) *segment = &elf->segments[i];

		if (segment->p_type == PT_LOAD && address >= segment->p_vaddr &&
		    address - segment->p_vaddr < segment->p_filesz)
			return segment->p_offset + (address - segment->p_vaddr);
	}
	return UINT64_MAX;
}

static bool is_other(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (strncmp(name, others[i], strlen(others[i])) == 0)
			return true;
	return false;
}

/* The libraries that the file names. What cannot be read speaks against nothing. */
static int check_needed(const struct elf *elf, const ElfW(Dyn) * entries, size_t n_entries,
                        char *tls, size_t n)
{
	_cleanup_(freep) char *strings = NULL;
	uint64_t address = 0, n_strings = 0;
	int r = 0;

	for (size_t i = 0; i < n_entries; i++) {
		if (entries[i].d_tag == DT_STRTAB)
			address = entries[i].d_un.d_ptr;
		else if (entries[i].d_tag == DT_STRSZ)
			n_strings = entries[i].d_un.d_val;
	}
	if (n_strings == 0 || n_strings > N_STRINGS_MAX)
		return 0;
	strings = calloc(1, n_strings + 1);
	if (!strings)
		return -ENOMEM;
	if (!read_at(elf->fd, strings, n_strings, elf_offset(elf, address)))
		return 0;
	for (size_t i = 0; i < n_entries; i++) {
		const char *name = strings + MIN(entries[i].d_un.d_val, n_strings);

		if (entries[i].d_tag != DT_NEEDED)
			continue;
		if (strcmp(name, OPENSSL_3) == 0)
			return 0;
		if (is_other(name)) {
			(void)snprintf(tls, n, "%s", name);
			r = PROGRAM_OTHER_TLS;
		}
	}
	return r;
}

static int check_elf(struct elf *elf, char *tls, size_t n)
{
	_cleanup_(freep) ElfW(Dyn) *entries = NULL;
	const ElfW(Phdr) * dynamic;
	size_t n_entries;
	int r;

	r = elf_read(elf);
	if (r != 0)
		return r;
	dynamic = elf_segment(elf, PT_DYNAMIC);
	if (!elf_segment(elf, PT_INTERP) || !dynamic)
		return PROGRAM_STATIC;
	n_entries = MIN(dynamic->p_filesz / sizeof(*entries), N_DYNAMIC_MAX);
	entries = calloc(n_entries + 1, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	if (!read_at(elf->fd, entries, n_entries * sizeof(*entries), dynamic->p_offset))
		return -ENOEXEC;
	return check_needed(elf, entries, n_entries, tls, n);
}

/* ---- All of it ---- */

/* As the kernel decides it: the loader runs in secure mode (AT_SECURE, ld.so(8)) when rights change at exec. */
static bool is_privileged(int fd)
{
	struct stat file;

	if (getauxval(AT_SECURE))
		return true;
	if (fstat(fd, &file) < 0)
		return false;
	if ((file.st_mode & S_ISUID && file.st_uid != geteuid()) ||
	    ((file.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
	     file.st_gid != getegid()))
		return true;
	return geteuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

/* "#! /path option": the path, in place. NULL: no script. */
static const char *interpreter(char *line)
{
	if (line[0] != '#' || line[1] != '!')
		return NULL;
	line += 2 + strspn(line + 2, " \t");
	line[strcspn(line, " \t\n")] = '\0';
	return *line ? line : NULL;
}

/* Returns as program_check(), or -EAGAIN: look at `line` next. A script may name anything as its interpreter: a FIFO,
 * whose writer is not waited for, or a terminal. */
static int check_one(const char *path, char line[LINE_MAX_BYTES + 1], char *tls, size_t n)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct elf elf = {.fd = fd};
	struct stat file;
	const char *next;
	ssize_t n_line;

	if (fd < 0 || fstat(fd, &file) < 0)
		return -errno;
	if (!S_ISREG(file.st_mode))
		return -ENOEXEC;
	if (read_at(fd, &elf.header, sizeof(elf.header), 0) &&
	    memcmp(elf.header.e_ident, ELFMAG, SELFMAG) == 0)
		return is_privileged(fd) ? PROGRAM_PRIVILEGED : check_elf(&elf, tls, n);
	n_line = pread(fd, line, LINE_MAX_BYTES, 0);
	line[MAX(n_line, 0)] = '\0';
	next = interpreter(line);
	if (!next)
		return -ENOEXEC;
	memmove(line, next, strlen(next) + 1);
	return -EAGAIN;
}

int program_check(const char *path, char *tls, size_t n)
{
	char lines[2][LINE_MAX_BYTES + 1];
	int r = -EAGAIN;

	for (size_t i = 0; i <= INTERPRETERS_MAX && r == -EAGAIN; i++) {
		r = check_one(path, lines[i % 2], tls, n);
		path = lines[i % 2];
	}
	return r == -EAGAIN ? -ELOOP : r;
}
