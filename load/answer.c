#include "answer.h"

#include <ctype.h>
#include <errno.h>
#include <strings.h>

static bool parse_status(struct answer *answer)
{
	const char *line = answer->line;

	if (strncmp(line, "HTTP/1.", 7) != 0 || !isdigit((unsigned char)line[7]) || line[8] != ' ')
		return false;
	for (int i = 9; i < 12; i++)
		if (!isdigit((unsigned char)line[i]))
			return false;
	if (line[12] != ' ' && line[12] != '\0')
		return false;
	answer->status = (unsigned)strtoul(line + 9, NULL, 10);
	return answer->status >= 100;
}

static bool parse_field(struct answer *answer)
{
	static const char name[] = "Content-Length:";
	char *end, *value = answer->line + strlen(name);
	unsigned long long length;

	if (strncasecmp(answer->line, name, strlen(name)) != 0)
		return true;
	value += strspn(value, " \t");
	errno = 0;
	length = strtoull(value, &end, 10);
	end += strspn(end, " \t");
	if (!isdigit((unsigned char)*value) || *end || errno || answer->line_too_long ||
	    (answer->has_length && length != answer->n_length))
		return false;
	answer->n_length = length;
	answer->has_length = true;
	return true;
}

/* At the empty line after the head. Interim answers (1xx) are followed by the real one. */
static void end_head(struct answer *answer)
{
	if (answer->status < 200) {
		answer->status = 0;
		answer->has_length = false;
		return;
	}
	if (answer->status == 204 || answer->status == 304) {
		answer->has_length = true;
		answer->n_length = 0;
	}
	answer->state = answer->has_length && answer->n_length == 0 ? ANSWER_COMPLETE : ANSWER_BODY;
}

static void end_line(struct answer *answer)
{
	bool fine = true;

	if (answer->n_line > 0 && answer->line[answer->n_line - 1] == '\r')
		answer->n_line--;
	answer->line[answer->n_line] = '\0';
	if (answer->status == 0)
		fine = parse_status(answer);
	else if (answer->n_line > 0)
		fine = parse_field(answer);
	else
		end_head(answer);
	if (!fine)
		answer->state = ANSWER_MALFORMED;
	answer->n_line = 0;
	answer->line_too_long = false;
}

static void feed_head(struct answer *answer, char byte)
{
	if (++answer->n_head > ANSWER_HEAD_MAX)
		answer->state = ANSWER_MALFORMED;
	else if (byte == '\n')
		end_line(answer);
	else if (answer->n_line < sizeof(answer->line) - 1)
		answer->line[answer->n_line++] = byte;
	else if (byte != '\r')
		answer->line_too_long = true;
}

void answer_feed(struct answer *answer, const char *bytes, size_t n)
{
	size_t i = 0;

	while (i < n && answer->state == ANSWER_HEAD)
		feed_head(answer, bytes[i++]);
	if (answer->state != ANSWER_BODY)
		return;
	answer->n_body += n - i;
	if (answer->has_length && answer->n_body >= answer->n_length)
		answer->state = ANSWER_COMPLETE;
}
