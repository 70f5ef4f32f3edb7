/*
 * Runs a fuzz target over files instead of a fuzzer: the committed corpus, as a test on every
 * build. Usage: replay-NAME DIRECTORY|FILE... Each input also runs in an allocation of just its
 * size, so that a sanitizer build sees a read beyond it.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

#define REPLAY_INPUT_MAX (1 << 20)

static unsigned n_replayed;

static void replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *bytes = malloc(REPLAY_INPUT_MAX), *exact;
	size_t n;

	if (!file || !bytes) {
		perror(path);
		exit(1);
	}
	n = fread(bytes, 1, REPLAY_INPUT_MAX, file);
	fclose(file);
	exact = malloc(n ? n : 1);
	if (!exact)
		exit(1);
	memcpy(exact, bytes, n);
	free(bytes);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	n_replayed++;
}

static void replay_directory(const char *path)
{
	struct dirent **entries;
	int n = scandir(path, &entries, NULL, alphasort);

	if (n < 0) {
		perror(path);
		exit(1);
	}
	for (int i = 0; i < n; i++) {
		char name[4096];

		snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.')
			replay_file(name);
		free(entries[i]);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	struct stat st;

	LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	for (int i = 1; i < argc; i++) {
		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			replay_directory(argv[i]);
		else
			replay_file(argv[i]);
	}
	printf("%u inputs\n", n_replayed);
	if (n_replayed == 0) {
		fprintf(stderr, "there is no corpus\n");
		return 1;
	}
	return 0;
}
