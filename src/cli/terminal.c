/* Output: what goes to a terminal is text, whoever it came from. */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>

void cli_error(const char *fmt, ...)
{
	char line[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	fputs("tlsbaton: ", stderr);
	cli_print_text(stderr, line);
	fputc('\n', stderr);
}

void cli_print_text(FILE *out, const char *text)
{
	/* Bytes above ASCII, too: 0x9b starts a control sequence in some terminals. */
	for (; *text; text++)
		fputc((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f ? '?' : *text,
		      out);
}

int cli_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return CLI_DONE;
	cli_error("cannot write: %s", strerror(errno));
	return CLI_FAILED;
}
