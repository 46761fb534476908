/* Made of src/hypercontainer/agent/operations.py by tools/make_wire.py; change it there. */
#include "schema.h"

#define END {0, 0, 0, 0, NULL}

static const struct rule interface_rules[] = {
	{HYPER_MAC, BYTES, REQUIRED, 6, NULL},
	{HYPER_NAME, TEXT, REQUIRED, 15, NULL},
	{HYPER_ADDRESS, TEXT, MANY, 64, NULL},
	{HYPER_GATEWAY, TEXT, MANY, 64, NULL},
	{HYPER_MTU, U32, 0, 0, NULL},
	{HYPER_NEW_MAC, BYTES, 0, 6, NULL},
	{HYPER_DOWN, FLAG, 0, 0, NULL},
	{HYPER_ROUTE, TEXT, MANY, 128, NULL},
	END,
};

static const struct rule sysctl_rules[] = {
	{HYPER_NAME, TEXT, REQUIRED, 255, NULL},
	{HYPER_VALUE, TEXT, REQUIRED, 4095, NULL},
	END,
};

static const struct rule vm_config_rules[] = {
	{HYPER_HOSTNAME, TEXT, 0, 64, NULL},
	{HYPER_DOMAINNAME, TEXT, 0, 64, NULL},
	{HYPER_TIME_NS, U64, 0, 0, NULL},
	{HYPER_ENTROPY, BYTES, 0, 4096, NULL},
	{HYPER_INTERFACE, NESTED, MANY, 0, interface_rules},
	{HYPER_SYSCTL, NESTED, MANY, 0, sysctl_rules},
	END,
};

static const struct rule disk_rules[] = {
	{HYPER_SERIAL, TEXT, REQUIRED, 64, NULL},
	{HYPER_FILESYSTEM, TEXT, REQUIRED, 32, NULL},
	{HYPER_OFFSET, U64, 0, 0, NULL},
	{HYPER_LENGTH, U64, 0, 0, NULL},
	{HYPER_DIRECTORY, TEXT, 0, 64, NULL},
	{HYPER_SIZE, U64, 0, 0, NULL},
	{HYPER_ROOT_HASH, TEXT, 0, 64, NULL},
	END,
};

static const struct rule mount_rules[] = {
	{HYPER_TYPE, TEXT, REQUIRED, 32, NULL},
	{HYPER_TARGET, TEXT, REQUIRED, 4095, NULL},
	{HYPER_SOURCE, TEXT, 0, 4095, NULL},
	{HYPER_FLAGS, U64, 0, 0, NULL},
	{HYPER_MOUNT_DATA, TEXT, 0, 4095, NULL},
	{HYPER_READ_ONLY, FLAG, 0, 0, NULL},
	{HYPER_SERIAL, TEXT, 0, 64, NULL},
	{HYPER_COPY_UP, FLAG, 0, 0, NULL},
	END,
};

static const struct rule file_rules[] = {
	{HYPER_PATH, TEXT, REQUIRED, 4095, NULL},
	{HYPER_MODE, U32, REQUIRED, 0, NULL},
	{HYPER_CONTENT, BYTES, REQUIRED, 0, NULL},
	{HYPER_UID, U32, 0, 0, NULL},
	{HYPER_GID, U32, 0, 0, NULL},
	{HYPER_BIND, FLAG, 0, 0, NULL},
	{HYPER_OWNER, TEXT, 0, 255, NULL},
	{HYPER_JOINED, TEXT, MANY, 4095, NULL},
	END,
};

static const struct rule device_rules[] = {
	{HYPER_PATH, TEXT, REQUIRED, 4095, NULL},
	{HYPER_MODE, U32, REQUIRED, 0, NULL},
	{HYPER_MAJOR, U32, REQUIRED, 0, NULL},
	{HYPER_MINOR, U32, REQUIRED, 0, NULL},
	{HYPER_UID, U32, 0, 0, NULL},
	{HYPER_GID, U32, 0, 0, NULL},
	END,
};

