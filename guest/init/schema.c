#include "schema.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 4095
#define END {0, 0, 0, 0, NULL}

static const struct rule interface_rules[] = {
	{HYPER_MAC, BYTES, REQUIRED, 6, NULL}, {HYPER_NEW_MAC, BYTES, 0, 6, NULL}, {HYPER_ADDRESS, TEXT, MANY, 64, NULL},
	{HYPER_GATEWAY, TEXT, MANY, 64, NULL}, {HYPER_MTU, U32, 0, 0, NULL},
	{HYPER_NAME, TEXT, REQUIRED, 15, NULL}, END,
};

static const struct rule sysctl_rules[] = {
	{HYPER_NAME, TEXT, REQUIRED, 255, NULL}, {HYPER_VALUE, TEXT, REQUIRED, 4095, NULL}, END,
};

static const struct rule configure_rules[] = {
	{HYPER_HOSTNAME, TEXT, 0, 64, NULL}, {HYPER_DOMAINNAME, TEXT, 0, 64, NULL},
	{HYPER_TIME_NS, U64, 0, 0, NULL}, {HYPER_ENTROPY, BYTES, 0, 4096, NULL},
	{HYPER_INTERFACE, NESTED, MANY, 0, interface_rules}, {HYPER_SYSCTL, NESTED, MANY, 0, sysctl_rules}, END,
};

static const struct rule disk_rules[] = {
	{HYPER_SERIAL, TEXT, REQUIRED, 64, NULL}, {HYPER_FILESYSTEM, TEXT, REQUIRED, 32, NULL},
	{HYPER_OFFSET, U64, 0, 0, NULL}, {HYPER_LENGTH, U64, 0, 0, NULL}, {HYPER_DIRECTORY, TEXT, 0, 64, NULL}, END,
};

static const struct rule mount_rules[] = {
	{HYPER_TYPE, TEXT, REQUIRED, 32, NULL}, {HYPER_SOURCE, TEXT, 0, PATH_BYTES, NULL},
	{HYPER_TARGET, TEXT, REQUIRED, PATH_BYTES, NULL}, {HYPER_FLAGS, U64, 0, 0, NULL},
	{HYPER_MOUNT_DATA, TEXT, 0, 4095, NULL}, {HYPER_READ_ONLY, FLAG, 0, 0, NULL},
	{HYPER_SERIAL, TEXT, 0, 64, NULL}, {HYPER_COPY_UP, FLAG, 0, 0, NULL}, END,
};

static const struct rule file_system_rules[] = {
	{HYPER_TYPE, TEXT, REQUIRED, 32, NULL}, {HYPER_SOURCE, TEXT, 0, PATH_BYTES, NULL},
	{HYPER_FLAGS, U64, 0, 0, NULL}, {HYPER_MOUNT_DATA, TEXT, 0, 4095, NULL},
	{HYPER_READ_ONLY, FLAG, 0, 0, NULL}, {HYPER_SERIAL, TEXT, 0, 64, NULL}, END,
};

static const struct rule file_rules[] = {
	{HYPER_PATH, TEXT, REQUIRED, PATH_BYTES, NULL}, {HYPER_MODE, U32, REQUIRED, 0, NULL},
	{HYPER_UID, U32, 0, 0, NULL}, {HYPER_GID, U32, 0, 0, NULL},
	{HYPER_CONTENT, BYTES, REQUIRED, 0, NULL}, {HYPER_BIND, FLAG, 0, 0, NULL},
	{HYPER_OWNER, TEXT, 0, 255, NULL}, END,
};

static const struct rule device_rules[] = {
	{HYPER_PATH, TEXT, REQUIRED, PATH_BYTES, NULL}, {HYPER_MODE, U32, REQUIRED, 0, NULL},
	{HYPER_MAJOR, U32, REQUIRED, 0, NULL}, {HYPER_MINOR, U32, REQUIRED, 0, NULL},
	{HYPER_UID, U32, 0, 0, NULL}, {HYPER_GID, U32, 0, 0, NULL}, END,
};

