/* Unit tests of what a program's file says: files made here, whole, damaged and cut off at every byte. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "cli/program.h"

#define N_STRINGS 256
#define NO_SUCH_OFFSET 0x7fffffffffff0000

/* A program as the linker would make it, of what program_check() looks at. */
struct image {
	ElfW(Ehdr) header;
	ElfW(Phdr) segments[3];
	ElfW(Dyn) dynamic[5];
	char strings[N_STRINGS];
};

static char directory[] = "/tmp/tlsbaton-program-XXXXXX";
static char path[64];

static void write_bytes(const char *to, const void *bytes, size_t n, mode_t mode)
{
	int fd = open(to, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	assert_return_code(fchmod(fd, mode), errno);
	close(fd);
}

/* Linked to `first` and `second`; our own header says of which machine. */
static struct image make(const char *first, const char *second)
{
	struct image image = {0};
	const size_t dynamic = offsetof(struct image, dynamic);
	const size_t strings = offsetof(struct image, strings);
	int self = open("/proc/self/exe", O_RDONLY);

	assert_int_equal(read(self, &image.header, sizeof(image.header)), sizeof(image.header));
	close(self);
	image.header.e_phoff = offsetof(struct image, segments);
	image.header.e_phnum = ARRAY_SIZE(image.segments);
	image.segments[0] =
	    (ElfW(Phdr)){.p_type = PT_LOAD, .p_vaddr = 0x1000, .p_filesz = sizeof(image)};
	image.segments[1] = (ElfW(Phdr)){.p_type = PT_INTERP};
	image.segments[2] = (ElfW(Phdr)){
	    .p_type = PT_DYNAMIC, .p_offset = dynamic, .p_filesz = sizeof(image.dynamic)};
	image.dynamic[0] = (ElfW(Dyn)){.d_tag = DT_NEEDED, .d_un.d_val = 1};
	image.dynamic[1] = (ElfW(Dyn)){.d_tag = DT_NEEDED, .d_un.d_val = 100};
	image.dynamic[2] = (ElfW(Dyn)){.d_tag = DT_STRTAB, .d_un.d_ptr = 0x1000 + strings};
	image.dynamic[3] = (ElfW(Dyn)){.d_tag = DT_STRSZ, .d_un.d_val = N_STRINGS};
	(void)snprintf(image.strings + 1, 99, "%s", first);
	(void)snprintf(image.strings + 100, 99, "%s", second);
	return image;
}

static int check_bytes(const void *bytes, size_t n)
{
	char tls[64];

	write_bytes(path, bytes, n, 0755);
	return program_check(path, tls, sizeof(tls));
}

static int check(struct image image)
{
	return check_bytes(&image, sizeof(image));
}

static void test_libraries(void **state)
{
	char tls[8] = "before";

	(void)state;
	assert_int_equal(check(make("libssl.so.3", "libc.so.6")), 0);
	assert_int_equal(check(make("libc.so.6", "libm.so.6")), 0);
	assert_int_equal(check(make("libgnutls.so.30", "libc.so.6")), PROGRAM_OTHER_TLS);
	assert_int_equal(check(make("libc.so.6", "libssl.so.1.1")), PROGRAM_OTHER_TLS);
	/* With both it may be either: no reason to leave the library out. */
	assert_int_equal(check(make("libgnutls.so.30", "libssl.so.3")), 0);
	assert_int_equal(check(make("libssl.so.3", "libgnutls.so.30")), 0);

	assert_int_equal(check(make("libc.so.6", "libm.so.6")), 0);
	assert_int_equal(program_check(path, tls, sizeof(tls)), 0);
	assert_string_equal(tls, "before");
	assert_int_equal(check(make("libgnutls.so.30", "libc.so.6")), PROGRAM_OTHER_TLS);
	assert_int_equal(program_check(path, tls, sizeof(tls)), PROGRAM_OTHER_TLS);
	assert_string_equal(tls, "libgnut");
}

static void test_kinds(void **state)
{
	struct image image = make("libssl.so.3", "libc.so.6");

	(void)state;
	image.segments[1].p_type = PT_NULL;
	assert_int_equal(check(image), PROGRAM_STATIC);

	image = make("libssl.so.3", "libc.so.6");
	image.header.e_machine = (ElfW(Half))(image.header.e_machine + 1);
	assert_int_equal(check(image), PROGRAM_FOREIGN);

	image = make("libssl.so.3", "libc.so.6");
	image.header.e_ident[EI_CLASS] ^= ELFCLASS32 ^ ELFCLASS64;
	assert_int_equal(check(image), PROGRAM_FOREIGN);

	assert_int_equal(check_bytes("text", 4), -ENOEXEC);
	assert_int_equal(check_bytes("", 0), -ENOEXEC);
	assert_int_equal(program_check("/does/not/exist", path, 1), -ENOENT);
}

/* Files that no linker makes: whatever is said of them, it is said without reading where nothing is. */
static void test_damaged(void **state)
{
	struct image image = make("libgnutls.so.30", "libc.so.6");

	(void)state;
	for (size_t n = 0; n < sizeof(image); n++)
		assert_int_not_equal(check_bytes(&image, n), PROGRAM_OTHER_TLS);

	image.header.e_phnum = UINT16_MAX;
	assert_int_equal(check(image), -ENOEXEC);
	image.header.e_phnum = 0;
	assert_int_equal(check(image), PROGRAM_STATIC);

	image = make("libgnutls.so.30", "libc.so.6");
	image.header.e_phentsize--;
	assert_int_equal(check(image), -ENOEXEC);

	image = make("libgnutls.so.30", "libc.so.6");
	image.header.e_phoff = UINT64_MAX;
	assert_int_equal(check(image), -ENOEXEC);
	image.header.e_phoff = NO_SUCH_OFFSET;
	assert_int_equal(check(image), -ENOEXEC);

	image = make("libgnutls.so.30", "libc.so.6");
	image.segments[2].p_filesz = UINT64_MAX;
	assert_int_equal(check(image), -ENOEXEC);
	image.segments[2].p_filesz = 1;
	assert_int_equal(check(image), 0);

	image = make("libgnutls.so.30", "libc.so.6");
	image.dynamic[3].d_un.d_val = UINT64_MAX;
	assert_int_equal(check(image), 0);
	image.dynamic[3].d_un.d_val = 0;
	assert_int_equal(check(image), 0);
	image.dynamic[3].d_un.d_val = N_STRINGS;
	image.dynamic[2].d_un.d_ptr = 1;
	assert_int_equal(check(image), 0);

	image = make("libgnutls.so.30", "libc.so.6");
	image.dynamic[0].d_un.d_val = UINT64_MAX;
	assert_int_equal(check(image), 0);

	/* A name that does not end. */
	image = make("libc.so.6", "libm.so.6");
	memset(image.strings, 'x', sizeof(image.strings));
	assert_int_equal(check(image), 0);
}

static void test_scripts(void **state)
{
	struct image image = make("libgnutls.so.30", "libc.so.6");
	char script[128], line[400];
	int n;

	(void)state;
	n = snprintf(script, sizeof(script), "%s/script", directory);
	assert_true(n > 0);
	assert_int_equal(check(image), PROGRAM_OTHER_TLS);
	n = snprintf(line, sizeof(line), "#! %s -option\nmore", path);
	write_bytes(script, line, (size_t)n, 0755);
	assert_int_equal(program_check(script, line, sizeof(line)), PROGRAM_OTHER_TLS);

	/* Its own interpreter; none; and a line that is longer than the kernel takes. */
	n = snprintf(line, sizeof(line), "#!%s\n", script);
	write_bytes(script, line, (size_t)n, 0755);
	assert_int_equal(program_check(script, line, sizeof(line)), -ELOOP);
	write_bytes(script, "#!  \n", 5, 0755);
	assert_int_equal(program_check(script, line, sizeof(line)), -ENOEXEC);
	memset(line, '/', sizeof(line));
	line[0] = '#';
	line[1] = '!';
	write_bytes(script, line, sizeof(line), 0755);
	assert_true(program_check(script, line, sizeof(line)) < 0);
	(void)unlink(script);
}

/* What is no file is not read, nor waited for: a FIFO has no writer here. */
static void test_no_files(void **state)
{
	char script[128], line[256];
	int n;

	(void)state;
	n = snprintf(script, sizeof(script), "%s/script", directory);
	assert_true(n > 0);
	(void)unlink(path);
	assert_return_code(mkfifo(path, 0700), errno);
	n = snprintf(line, sizeof(line), "#!%s\n", path);
	write_bytes(script, line, (size_t)n, 0755);
	(void)alarm(10); /* were it waited for */
	assert_int_equal(program_check(path, line, sizeof(line)), -ENOEXEC);
	assert_int_equal(program_check(script, line, sizeof(line)), -ENOEXEC);
	(void)alarm(0);
	assert_int_equal(program_check(directory, line, sizeof(line)), -ENOEXEC);
	assert_int_equal(program_check("/dev/null", line, sizeof(line)), -ENOEXEC);
	(void)unlink(script);
	(void)unlink(path);
}

static void test_privileged(void **state)
{
	struct image image = make("libssl.so.3", "libc.so.6");

	(void)state;
	if (geteuid() != 0)
		skip();
	write_bytes(path, &image, sizeof(image), 04755);
	assert_int_equal(program_check(path, directory, 0),
	                 0); /* root's: nothing changes for root */
	assert_return_code(chown(path, 1, 1), errno);
	assert_return_code(chmod(path, 04755), errno);
	assert_int_equal(program_check(path, directory, 0), PROGRAM_PRIVILEGED);
	assert_return_code(chmod(path, 02755), errno);
	assert_int_equal(program_check(path, directory, 0), PROGRAM_PRIVILEGED);
	assert_return_code(chmod(path, 0755), errno);
	assert_int_equal(program_check(path, directory, 0), 0);
	assert_return_code(unlink(path), errno);
}

static void test_find(void **state)
{
	char found[PATH_MAX], places[128];

	(void)state;
	write_bytes(path, "#!/bin/sh\n", 10, 0755);
	(void)snprintf(places, sizeof(places), "/nowhere:%s:", directory);
	assert_return_code(setenv("PATH", places, 1), errno);
	assert_int_equal(program_find("program", found, sizeof(found)), 0);
	assert_string_equal(found, path);
	assert_int_equal(program_find(path, found, sizeof(found)), 0);
	assert_int_equal(program_find(path, found, strlen(path)), -ENAMETOOLONG);
	assert_int_equal(program_find("programs", found, sizeof(found)), -ENOENT);
	assert_int_equal(program_find("", found, sizeof(found)), -ENOENT);
	assert_int_equal(program_find(directory, found, sizeof(found)), -EACCES);
	assert_return_code(chmod(path, 0644), errno);
	assert_int_equal(program_find("program", found, sizeof(found)), -EACCES);
	assert_string_equal(found, path);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/program", directory);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_libraries), cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_damaged),   cmocka_unit_test(test_scripts),
	    cmocka_unit_test(test_no_files),  cmocka_unit_test(test_privileged),
	    cmocka_unit_test(test_find),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
