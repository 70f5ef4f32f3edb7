#include "daemon/handover.h"

#include <endian.h>
#include <errno.h>

#include "daemon/role.h"

#define HANDOVER_FIXED 19
_Static_assert(HANDOVER_FIXED + HANDOVER_TEXT_MAX <= REPL_CONTROL_MAX, "fits a control message");

size_t handover_encode(const struct handover *message, uint8_t out[REPL_CONTROL_MAX])
{
	size_t n_text = strnlen(message->text, HANDOVER_TEXT_MAX);
	uint64_t id = htobe64(message->id), value = htobe64(message->value);

	out[0] = HANDOVER_VERSION;
	out[1] = (uint8_t)message->type;
	out[2] = message->flag;
	memcpy(out + 3, &id, sizeof(id));
	memcpy(out + 11, &value, sizeof(value));
	memcpy(out + HANDOVER_FIXED, message->text, n_text);
	return HANDOVER_FIXED + n_text;
}

int handover_decode(const uint8_t *payload, size_t n_payload, struct handover *out)
{
	struct handover message = {0};
	size_t n_text;

	if (n_payload < HANDOVER_FIXED || n_payload > HANDOVER_FIXED + HANDOVER_TEXT_MAX)
		return -EPROTO;
	if (payload[0] != HANDOVER_VERSION || payload[1] < HANDOVER_REQUEST ||
	    payload[1] > HANDOVER_CANCEL || payload[2] > 1)
		return -EPROTO;
	message.type = (enum handover_type)payload[1];
	message.flag = payload[2];
	memcpy(&message.id, payload + 3, sizeof(message.id));
	memcpy(&message.value, payload + 11, sizeof(message.value));
	message.id = be64toh(message.id);
	message.value = be64toh(message.value);
	if (message.type == HANDOVER_TAKE && message.value > ROLE_TERM_MAX)
		return -EPROTO;
	n_text = n_payload - HANDOVER_FIXED;
	if (memchr(payload + HANDOVER_FIXED, 0, n_text))
		return -EPROTO;
	memcpy(message.text, payload + HANDOVER_FIXED, n_text);
	/* It goes into JSON and onto terminals: ASCII, as we write it ourselves. */
	for (size_t i = 0; i < n_text; i++)
		if (message.text[i] < 0x20 || message.text[i] > 0x7e)
			message.text[i] = '?';
	*out = message;
	return 0;
}
