#include "daemon/refusals.h"

#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>

static bool is_over(const struct refusals *refusals, size_t i, int64_t now_ms)
{
	return refusals->users[i].n == 0 || now_ms - refusals->users[i].last_ms >= REFUSALS_KEPT_MS;
}

/* The user's place; else a free one, else that of whoever was refused longest ago. */
static size_t place_of(const struct refusals *refusals, uid_t uid)
{
	size_t place = 0;

	for (size_t i = 0; i < REFUSALS_USERS; i++)
		if (refusals->users[i].n && refusals->users[i].uid == uid)
			return i;
	for (size_t i = 1; i < REFUSALS_USERS && refusals->users[place].n; i++)
		if (!refusals->users[i].n ||
		    refusals->users[i].last_ms < refusals->users[place].last_ms)
			place = i;
	return place;
}

void refusals_note(struct refusals *refusals, uid_t uid, int64_t now_ms)
{
	size_t i = place_of(refusals, uid);

	if (refusals->users[i].uid != uid || is_over(refusals, i, now_ms))
		refusals->users[i].n = 0;
	refusals->users[i].uid = uid;
	refusals->users[i].n++;
	refusals->users[i].last_ms = now_ms;
}

size_t refusals_list(const struct refusals *refusals, int64_t now_ms,
                     struct refusal out[REFUSALS_USERS])
{
	size_t n = 0;

	for (size_t i = 0; i < REFUSALS_USERS; i++)
		if (!is_over(refusals, i, now_ms))
			out[n++] = (struct refusal){
			    .uid = refusals->users[i].uid,
			    .n = refusals->users[i].n,
			    .last_s = (unsigned)((now_ms - refusals->users[i].last_ms) / 1000),
			};
	return n;
}

const char *refusals_user(uid_t uid, char name[REFUSALS_NAME_MAX])
{
	struct passwd entry, *found = NULL;
	FILE *file = fopen("/etc/passwd", "re");
	char buffer[1024];

	snprintf(name, REFUSALS_NAME_MAX, "ID %u", (unsigned)uid);
	while (file && fgetpwent_r(file, &entry, buffer, sizeof(buffer), &found) == 0) {
		if (found->pw_uid != uid)
			continue;
		snprintf(name, REFUSALS_NAME_MAX, "%s", found->pw_name);
		break;
	}
	if (file)
		fclose(file);
	return name;
}
