#include "user.h"

#include <errno.h>
#include <string.h>

struct entry {
	struct span name;
	uint32_t id, gid;
	struct span home;    /* of a user */
	struct span members; /* of a group */
};

static struct span cut(struct span *rest, char separator)
{
	const uint8_t *end = rest->length ? memchr(rest->data, separator, rest->length) : NULL;
	struct span part = {rest->data, end ? (size_t)(end - rest->data) : rest->length};
	size_t step = end ? part.length + 1 : part.length;
	rest->data += step;
	rest->length -= step;
	return part;
}

static bool number(struct span text, uint32_t *value)
{
	uint64_t sum = 0;
	if (text.length == 0 || text.length > 10)
		return false;
	for (size_t i = 0; i < text.length; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		sum = sum * 10 + (uint64_t)(text.data[i] - '0');
	}
	*value = (uint32_t)sum;
	return sum <= ID_MAX;
}

static bool digits(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0';
}

static bool next_line(struct span *rest, struct span *line)
{
	while (rest->length > 0) {
		*line = cut(rest, '\n');
		if (line->length > 0 && line->data[line->length - 1] == '\r')
			line->length--;
		if (line->length > 0 && line->data[0] != '#')
			return true;
	}
	return false;
}

static bool next_user(struct span *rest, struct entry *entry)
{
	struct span line;
	while (next_line(rest, &line)) {
		entry->name = cut(&line, ':');
		(void)cut(&line, ':');
		bool whole = number(cut(&line, ':'), &entry->id);
		whole = number(cut(&line, ':'), &entry->gid) && whole;
		(void)cut(&line, ':');
		entry->home = cut(&line, ':');
		if (whole && entry->name.length > 0)
			return true;
	}
	return false;
}

static bool next_group(struct span *rest, struct entry *entry)
{
	struct span line;
	while (next_line(rest, &line)) {
		entry->name = cut(&line, ':');
		(void)cut(&line, ':');
		bool whole = number(cut(&line, ':'), &entry->id);
		entry->members = line;
		if (whole && entry->name.length > 0)
			return true;
	}
	return false;
}

static bool is_member(struct span members, struct span name)
{
	while (members.length > 0) {
		struct span member = cut(&members, ',');
		if (member.length == name.length && memcmp(member.data, name.data, name.length) == 0)
			return true;
	}
	return false;
}

static void add_group(struct identity *identity, uint32_t gid)
{
	for (size_t i = 0; i < identity->group_count; i++) {
		if (identity->groups[i] == gid)
			return;
	}
	if (identity->group_count < GROUPS_MAX)
		identity->groups[identity->group_count++] = gid;
}

/* A name or number that the file does not have: a number stands for itself. */
static int bare_number(const char *what, const char *file, const char *text, uint32_t *value, struct failure *failure)
{
	struct span span = {(const uint8_t *)text, strlen(text)};
	if (!digits(text))
		return fail(failure, EINVAL, "unable to find %s %s: no matching entries in %s file", what, text, file);
	while (span.length > 1 && span.data[0] == '0') {
		span.data++;
		span.length--;
	}
	if (!number(span, value))
		return fail(failure, EINVAL, "%s %s: uids and gids must be in range 0-%u", what, text, ID_MAX);
	return 0;
}

static int find_group(const char *text, struct span group, uint32_t *gid, struct failure *failure)
{
	struct entry entry;
	uint32_t wanted;
	bool numeric = number((struct span){(const uint8_t *)text, strlen(text)}, &wanted);
	while (next_group(&group, &entry)) {
		if (span_is(entry.name, text) || (numeric && entry.id == wanted)) {
			*gid = entry.id;
			return 0;
		}
	}
	return bare_number("group", "group", text, gid, failure);
}

/* Whether the passwd text has the user; the first line that fits counts.  No name at all is uid 0. */
static bool find_user(const char *text, struct span passwd, struct entry *entry)
{
	uint32_t wanted = 0;
	bool numeric = !*text || number((struct span){(const uint8_t *)text, strlen(text)}, &wanted);
	while (next_user(&passwd, entry)) {
		if ((*text && span_is(entry->name, text)) || (numeric && entry->id == wanted))
			return true;
	}
	return false;
}

int identity_find(const char *user, struct span passwd, struct span group, struct identity *identity, struct failure *failure)
{
	char name[256];
	struct entry entry;
	const char *colon = strchr(user, ':');
	const char *group_text = colon ? colon + 1 : "";
	size_t length = colon ? (size_t)(colon - user) : strlen(user);
	if (length >= sizeof name)
		return fail(failure, EINVAL, "user: the name is too long");
	memcpy(name, user, length);
	name[length] = '\0';
	*identity = (struct identity){.home = {(const uint8_t *)"/", 1}};
	bool found = find_user(name, passwd, &entry);
	if (found) {
		identity->uid = entry.id;
		identity->gid = entry.gid;
		if (entry.home.length > 0)
			identity->home = entry.home;
	} else if (*name && bare_number("user", "passwd", name, &identity->uid, failure) != 0) {
		return -1;
	}
	if (*group_text && find_group(group_text, group, &identity->gid, failure) != 0)
		return -1;
	add_group(identity, identity->gid);
	struct entry each;
	while (found && !*group_text && next_group(&group, &each)) {
		if (is_member(each.members, entry.name))
			add_group(identity, each.id);
	}
	return 0;
}

int identity_add(const char *name, struct span group, struct identity *identity, struct failure *failure)
{
	uint32_t gid;
	if (find_group(name, group, &gid, failure) != 0)
		return -1;
	if (identity->group_count == GROUPS_MAX)
		return fail(failure, EINVAL, "group %s: more than %d groups", name, GROUPS_MAX);
	add_group(identity, gid);
	return 0;
}