static const struct rule container_plan_rules[] = {
	{HYPER_CONTAINER, TEXT, REQUIRED, 64, NULL},
	{HYPER_LOWER, NESTED, REQUIRED, 0, disk_rules},
	{HYPER_UPPER, NESTED, 0, 0, disk_rules},
	{HYPER_READ_ONLY, FLAG, 0, 0, NULL},
	{HYPER_SCRATCH, FLAG, 0, 0, NULL},
	{HYPER_MOUNT, NESTED, MANY, 0, mount_rules},
	{HYPER_FILE, NESTED, MANY, 0, file_rules},
	{HYPER_DEVICE, NESTED, MANY, 0, device_rules},
	{HYPER_MASKED_PATH, TEXT, MANY, 4095, NULL},
	{HYPER_READONLY_PATH, TEXT, MANY, 4095, NULL},
	{HYPER_SYSCTL, NESTED, MANY, 0, sysctl_rules},
	{HYPER_PID_MODE, U32, 0, 0, NULL},
	{HYPER_MEMORY_MAX, U64, 0, 0, NULL},
	{HYPER_CPU_MAX, TEXT, 0, 63, NULL},
	{HYPER_CPU_WEIGHT, U32, 0, 0, NULL},
	{HYPER_PIDS_MAX, U64, 0, 0, NULL},
	{HYPER_PRIVILEGED, FLAG, 0, 0, NULL},
	{HYPER_CWD, TEXT, 0, 4095, NULL},
	END,
};

static const struct rule rlimit_rules[] = {
	{HYPER_RESOURCE, U32, REQUIRED, 0, NULL},
	{HYPER_SOFT, U64, REQUIRED, 0, NULL},
	{HYPER_HARD, U64, REQUIRED, 0, NULL},
	END,
};

static const struct rule process_plan_rules[] = {
	{HYPER_CONTAINER, TEXT, 0, 64, NULL},
	{HYPER_PROCESS, U32, REQUIRED, 0, NULL},
	{HYPER_ARG, TEXT, MANY | REQUIRED, 0, NULL},
	{HYPER_CWD, TEXT, 0, 4095, NULL},
	{HYPER_INIT, FLAG, 0, 0, NULL},
	{HYPER_ENV, TEXT, MANY, 0, NULL},
	{HYPER_USER, TEXT, 0, 255, NULL},
	{HYPER_GROUP, TEXT, MANY, 255, NULL},
	{HYPER_CAP_BOUNDING, U64, 0, 0, NULL},
	{HYPER_CAP_EFFECTIVE, U64, 0, 0, NULL},
	{HYPER_CAP_PERMITTED, U64, 0, 0, NULL},
	{HYPER_CAP_INHERITABLE, U64, 0, 0, NULL},
	{HYPER_CAP_AMBIENT, U64, 0, 0, NULL},
	{HYPER_RLIMIT, NESTED, MANY, 0, rlimit_rules},
	{HYPER_NO_NEW_PRIVS, FLAG, 0, 0, NULL},
	{HYPER_SECCOMP, BYTES, 0, 0, NULL},
	{HYPER_TTY, FLAG, 0, 0, NULL},
	{HYPER_ROWS, U32, 0, 0, NULL},
	{HYPER_COLUMNS, U32, 0, 0, NULL},
	{HYPER_WITH_STDIN, FLAG, 0, 0, NULL},
	{HYPER_OOM_SCORE_ADJ, U32, 0, 0, NULL},
	{HYPER_UMASK, U32, 0, 0, NULL},
	{HYPER_REAPER, FLAG, 0, 0, NULL},
	{HYPER_TOOLS, TEXT, 0, 64, NULL},
	END,
};

static const struct rule process_signal_rules[] = {
	{HYPER_PROCESS, U32, REQUIRED, 0, NULL},
	{HYPER_SIGNAL, U32, REQUIRED, 0, NULL},
	{HYPER_ALL, FLAG, 0, 0, NULL},
	{HYPER_PATIENT, FLAG, 0, 0, NULL},
	END,
};

static const struct rule process_resize_rules[] = {
	{HYPER_PROCESS, U32, REQUIRED, 0, NULL},
	{HYPER_ROWS, U32, REQUIRED, 0, NULL},
	{HYPER_COLUMNS, U32, REQUIRED, 0, NULL},
	END,
};

static const struct rule process_name_rules[] = {
	{HYPER_PROCESS, U32, REQUIRED, 0, NULL},
	END,
};

static const struct rule container_destroy_rules[] = {
	{HYPER_CONTAINER, TEXT, REQUIRED, 64, NULL},
	{HYPER_DISCARD, FLAG, 0, 0, NULL},
	END,
};

static const struct rule container_freeze_rules[] = {
	{HYPER_CONTAINER, TEXT, REQUIRED, 64, NULL},
	{HYPER_FROZEN, FLAG, REQUIRED, 0, NULL},
	END,
};

static const struct rule container_name_rules[] = {
	{HYPER_CONTAINER, TEXT, REQUIRED, 64, NULL},
	END,
};

static const struct rule stats_of_rules[] = {
	{HYPER_CONTAINER, TEXT, 0, 64, NULL},
	END,
};

