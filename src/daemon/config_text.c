/*
 * What stands between the file and libconfuse (3.3). Its lexer counts the line of a comment twice,
 * takes a comment inside a list for a value, lets a string run to the end of the file, accepts a
 * section that is never closed, and puts environment variables into values. The first makes every
 * message name a wrong line and the last makes a daemon depend on who started it. So comments are
 * blanked here, line breaks stay where they are, and the rest is refused with the line where it
 * starts.
 */
#include "daemon/config_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>

#define TEXT_DEPTH_MAX 8 /* open braces at once; two are ever needed */

struct text_scan {
	struct config_errors *errors;
	struct config_text *out;
	char *at;
	int line;
	char last; /* the byte before that is neither space nor comment */
	int n_open;
	int open_lines[TEXT_DEPTH_MAX];
};

int config_fail(struct config_errors *errors, int line, const char *fmt, ...)
{
	va_list args;
	int n;

	if (errors->text[0] != '\0')
		return -EINVAL;
	if (line > 0)
		n = snprintf(errors->text, errors->size, "%s:%d: ", errors->path, line);
	else
		n = snprintf(errors->text, errors->size, "%s: ", errors->path);
	if (n > 0 && (size_t)n < errors->size) {
		va_start(args, fmt);
		vsnprintf(errors->text + n, errors->size - (size_t)n, fmt, args);
		va_end(args);
	}
	/* A value's escapes can make any byte; an error is one line of text. */
	for (char *c = errors->text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	return -EINVAL;
}

static int text_string(struct text_scan *scan)
{
	char quote = *scan->at++;

	for (; *scan->at && *scan->at != '\n'; scan->at++) {
		if (*scan->at == quote) {
			scan->at++;
			return 0;
		}
		if (scan->at[0] == '$' && scan->at[1] == '{')
			return config_fail(
			    scan->errors, scan->line,
			    "environment variables are not expanded here; write the value itself");
		if (*scan->at == '\\' && scan->at[1] && scan->at[1] != '\n')
			scan->at++;
	}
	return config_fail(
	    scan->errors, scan->line,
	    "the string that starts here has no end; write the closing %c on the same line", quote);
}

static int text_block_comment(struct text_scan *scan)
{
	int line = scan->line;

	for (; *scan->at; scan->at++) {
		if (scan->at[0] == '*' && scan->at[1] == '/') {
			scan->at[0] = scan->at[1] = ' ';
			scan->at += 2;
			return 0;
		}
		if (*scan->at == '\n')
			scan->line++;
		else
			*scan->at = ' ';
	}
	return config_fail(scan->errors, line,
	                   "the comment that starts here has no end; write */ after it");
}

/* '/' starts a comment only where a token may start: within one, as in a path, it is itself. */
static bool text_at_token(const char *text, const char *at)
{
	return at == text || strchr(" \t\r\n={}(),+*\"'", at[-1]);
}

static int text_brace(struct text_scan *scan)
{
	if (*scan->at == '{') {
		/* After '=' it opens a list, else a section. */
		if (scan->n_open == 0 && scan->last != '=') {
			if (scan->out->n_sections == CONFIG_SECTIONS_MAX)
				return config_fail(
				    scan->errors, scan->line,
				    "too many sections; write at most 15 peers and one service");
			scan->out->section_lines[scan->out->n_sections++] = scan->line;
		}
		if (scan->n_open == TEXT_DEPTH_MAX)
			return config_fail(scan->errors, scan->line,
			                   "too many open braces; close those before with }");
		scan->open_lines[scan->n_open++] = scan->line;
	} else {
		if (scan->n_open == 0)
			return config_fail(
			    scan->errors, scan->line,
			    "this } closes nothing; remove it, or write the { that it closes");
		scan->n_open--;
	}
	scan->at++;
	return 0;
}

static int text_other(struct text_scan *scan)
{
	unsigned char c = (unsigned char)*scan->at;

	if (c == '\n')
		scan->line++;
	else if ((c < 0x20 && c != '\t' && c != '\r') || c == 0x7f)
		return config_fail(scan->errors, scan->line,
		                   "there is a control character (0x%02x) here; remove it", c);
	else if (c == '$' && scan->at[1] == '{')
		return config_fail(
		    scan->errors, scan->line,
		    "environment variables are not expanded here; write the value itself");
	scan->at++;
	return 0;
}

/* Takes one comment, string, brace or other byte. */
static int text_step(struct text_scan *scan)
{
	bool token = text_at_token(scan->out->text, scan->at);
	char c = *scan->at;
	int r;

	if (c == '#' || (token && c == '/' && scan->at[1] == '/')) {
		while (*scan->at && *scan->at != '\n')
			*scan->at++ = ' ';
		return 0;
	}
	if (token && c == '/' && scan->at[1] == '*') {
		scan->at[0] = scan->at[1] = ' ';
		scan->at += 2;
		return text_block_comment(scan);
	}
	if (c == '"' || c == '\'')
		r = text_string(scan);
	else if (c == '{' || c == '}')
		r = text_brace(scan);
	else
		r = text_other(scan);
	if (c != ' ' && c != '\t' && c != '\r' && c != '\n')
		scan->last = c;
	return r;
}

int config_text_prepare(struct config_text *out, struct config_errors *errors)
{
	struct text_scan scan = {.errors = errors, .out = out, .at = out->text, .line = 1};
	int r;

	out->n_sections = 0;
	while (*scan.at) {
		r = text_step(&scan);
		if (r < 0)
			return r;
	}
	if (scan.n_open > 0)
		return config_fail(errors, scan.open_lines[scan.n_open - 1],
		                   "the { here is never closed; write } where it ends");
	out->n_lines = scan.at > out->text && scan.at[-1] == '\n' ? scan.line - 1 : scan.line;
	return 0;
}

int config_text_read(struct config_text *out, struct config_errors *errors)
{
	struct config_text read_in = {0};
	_cleanup_(freep) char *text = NULL;
	_cleanup_(closep) int fd = -1;
	struct stat st;
	size_t n = 0;
	ssize_t got;
	int r;

	/* Non-blocking: a FIFO without a writer must not hold the daemon's start. */
	fd = open(errors->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		r = -errno;
		config_fail(errors, 0, "cannot be read: %s; name the file with --config FILE",
		            strerror(-r));
		return r;
	}
	if (!S_ISREG(st.st_mode))
		return config_fail(errors, 0,
		                   "is not a regular file; name the file with --config FILE");
	text = malloc(CONFIG_TEXT_MAX + 2);
	if (!text)
		return -ENOMEM;
	while (n <= CONFIG_TEXT_MAX && (got = read(fd, text + n, CONFIG_TEXT_MAX + 1 - n)) != 0) {
		if (got < 0) {
			r = -errno;
			config_fail(errors, 0, "cannot be read: %s", strerror(-r));
			return r;
		}
		n += (size_t)got;
	}
	if (n > CONFIG_TEXT_MAX)
		return config_fail(errors, 0, "is longer than %d bytes; shorten it",
		                   CONFIG_TEXT_MAX);
	text[n] = '\0';
	if (strlen(text) != n)
		return config_fail(errors, 0, "holds NUL bytes; write it as plain text");
	read_in.text = text;
	r = config_text_prepare(&read_in, errors);
	if (r < 0)
		return r;
	*out = read_in;
	text = NULL;
	return 0;
}
