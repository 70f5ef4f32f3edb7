/*
 * The configuration file's text, made fit for libconfuse: read with a size limit, checked for what
 * its lexer would misread, comments blanked. Used by config.c only.
 */
#ifndef TLSBATON_DAEMON_CONFIG_TEXT_H
#define TLSBATON_DAEMON_CONFIG_TEXT_H

#include <stddef.h>

#include "util/macro.h"

#define CONFIG_TEXT_MAX 65536  /* bytes of a configuration file */
#define CONFIG_SECTIONS_MAX 32 /* sections in it; 16 are ever needed */

/* What the text told before it was parsed. */
struct config_text {
	char *text; /* the caller's to free */
	int n_lines;
	int section_lines[CONFIG_SECTIONS_MAX]; /* where each section's { is, in order */
	size_t n_sections;
};

/* Where an error goes: one line, "FILE:LINE: text". The first one stays. */
struct config_errors {
	const char *path; /* borrowed */
	char *text;       /* borrowed; size bytes, "" until something fails */
	size_t size;
};

/* Notes an error at `line` of the file (0: the file as a whole) and returns -EINVAL. */
int config_fail(struct config_errors *errors, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);

/*
 * Reads the file named in `errors`. Out: its text, comments blanked.
 * Returns 0 or a negated errno; -EINVAL for contents that cannot be a configuration file.
 */
int config_text_read(struct config_text *out, struct config_errors *errors) MUST_CHECK;

/* The part of config_text_read() that knows no files: checks `out->text` (NUL-terminated), blanks
 * its comments, and fills in the rest. Returns 0 or -EINVAL. */
int config_text_prepare(struct config_text *out, struct config_errors *errors) MUST_CHECK;

#endif