static const struct rule container_update_rules[] = {
	{HYPER_CONTAINER, TEXT, REQUIRED, 64, NULL},
	{HYPER_MEMORY_MAX, U64, 0, 0, NULL},
	{HYPER_CPU_MAX, TEXT, 0, 63, NULL},
	{HYPER_CPU_WEIGHT, U32, 0, 0, NULL},
	{HYPER_PIDS_MAX, U64, 0, 0, NULL},
	END,
};

static const struct rule nothing_rules[] = {
	END,
};

static const struct rule time_rules[] = {
	{HYPER_TIME_NS, U64, REQUIRED, 0, NULL},
	END,
};

static const struct rule preparation_rules[] = {
	{HYPER_INTERFACE, NESTED, MANY, 0, interface_rules},
	{HYPER_RELEASE_DISKS, FLAG, 0, 0, NULL},
	{HYPER_MOUNT, NESTED, MANY, 0, mount_rules},
	{HYPER_DEVICE, NESTED, MANY, 0, device_rules},
	{HYPER_MASKED_PATH, TEXT, MANY, 4095, NULL},
	{HYPER_READONLY_PATH, TEXT, MANY, 4095, NULL},
	END,
};

static const struct rule file_system_rules[] = {
	{HYPER_TYPE, TEXT, REQUIRED, 32, NULL},
	{HYPER_SOURCE, TEXT, 0, 4095, NULL},
	{HYPER_FLAGS, U64, 0, 0, NULL},
	{HYPER_MOUNT_DATA, TEXT, 0, 4095, NULL},
	{HYPER_READ_ONLY, FLAG, 0, 0, NULL},
	{HYPER_SERIAL, TEXT, 0, 64, NULL},
	{HYPER_OTHER_DATA, TEXT, MANY, 4095, NULL},
	{HYPER_HOSTNAME, TEXT, 0, 64, NULL},
	END,
};

static const struct rule volume_plan_rules[] = {
	{HYPER_NAME, TEXT, REQUIRED, 64, NULL},
	{HYPER_MOUNT, NESTED, 0, 0, file_system_rules},
	{HYPER_UPPER, NESTED, 0, 0, disk_rules},
	{HYPER_LOWER, NESTED, 0, 0, disk_rules},
	{HYPER_GID, U32, 0, 0, NULL},
	{HYPER_MODE, U32, 0, 0, NULL},
	{HYPER_FILE, NESTED, MANY, 0, file_rules},
	{HYPER_READ_ONLY, FLAG, 0, 0, NULL},
	{HYPER_TIDY, FLAG, 0, 0, NULL},
	{HYPER_GROW, FLAG, 0, 0, NULL},
	END,
};

static const struct rule volume_name_rules[] = {
	{HYPER_NAME, TEXT, REQUIRED, 64, NULL},
	END,
};

static const struct rule volume_grow_rules[] = {
	{HYPER_NAME, TEXT, REQUIRED, 64, NULL},
	{HYPER_SIZE, U64, REQUIRED, 0, NULL},
	END,
};

static const struct rule volume_freeze_rules[] = {
	{HYPER_NAME, TEXT, REQUIRED, 64, NULL},
	{HYPER_FROZEN, FLAG, 0, 0, NULL},
	{HYPER_LIMIT_MS, U32, 0, 0, NULL},
	END,
};

static const struct rule *const operations[] = {
	[HYPER_OP_CONFIGURE] = vm_config_rules,
	[HYPER_OP_CONTAINER_CREATE] = container_plan_rules,
	[HYPER_OP_PROCESS_START] = process_plan_rules,
	[HYPER_OP_PROCESS_SIGNAL] = process_signal_rules,
	[HYPER_OP_PROCESS_RESIZE] = process_resize_rules,
	[HYPER_OP_PROCESS_FORGET] = process_name_rules,
	[HYPER_OP_CONTAINER_DESTROY] = container_destroy_rules,
	[HYPER_OP_CONTAINER_FREEZE] = container_freeze_rules,
	[HYPER_OP_CONTAINER_PROCESSES] = container_name_rules,
	[HYPER_OP_STATS] = stats_of_rules,
	[HYPER_OP_CONTAINER_UPDATE] = container_update_rules,
	[HYPER_OP_SHUTDOWN] = nothing_rules,
	[HYPER_OP_SET_TIME] = time_rules,
	[HYPER_OP_PREPARE] = preparation_rules,
	[HYPER_OP_VOLUME_ADD] = volume_plan_rules,
	[HYPER_OP_VOLUME_REMOVE] = volume_name_rules,
	[HYPER_OP_VOLUME_GROW] = volume_grow_rules,
	[HYPER_OP_VOLUME_FREEZE] = volume_freeze_rules,
};

const struct rule *schema_of(uint16_t operation)
{
	return operation < sizeof operations / sizeof *operations ? operations[operation] : NULL;
}