static const struct rule prepare_rules[] = {
	{HYPER_INTERFACE, NESTED, MANY, 0, interface_rules}, {HYPER_RELEASE_DISKS, FLAG, 0, 0, NULL},
	{HYPER_MOUNT, NESTED, MANY, 0, mount_rules}, {HYPER_DEVICE, NESTED, MANY, 0, device_rules},
	{HYPER_MASKED_PATH, TEXT, MANY, PATH_BYTES, NULL}, {HYPER_READONLY_PATH, TEXT, MANY, PATH_BYTES, NULL}, END,
};

static const struct rule volume_rules[] = {
	{HYPER_NAME, TEXT, REQUIRED, 64, NULL}, {HYPER_MOUNT, NESTED, 0, 0, file_system_rules},
	{HYPER_UPPER, NESTED, 0, 0, disk_rules}, {HYPER_GID, U32, 0, 0, NULL}, {HYPER_MODE, U32, 0, 0, NULL},
	{HYPER_FILE, NESTED, MANY, 0, file_rules}, {HYPER_READ_ONLY, FLAG, 0, 0, NULL}, END,
};

#define LIMITS \
	{HYPER_MEMORY_MAX, U64, 0, 0, NULL}, {HYPER_CPU_MAX, TEXT, 0, 63, NULL}, \
	{HYPER_CPU_WEIGHT, U32, 0, 0, NULL}, {HYPER_PIDS_MAX, U64, 0, 0, NULL}

static const struct rule create_rules[] = {
	{HYPER_CONTAINER, TEXT, REQUIRED, 64, NULL}, {HYPER_LOWER, NESTED, REQUIRED, 0, disk_rules},
	{HYPER_UPPER, NESTED, 0, 0, disk_rules}, {HYPER_READ_ONLY, FLAG, 0, 0, NULL},
	{HYPER_SCRATCH, FLAG, 0, 0, NULL}, {HYPER_MOUNT, NESTED, MANY, 0, mount_rules},
	{HYPER_FILE, NESTED, MANY, 0, file_rules}, {HYPER_DEVICE, NESTED, MANY, 0, device_rules},
	{HYPER_MASKED_PATH, TEXT, MANY, PATH_BYTES, NULL}, {HYPER_READONLY_PATH, TEXT, MANY, PATH_BYTES, NULL},
	{HYPER_SYSCTL, NESTED, MANY, 0, sysctl_rules}, {HYPER_PID_MODE, U32, 0, 0, NULL},
	{HYPER_PRIVILEGED, FLAG, 0, 0, NULL}, LIMITS, END,
};

static const struct rule rlimit_rules[] = {
	{HYPER_RESOURCE, U32, REQUIRED, 0, NULL}, {HYPER_SOFT, U64, REQUIRED, 0, NULL},
	{HYPER_HARD, U64, REQUIRED, 0, NULL}, END,
};

static const struct rule start_rules[] = {
	{HYPER_CONTAINER, TEXT, 0, 64, NULL}, {HYPER_PROCESS, U32, REQUIRED, 0, NULL},
	{HYPER_INIT, FLAG, 0, 0, NULL}, {HYPER_ARG, TEXT, MANY | REQUIRED, 0, NULL},
	{HYPER_ENV, TEXT, MANY, 0, NULL}, {HYPER_CWD, TEXT, 0, PATH_BYTES, NULL},
	{HYPER_USER, TEXT, 0, 255, NULL}, {HYPER_GROUP, TEXT, MANY, 255, NULL},
	{HYPER_CAP_BOUNDING, U64, 0, 0, NULL}, {HYPER_CAP_EFFECTIVE, U64, 0, 0, NULL},
	{HYPER_CAP_PERMITTED, U64, 0, 0, NULL}, {HYPER_CAP_INHERITABLE, U64, 0, 0, NULL},
	{HYPER_CAP_AMBIENT, U64, 0, 0, NULL}, {HYPER_RLIMIT, NESTED, MANY, 0, rlimit_rules},
	{HYPER_NO_NEW_PRIVS, FLAG, 0, 0, NULL}, {HYPER_SECCOMP, BYTES, 0, 0, NULL},
	{HYPER_TTY, FLAG, 0, 0, NULL}, {HYPER_ROWS, U32, 0, 0, NULL}, {HYPER_COLUMNS, U32, 0, 0, NULL},
	{HYPER_WITH_STDIN, FLAG, 0, 0, NULL}, {HYPER_OOM_SCORE_ADJ, U32, 0, 0, NULL},
	{HYPER_UMASK, U32, 0, 0, NULL}, {HYPER_REAPER, FLAG, 0, 0, NULL},
	{HYPER_TOOLS, TEXT, 0, 64, NULL}, END,
};

