#include "schema.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *value_wrong(const struct rule *rule, struct span value)
{
	switch (rule->kind) {
	case FLAG:
	case U32:
		return value.length == 4 ? NULL : "is not a u32";
	case U64:
		return value.length == 8 ? NULL : "is not a u64";
	case TEXT:
		if (memchr(value.data, 0, value.length))
			return "has a NUL in it";
		break;
	default:
		break;
	}
	return rule->max && value.length > rule->max ? "is too long" : NULL;
}

static int check_field(const struct rule *rules, struct span before, uint16_t tag, struct span value, char *why, size_t why_size)
{
	const struct rule *rule = rules;
	struct span other;
	while (rule->tag != 0 && rule->tag != tag)
		rule++;
	if (rule->tag == 0) {
		(void)snprintf(why, why_size, "field %u is not known here", tag);
		return EINVAL;
	}
	if (!(rule->flags & MANY) && field_find(before, tag, &other)) {
		(void)snprintf(why, why_size, "field %u is given twice", tag);
		return EINVAL;
	}
	const char *wrong = value_wrong(rule, value);
	if (wrong) {
		(void)snprintf(why, why_size, "field %u %s", tag, wrong);
		return EINVAL;
	}
	return rule->kind == NESTED ? schema_check(rule->nested, value, why, why_size) : 0;
}

int schema_check(const struct rule *rules, struct span fields, char *why, size_t why_size)
{
	struct span rest = fields, value;
	uint16_t tag;
	for (;;) {
		struct span before = {fields.data, fields.length - rest.length};
		if (!field_next(&rest, &tag, &value))
			break;
		int wrong = check_field(rules, before, tag, value, why, why_size);
		if (wrong)
			return wrong;
	}
	if (rest.length > 0) {
		(void)snprintf(why, why_size, "the fields end in %zu bytes that are none", rest.length);
		return EINVAL;
	}
	for (const struct rule *rule = rules; rule->tag != 0; rule++) {
		if ((rule->flags & REQUIRED) && !field_find(fields, rule->tag, &value)) {
			(void)snprintf(why, why_size, "field %u is missing", rule->tag);
			return EINVAL;
		}
	}
	return 0;
}

bool container_name_ok(struct span name)
{
	if (name.length < 1 || name.length > HYPER_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.length; i++) {
		uint8_t c = name.data[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (!letter && c != '_' && c != '.' && c != '-')
			return false;
	}
	return true;
}

bool file_name_ok(struct span name)
{
	bool dots = (name.length == 1 || name.length == 2) && name.data[0] == '.' && name.data[name.length - 1] == '.';
	return container_name_ok(name) && !dots;
}
