#include "credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system.h"

#define FILE_MAX (8 * 1024 * 1024) /* of passwd and group: what is beyond is not looked at */
#define FILTER_MAX 4096            /* instructions, the kernel's own limit */

/* A regular file's text; an empty one for anything else: an image need not have it. */
static struct span slurp(int root, const char *path)
{
	struct span text = {(const uint8_t *)"", 0};
	struct stat info;
	int fd = open_in_root(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return text;
	if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
		size_t size = info.st_size < FILE_MAX ? (size_t)info.st_size : FILE_MAX;
		char *bytes = malloc(size + 1);
		ssize_t got = 0;
		while (bytes && text.length < size && (got = read(fd, bytes + text.length, size - text.length)) > 0)
			text.length += (size_t)got;
		if (bytes)
			text.data = (const uint8_t *)bytes;
	}
	(void)close(fd);
	return text;
}

int owner_find(int root, const char *owner, struct identity *identity, struct failure *failure)
{
	return identity_find(owner, slurp(root, "/etc/passwd"), slurp(root, "/etc/group"), identity, failure);
}

int credentials_find(struct span fields, struct identity *identity, struct failure *failure)
{
	struct span value = {(const uint8_t *)"", 0}, each;
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct span passwd = slurp(root, "/etc/passwd"), group = slurp(root, "/etc/group");
	close_fd(&root);
	(void)field_find(fields, HYPER_USER, &value);
	char *user = span_text(value);
	if (!user)
		return fail(failure, ENOMEM, "no memory");
	if (identity_find(user, passwd, group, identity, failure) != 0)
		return -1;
	while (field_each(&fields, HYPER_GROUP, &each)) {
		char *name = span_text(each);
		if (!name)
			return fail(failure, ENOMEM, "no memory");
		if (identity_add(name, group, identity, failure) != 0)
			return -1;
	}
	return 0;
}

static int set_limits(struct span fields, struct failure *failure)
{
	struct span each;
	while (field_each(&fields, HYPER_RLIMIT, &each)) {
		uint32_t resource = find_u32(each, HYPER_RESOURCE, ~0u);
		struct rlimit limit = {find_u64(each, HYPER_SOFT, 0), find_u64(each, HYPER_HARD, 0)};
		if (resource > 15 || setrlimit((int)resource, &limit) != 0)
			return fail(failure, resource > 15 ? EINVAL : errno, "rlimit %u: cannot set it to %llu:%llu: %s", resource,
			            (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max,
			            reason(resource > 15 ? EINVAL : errno));
	}
	return 0;
}

static int drop_bounding(uint64_t bounding, struct failure *failure)
{
	for (unsigned long capability = 0; capability < 64; capability++) {
		if (bounding >> capability & 1)
			continue;
		if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) < 0)
			break; /* the kernel has no more */
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
			return fail(failure, errno, "capability %lu: cannot drop it: %s", capability, reason(errno));
	}
	return 0;
}

int credentials_switch(struct span fields, bool almighty, const struct identity *identity, struct failure *failure)
{
	gid_t groups[GROUPS_MAX];
	for (size_t i = 0; i < identity->group_count; i++)
		groups[i] = identity->groups[i];
	(void)umask(find_u32(fields, HYPER_UMASK, 022) & 0777);
	if (set_limits(fields, failure) != 0)
		return -1;
	if (drop_bounding(find_u64(fields, HYPER_CAP_BOUNDING, almighty ? ~UINT64_C(0) : 0), failure) != 0)
		return -1;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
		return fail(failure, errno, "cannot keep capabilities: %s", reason(errno));
	/* The system calls themselves: musl's would signal the threads that this process does not have. */
	if (syscall(SYS_setgroups, identity->group_count, groups) != 0 ||
	    syscall(SYS_setresgid, identity->gid, identity->gid, identity->gid) != 0 ||
	    syscall(SYS_setresuid, identity->uid, identity->uid, identity->uid) != 0)
		return fail(failure, errno, "cannot become %u:%u: %s", identity->uid, identity->gid, reason(errno));
	return 0;
}

/* Those that this kernel has. */
static uint64_t known_capabilities(void)
{
	unsigned long count = 0;
	while (count < 64 && prctl(PR_CAPBSET_READ, count, 0, 0, 0) >= 0)
		count++;
	return count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

static int set_capabilities(struct span fields, bool almighty, uint32_t uid, struct failure *failure)
{
	uint64_t known = known_capabilities(), otherwise = almighty ? known : 0;
	uint64_t ambient = known & find_u64(fields, HYPER_CAP_AMBIENT, 0);
	uint64_t inheritable = (known & find_u64(fields, HYPER_CAP_INHERITABLE, 0)) | ambient;
	uint64_t permitted = (known & find_u64(fields, HYPER_CAP_PERMITTED, otherwise)) | ambient;
	uint64_t effective = permitted & find_u64(fields, HYPER_CAP_EFFECTIVE, otherwise);
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	if (uid != 0) /* a user other than root has none but the ambient ones */
		permitted = effective = ambient;
	struct __user_cap_data_struct data[2] = {
		{(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
		{(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
	};
	if (syscall(SYS_capset, &header, data) != 0)
		return fail(failure, errno, "cannot set capabilities: %s", reason(errno));
	for (unsigned long capability = 0; capability < 64; capability++) {
		if (ambient >> capability & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0)
			return fail(failure, errno, "capability %lu: cannot make it ambient: %s", capability, reason(errno));
	}
	return 0;
}

static int load_filter(struct span filter, struct failure *failure)
{
	size_t count = filter.length / sizeof(struct sock_filter);
	if (filter.length % sizeof(struct sock_filter) || count < 1 || count > FILTER_MAX)
		return fail(failure, EINVAL, "seccomp: %zu bytes are no filter", filter.length);
	/* Copied: fields are not aligned. */
	struct sock_filter *code = malloc(filter.length);
	if (!code)
		return fail(failure, ENOMEM, "no memory");
	memcpy(code, filter.data, filter.length);
	struct sock_fprog program = {(unsigned short)count, code};
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0)
		return fail(failure, errno, "seccomp: the kernel refuses the filter: %s", reason(errno));
	return 0;
}

int credentials_seal(struct span fields, bool almighty, const struct identity *identity, struct failure *failure)
{
	struct span filter;
	bool filtered = field_find(fields, HYPER_SECCOMP, &filter);
	bool no_new_privs = find_flag(fields, HYPER_NO_NEW_PRIVS);
	if (no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return fail(failure, errno, "no_new_privs: %s", reason(errno));
	/* Without no_new_privs a filter takes CAP_SYS_ADMIN, so it comes before capabilities go; otherwise last. */
	if (filtered && !no_new_privs) {
		struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
		struct __user_cap_data_struct data[2];
		/* Another uid's effective set is empty by now; what it may have is kept. */
		if (syscall(SYS_capget, &header, data) != 0)
			return fail(failure, errno, "capget: %s", reason(errno));
		data[0].effective = data[0].permitted;
		data[1].effective = data[1].permitted;
		if (syscall(SYS_capset, &header, data) != 0)
			return fail(failure, errno, "capset: %s", reason(errno));
		if (load_filter(filter, failure) != 0)
			return -1;
	}
	if (set_capabilities(fields, almighty, identity->uid, failure) != 0)
		return -1;
	return filtered && no_new_privs ? load_filter(filter, failure) : 0;
}