static const struct rule signal_rules[] = {
	{HYPER_PROCESS, U32, REQUIRED, 0, NULL}, {HYPER_SIGNAL, U32, REQUIRED, 0, NULL}, {HYPER_ALL, FLAG, 0, 0, NULL}, END,
};

static const struct rule resize_rules[] = {
	{HYPER_PROCESS, U32, REQUIRED, 0, NULL}, {HYPER_ROWS, U32, REQUIRED, 0, NULL},
	{HYPER_COLUMNS, U32, REQUIRED, 0, NULL}, END,
};

static const struct rule process_rules[] = {{HYPER_PROCESS, U32, REQUIRED, 0, NULL}, END};
static const struct rule volume_name_rules[] = {{HYPER_NAME, TEXT, REQUIRED, 64, NULL}, END};
static const struct rule destroy_rules[] = {
	{HYPER_CONTAINER, TEXT, REQUIRED, 64, NULL}, {HYPER_DISCARD, FLAG, 0, 0, NULL}, END,
};
static const struct rule container_rules[] = {{HYPER_CONTAINER, TEXT, REQUIRED, 64, NULL}, END};
static const struct rule stats_rules[] = {{HYPER_CONTAINER, TEXT, 0, 64, NULL}, END};
static const struct rule shutdown_rules[] = {END};
static const struct rule time_rules[] = {{HYPER_TIME_NS, U64, REQUIRED, 0, NULL}, END};

static const struct rule freeze_rules[] = {
	{HYPER_CONTAINER, TEXT, REQUIRED, 64, NULL}, {HYPER_FROZEN, FLAG, REQUIRED, 0, NULL}, END,
};

static const struct rule update_rules[] = {{HYPER_CONTAINER, TEXT, REQUIRED, 64, NULL}, LIMITS, END};

static const struct rule *const operations[] = {
	[HYPER_OP_CONFIGURE] = configure_rules,
	[HYPER_OP_CONTAINER_CREATE] = create_rules,
	[HYPER_OP_PROCESS_START] = start_rules,
	[HYPER_OP_PROCESS_SIGNAL] = signal_rules,
	[HYPER_OP_PROCESS_RESIZE] = resize_rules,
	[HYPER_OP_PROCESS_FORGET] = process_rules,
	[HYPER_OP_CONTAINER_DESTROY] = destroy_rules,
	[HYPER_OP_CONTAINER_FREEZE] = freeze_rules,
	[HYPER_OP_CONTAINER_PROCESSES] = container_rules,
	[HYPER_OP_STATS] = stats_rules,
	[HYPER_OP_CONTAINER_UPDATE] = update_rules,
	[HYPER_OP_SHUTDOWN] = shutdown_rules,
	[HYPER_OP_SET_TIME] = time_rules,
	[HYPER_OP_PREPARE] = prepare_rules,
	[HYPER_OP_VOLUME_ADD] = volume_rules,
	[HYPER_OP_VOLUME_REMOVE] = volume_name_rules,
};

const struct rule *schema_of(uint16_t operation)
{
	return operation < sizeof operations / sizeof *operations ? operations[operation] : NULL;
}

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
	if (name.length < 1 || name.length > 64)
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
