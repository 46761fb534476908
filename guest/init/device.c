#include "device.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ANY (~0u)

struct rule {
	uint32_t type, major, minor;
};

#define BEGINNING 9 /* instructions before the rules, at most 6 for each of them, and 2 at the end */

struct device_program {
	size_t length;
	struct bpf_insn code[];
};

static void emit(struct device_program *program, uint8_t code, uint8_t to, uint8_t from, int16_t jump, int32_t value)
{
	program->code[program->length++] =
		(struct bpf_insn){.code = code, .dst_reg = (unsigned)to & 0xfu, .src_reg = (unsigned)from & 0xfu, .off = jump, .imm = value};
}

static void give(struct device_program *program, int32_t verdict)
{
	emit(program, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, verdict);
	emit(program, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* r2: type, r3: access, r4: major, r5: minor.  Making a node is always allowed: opening it is what counts. */
static void begin(struct device_program *program)
{
	emit(program, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1, 0, 0);
	emit(program, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
	emit(program, BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
	emit(program, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
	emit(program, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_4, BPF_REG_1, 4, 0);
	emit(program, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_5, BPF_REG_1, 8, 0);
	emit(program, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_3, 0, 2, BPF_DEVCG_ACC_MKNOD);
	give(program, 1);
}

static void allow(struct device_program *program, const struct rule *rule)
{
	bool minor = rule->minor != ANY;
	emit(program, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, minor ? 4 : 3, (int32_t)rule->type);
	emit(program, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, minor ? 3 : 2, (int32_t)rule->major);
	if (minor)
		emit(program, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, 2, (int32_t)rule->minor);
	give(program, 1);
}

struct device_program *device_program(struct span fields)
{
	static const struct rule docker[] = {
		{BPF_DEVCG_DEV_CHAR, 1, 3}, {BPF_DEVCG_DEV_CHAR, 1, 5}, {BPF_DEVCG_DEV_CHAR, 1, 7}, {BPF_DEVCG_DEV_CHAR, 1, 8},
		{BPF_DEVCG_DEV_CHAR, 1, 9}, {BPF_DEVCG_DEV_CHAR, 5, 0}, {BPF_DEVCG_DEV_CHAR, 5, 1}, {BPF_DEVCG_DEV_CHAR, 5, 2},
		{BPF_DEVCG_DEV_CHAR, 136, ANY}, {BPF_DEVCG_DEV_CHAR, 10, 200},
	};
	struct span rest = fields, each;
	size_t count = sizeof docker / sizeof *docker;
	while (field_each(&rest, HYPER_DEVICE, &each))
		count++;
	struct device_program *program = malloc(sizeof *program + (BEGINNING + 6 * count + 2) * sizeof *program->code);
	if (!program)
		return NULL;
	program->length = 0;
	begin(program);
	for (size_t i = 0; i < sizeof docker / sizeof *docker; i++)
		allow(program, &docker[i]);
	while (field_each(&fields, HYPER_DEVICE, &each)) {
		struct rule rule = {S_ISBLK(find_u32(each, HYPER_MODE, 0)) ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR,
		                    find_u32(each, HYPER_MAJOR, 0), find_u32(each, HYPER_MINOR, 0)};
		allow(program, &rule);
	}
	give(program, 0);
	return program;
}

/* The last one that was loaded: a pod's containers mostly have the same. */
static struct device_program *loaded;
static int loaded_fd = -1;

static bool is_loaded(const struct device_program *program)
{
	return loaded && loaded->length == program->length &&
	       memcmp(loaded->code, program->code, program->length * sizeof *program->code) == 0;
}

int device_load(const struct device_program *program, struct failure *failure)
{
	union bpf_attr load;
	size_t size = sizeof *program + program->length * sizeof *program->code;
	if (is_loaded(program))
		return 0;
	memset(&load, 0, sizeof load);
	load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	load.insns = (uint64_t)(uintptr_t)program->code;
	load.insn_cnt = (uint32_t)program->length;
	load.license = (uint64_t)(uintptr_t) "Apache-2.0";
	free(loaded);
	close_fd(&loaded_fd);
	loaded = malloc(size);
	loaded_fd = loaded ? (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load) : -1;
	if (loaded_fd >= 0) {
		memcpy(loaded, program, size);
		return 0;
	}
	int error = loaded ? errno : ENOMEM;
	free(loaded);
	loaded = NULL;
	return fail(failure, error, "devices: the kernel refuses to confine them: %s", reason(error));
}

int device_confine(int group, const struct device_program *program, struct failure *failure)
{
	union bpf_attr link;
	if (device_load(program, failure) != 0)
		return -1;
	memset(&link, 0, sizeof link);
	link.target_fd = (uint32_t)group;
	link.attach_bpf_fd = (uint32_t)loaded_fd;
	link.attach_type = BPF_CGROUP_DEVICE;
	if (syscall(SYS_bpf, BPF_PROG_ATTACH, &link, sizeof link) != 0)
		return fail(failure, errno, "devices: the kernel refuses to confine them: %s", reason(errno));
	return 0;
}
