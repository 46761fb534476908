/*
 * Shuts this process in, then becomes the program that is named after `--`:
 *
 *     jail [OPTION]... [-- PROGRAM ARG...]
 *
 *     gate FD             waits at this socket for a line; its end ends this process
 *     pids                runs the program in a PID namespace, as a child of our parent's: our own process ends, having
 *                         told the child's pid at the gate
 *     root                a root directory that holds what the following options name and nothing else, in mount, IPC
 *                         and UTS namespaces
 *     user                does all this in a user namespace, as who is not root must
 *     network             a network namespace that leads nowhere, and by Landlock no TCP
 *     landlock            no file but those that are named; what else the kernel's Landlock can refuse
 *     file FROM TO        may be read and run; it is called TO
 *     device FROM TO      may be read and written
 *     disk FROM TO        a file of root's that may be read and written as if it were this user's; `image FROM TO`: read
 *     sockets FROM TO     a directory in which sockets may be made
 *     reopen FD           a descriptor's file, which may be opened again to be read
 *     link TARGET TO      a symbolic link
 *     uid N, groups N,N   as root: the user, who is also the group, and what other groups
 *     low-ports           as root: keeps the capability to bind ports below 1024
 *     fixed-layout        without address randomization, which is the program's to want (User Mode Linux)
 *     children            with pids: it may signal its children, of whom it can have only its own there, and as many as the
 *                         limit of open files lets it have
 *     filter HEX          system calls, as struct sock_filter[]
 *
 * Without a program it says the version of Landlock's interface and ends: a test of what can be had here.  The program
 * has no capability, no way to any, no core dumps, and sends signals to nobody but itself, unless it has children.  Exit status 125: it was not run.
 *
 * Sources: clone(2), pid_namespaces(7), user_namespaces(7), pivot_root(2), mount_setattr(2), landlock(7), seccomp(2),
 * capabilities(7).
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FAILED = 125, GRANTS = 512, GROUPS = 32, PATH_BYTES = 4096, STACK_BYTES = 8 << 20 };

/* Landlock's and mount_setattr's numbers, which the kernel's headers of a build may be too old to have. */
enum {
	SYS_TREE = 428, SYS_MOVE = 429, SYS_SETATTR = 442, SYS_RULESET = 444, SYS_RULE = 445, SYS_RESTRICT = 446,
	RULESET_VERSION = 1, PATH_BENEATH = 1,
	FS_EXECUTE = 1 << 0, FS_WRITE = 1 << 1, FS_READ = 1 << 2, FS_REMOVE = 1 << 5, FS_SOCKET = 1 << 9, FS_TRUNCATE = 1 << 14,
	FS_IOCTL = 1 << 15,
	NET_TCP = 3, SCOPE_ALL = 3,
	ABI_REFER = 2, ABI_TRUNCATE = 3, ABI_NET = 4, ABI_IOCTL = 5, ABI_SCOPE = 6,
	READ_ONLY = 1, NO_SUID = 2, NO_DEVICES = 4, MAPPED_IDS = 1 << 20,
	CLONE_TREE = 1, MOVE_FROM_FD = 4
};

struct ruleset { uint64_t fs, net, scoped; };
struct beneath { uint64_t access; int32_t parent; } __attribute__((packed));
struct attributes { uint64_t set, clear, propagation, userns; };

enum kind { FILE_GRANT, DEVICE_GRANT, DISK_GRANT, IMAGE_GRANT, SOCKETS_GRANT, REOPEN_GRANT, LINK_GRANT };

struct grant {
	enum kind kind;
	const char *from, *to;
	int fd;
};

struct jail {
	int gate;
	int pids, root, user, network, landlock, low_ports, fixed_layout, children;
	long uid;
	gid_t groups[GROUPS];
	size_t group_count;
	const char *filter;
	struct grant grants[GRANTS];
	size_t grant_count;
	int owners; /* the user namespace by which root's disks are this user's, or -1 */
	char **program;
};

static const char PLACE[] = "/tmp"; /* where the new root is mounted before it is the root: every system has it */

static void fail(const char *format, ...)
{
	int code = errno;
	va_list arguments;
	va_start(arguments, format);
	fputs("cannot be confined: ", stderr);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, ": %s\n", strerror(code));
	exit(FAILED);
}

static void check(long result, const char *what)
{
	if (result < 0)
		fail("%s", what);
}

/* ---- options ---- */

static long number(const char *text)
{
	char *end;
	errno = 0;
	long value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != 0 || value < 0) {
		errno = EINVAL;
		fail("%s", text);
	}
	return value;
}

static void read_groups(struct jail *jail, char *text)
{
	for (char *word = strtok(text, ","); word != NULL; word = strtok(NULL, ",")) {
		if (jail->group_count == GROUPS) {
			errno = E2BIG;
			fail("groups");
		}
		jail->groups[jail->group_count++] = (gid_t)number(word);
	}
}

static void grant(struct jail *jail, enum kind kind, const char *from, const char *to)
{
	if (jail->grant_count == GRANTS) {
		errno = E2BIG;
		fail("files");
	}
	int fd = kind == REOPEN_GRANT ? (int)number(from) : -1;
	jail->grants[jail->grant_count++] = (struct grant){kind, from, to, fd};
}

/* An option of so many words more; NULL where the words end first. */
static char **rest(char **at, int count)
{
	for (int i = 0; i <= count; i++)
		if (at[i] == NULL)
			return NULL;
	return at + count + 1;
}

static int flag(struct jail *jail, const char *word)
{
	struct { const char *word; int *where; } flags[] = {
		{"pids", &jail->pids}, {"root", &jail->root}, {"user", &jail->user},
		{"network", &jail->network}, {"landlock", &jail->landlock}, {"low-ports", &jail->low_ports},
		{"fixed-layout", &jail->fixed_layout}, {"children", &jail->children},
	};
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		if (strcmp(word, flags[i].word) == 0)
			return *flags[i].where = 1;
	return 0;
}

static char **option(struct jail *jail, char **at)
{
	struct { const char *word; enum kind kind; } grants[] = {
		{"file", FILE_GRANT}, {"device", DEVICE_GRANT}, {"disk", DISK_GRANT}, {"image", IMAGE_GRANT},
		{"sockets", SOCKETS_GRANT}, {"link", LINK_GRANT},
	};
	char **next;
	for (size_t i = 0; i < sizeof grants / sizeof *grants; i++)
		if (strcmp(*at, grants[i].word) == 0 && (next = rest(at, 2)) != NULL) {
			grant(jail, grants[i].kind, at[1], at[2]);
			return next;
		}
	if (flag(jail, *at))
		return at + 1;
	if ((next = rest(at, 1)) == NULL)
		return NULL;
	if (strcmp(*at, "gate") == 0)
		jail->gate = (int)number(at[1]);
	else if (strcmp(*at, "uid") == 0)
		jail->uid = number(at[1]);
	else if (strcmp(*at, "groups") == 0)
		read_groups(jail, at[1]);
	else if (strcmp(*at, "filter") == 0)
		jail->filter = at[1];
	else if (strcmp(*at, "reopen") == 0)
		grant(jail, REOPEN_GRANT, at[1], NULL);
	else
		return NULL;
	return next;
}

static void read_options(struct jail *jail, char **at)
{
	*jail = (struct jail){.gate = -1, .uid = -1, .owners = -1};
	while (*at != NULL) {
		if (strcmp(*at, "--") == 0) {
			jail->program = at + 1;
			return;
		}
		char *word = *at;
		at = option(jail, at);
		if (at == NULL) {
			errno = EINVAL;
			fail("%s", word);
		}
	}
}

/* ---- namespaces ---- */

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail("%s", path);
	close(fd);
}

static void map_ids(uid_t uid, gid_t gid)
{
	char text[64];
	write_to("/proc/self/setgroups", "deny");
	snprintf(text, sizeof text, "%u %u 1", uid, uid);
	write_to("/proc/self/uid_map", text);
	snprintf(text, sizeof text, "%u %u 1", gid, gid);
	write_to("/proc/self/gid_map", text);
}

/* For the mounts of disks.  Nobody lives in it: a child makes it and goes. */
static int map_owners(long uid)
{
	char path[64], map[64], word;
	int made[2];
	check(pipe2(made, O_CLOEXEC), "pipe");
	pid_t child = fork();
	check(child, "fork");
	if (child == 0) {
		word = unshare(CLONE_NEWUSER) < 0 ? (char)errno : 0;
		if (write(made[1], &word, 1) == 1)
			pause();
		_exit(FAILED);
	}
	close(made[1]);
	errno = read(made[0], &word, 1) == 1 ? word : EIO;
	close(made[0]);
	if (errno != 0)
		fail("user namespace");
	const char *maps[] = {"uid_map", "gid_map"};
	snprintf(map, sizeof map, "0 %ld 1", uid);
	for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
		snprintf(path, sizeof path, "/proc/%d/%s", child, maps[i]);
		write_to(path, map);
	}
	snprintf(path, sizeof path, "/proc/%d/ns/user", child);
	int space = open(path, O_RDONLY | O_CLOEXEC);
	check(space, path);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return space;
}

static int has_disks(const struct jail *jail)
{
	for (size_t i = 0; i < jail->grant_count; i++)
		if (jail->grants[i].kind == DISK_GRANT || jail->grants[i].kind == IMAGE_GRANT)
			return 1;
	return 0;
}

/* The child goes on; it is our parent's, who is told of it. */
static void enter_namespaces(const struct jail *jail)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	unsigned long spaces = (jail->root ? CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS : 0) |
		(jail->user ? CLONE_NEWUSER : 0) | (jail->network ? CLONE_NEWNET : 0) | (jail->pids ? CLONE_NEWPID : 0);
	if (jail->pids && jail->gate >= 0) {
		long child = syscall(SYS_clone, CLONE_PARENT | spaces, 0, 0, 0, 0);
		check(child, "namespaces");
		if (child > 0) {
			dprintf(jail->gate, "%ld\n", child);
			_exit(0);
		}
		check(setsid(), "setsid");
	} else if (spaces != 0) /* a container may forbid to ask for none, too */
		check(unshare((int)spaces), "namespaces"); /* with pids, and no child that would be in it: it can be had */
	if (jail->user)
		map_ids(uid, gid);
}

static void wait_at(int gate)
{
	char word[8];
	if (read(gate, word, sizeof word) <= 0)
		_exit(FAILED);
	close(gate);
}

/* ---- the root ---- */

static void open_files(struct jail *jail)
{
	for (size_t i = 0; i < jail->grant_count; i++) {
		struct grant *one = &jail->grants[i];
		if (one->kind != REOPEN_GRANT && one->kind != LINK_GRANT) {
			one->fd = open(one->from, O_PATH | O_CLOEXEC);
			check(one->fd, one->from);
		}
	}
}

/* A path below the new root, with the directories above it. */
static const char *place(const char *to)
{
	static char path[PATH_BYTES];
	int length = snprintf(path, sizeof path, "%s%s", PLACE, to);
	if (length < 0 || (size_t)length >= sizeof path) {
		errno = ENAMETOOLONG;
		fail("%s", to);
	}
	for (char *slash = path + sizeof PLACE; (slash = strchr(slash, '/')) != NULL; slash++) {
		*slash = 0;
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			fail("%s", path);
		*slash = '/';
	}
	return path;
}

static void set_attributes(const char *path, uint64_t set)
{
	struct attributes attributes = {.set = set};
	check(syscall(SYS_SETATTR, AT_FDCWD, path, 0, &attributes, sizeof attributes), path);
}

/* Whose owner is seen as another where `owners` is a user namespace. */
static void bind_to(int fd, const char *to, uint64_t attributes, int owners)
{
	struct attributes set = {.set = attributes};
	struct stat info;
	const char *path = place(to);
	check(fstat(fd, &info), to);
	if (S_ISDIR(info.st_mode)) {
		if (mkdir(path, 0755) < 0 && errno != EEXIST) /* it is there where what lies in it came first */
			fail("%s", to);
	} else {
		int made = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0444);
		if (made < 0 && errno == EEXIST)
			return; /* it came with a directory */
		check(made, to);
		close(made);
	}
	int tree = (int)syscall(SYS_TREE, fd, "", CLONE_TREE | O_CLOEXEC | AT_EMPTY_PATH);
	check(tree, to);
	if (owners >= 0) {
		set.set |= MAPPED_IDS;
		set.userns = (uint64_t)owners;
	}
	check(syscall(SYS_SETATTR, tree, "", AT_EMPTY_PATH, &set, sizeof set), to);
	check(syscall(SYS_MOVE, tree, "", AT_FDCWD, path, MOVE_FROM_FD), to);
	close(tree);
}

static void make_root(const struct jail *jail)
{
	check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "mounts");
	int fds = open("/proc/self/fd", O_PATH | O_CLOEXEC);
	check(fds, "/proc/self/fd");
	check(mount("tmpfs", PLACE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64k,nr_inodes=1k"), PLACE);
	bind_to(fds, "/proc/self/fd", NO_SUID | NO_DEVICES, -1);
	close(fds);
	check(symlink("/proc/self/fd", place("/dev/fd")), "/dev/fd");
	for (size_t i = 0; i < jail->grant_count; i++) {
		const struct grant *one = &jail->grants[i];
		if (one->kind == LINK_GRANT)
			check(symlink(one->from, place(one->to)), one->to);
		else if (one->kind == FILE_GRANT)
			bind_to(one->fd, one->to, READ_ONLY | NO_SUID | NO_DEVICES, -1);
		else if (one->kind == DEVICE_GRANT)
			bind_to(one->fd, one->to, NO_SUID, -1);
		else if (one->kind == DISK_GRANT || one->kind == SOCKETS_GRANT)
			bind_to(one->fd, one->to, NO_SUID | NO_DEVICES, one->kind == DISK_GRANT ? jail->owners : -1);
		else if (one->kind == IMAGE_GRANT)
			bind_to(one->fd, one->to, READ_ONLY | NO_SUID | NO_DEVICES, jail->owners);
	}
	set_attributes(PLACE, READ_ONLY);
	check(chdir(PLACE), PLACE);
	check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	check(umount2(".", MNT_DETACH), "umount");
	check(chdir("/"), "/");
}

/* ---- Landlock ---- */

static int landlock_version(void)
{
	long version = syscall(SYS_RULESET, NULL, 0, RULESET_VERSION);
	return version < 0 ? 0 : (int)version;
}

static void allow(int rules, int fd, uint64_t access, const char *what)
{
	struct beneath rule = {.access = access, .parent = fd};
	if (syscall(SYS_RULE, rules, PATH_BENEATH, &rule, 0) < 0 && errno != EBADFD) /* a file in memory needs no rule */
		fail("%s", what);
}

static void restrict_self(const struct jail *jail)
{
	int version = landlock_version();
	if (version == 0)
		return;
	int rights = version >= ABI_IOCTL ? 16 : version >= ABI_TRUNCATE ? 15 : version >= ABI_REFER ? 14 : 13;
	size_t size = version >= ABI_SCOPE ? 24 : version >= ABI_NET ? 16 : 8;
	struct ruleset attributes = {
		.fs = (UINT64_C(1) << rights) - 1,
		.net = version >= ABI_NET && jail->network ? NET_TCP : 0,
		.scoped = version >= ABI_SCOPE ? SCOPE_ALL : 0,
	};
	int rules = (int)syscall(SYS_RULESET, &attributes, size, 0);
	check(rules, "Landlock");
	for (size_t i = 0; i < jail->grant_count; i++) {
		const struct grant *one = &jail->grants[i];
		uint64_t access = FS_READ;
		if (one->kind == FILE_GRANT)
			access |= FS_EXECUTE;
		else if (one->kind == DISK_GRANT)
			access |= FS_WRITE | (version >= ABI_TRUNCATE ? FS_TRUNCATE : 0);
		else if (one->kind == SOCKETS_GRANT)
			access = FS_SOCKET | FS_REMOVE;
		else if (one->kind == DEVICE_GRANT)
			access |= FS_WRITE | (version >= ABI_IOCTL ? FS_IOCTL : 0);
		if (one->kind != LINK_GRANT)
			allow(rules, one->fd, access, one->from);
	}
	check(syscall(SYS_RESTRICT, rules, 0), "Landlock");
	close(rules);
}

/* ---- privileges ---- */

static void drop_privileges(const struct jail *jail)
{
	for (int number = 0; number <= 63; number++)
		if (!(jail->low_ports && number == CAP_NET_BIND_SERVICE))
			prctl(PR_CAPBSET_DROP, number, 0, 0, 0); /* there is an end to those that the kernel knows */
	if (geteuid() == 0 && !jail->user) {
		check(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "keepcaps");
		check(setgroups(jail->group_count, jail->groups), "setgroups");
		if (jail->uid >= 0) {
			check(setresgid((gid_t)jail->uid, (gid_t)jail->uid, (gid_t)jail->uid), "setresgid");
			check(setresuid((uid_t)jail->uid, (uid_t)jail->uid, (uid_t)jail->uid), "setresuid");
		}
	}
	uint32_t kept = jail->low_ports ? 1U << CAP_NET_BIND_SERVICE : 0;
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{.effective = kept, .permitted = kept, .inheritable = kept}};
	check(syscall(SYS_capset, &header, data), "capset");
	if (kept)
		check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0), "ambient");
	else
		check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "ambient");
	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no-new-privs");
}

static void set_limits(const struct jail *jail)
{
	struct rlimit limit;
	if (jail->children && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		check(setrlimit(RLIMIT_NOFILE, &limit), "open files");
	}
	if (!jail->fixed_layout)
		return;
	/* A container's filter, Docker's or podman's: it does without. */
	if (personality(PER_LINUX | ADDR_NO_RANDOMIZE) < 0 && errno != EPERM && errno != ENOSYS)
		fail("address layout");
	if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur > STACK_BYTES) {
		limit.rlim_cur = STACK_BYTES; /* of more, where it lies depends on how much */
		check(setrlimit(RLIMIT_STACK, &limit), "stack");
	}
}

/* ---- system calls ---- */

static void install(struct sock_filter *code, size_t count)
{
	struct sock_fprog program = {.len = (unsigned short)count, .filter = code};
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), "seccomp");
}

/* A signal to a process, or to one of its threads, goes to this one. */
static void keep_signals(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kill, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_tgkill, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)getpid(), 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	install(code, sizeof code / sizeof *code);
}

static int digit(char letter)
{
	const char *digits = "0123456789abcdef", *at = letter ? strchr(digits, letter) : NULL;
	if (at == NULL) {
		errno = EINVAL;
		fail("filter");
	}
	return (int)(at - digits);
}

static void filter_calls(const char *hex)
{
	static union { struct sock_filter code[BPF_MAXINSNS]; unsigned char bytes[1]; } program;
	size_t bytes = strlen(hex) / 2;
	if (bytes % sizeof *program.code != 0 || bytes > sizeof program.code) {
		errno = EINVAL;
		fail("filter");
	}
	unsigned char *to = (unsigned char *)program.code;
	for (size_t i = 0; i < bytes; i++)
		to[i] = (unsigned char)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
	install(program.code, bytes / sizeof *program.code);
}

/* Where the program is: without a root of its own, a file has but the name that it comes from. */
static const char *program_path(const struct jail *jail)
{
	for (size_t i = 0; !jail->root && i < jail->grant_count; i++)
		if (jail->grants[i].kind == FILE_GRANT && strcmp(jail->grants[i].to, jail->program[0]) == 0)
			return jail->grants[i].from;
	return jail->program[0];
}

/* A filter that refuses to start programs by name lets this one start by its descriptor. */
static void become(const char *path, int fd, char **program)
{
	execv(path, program);
	if (errno == EPERM && fd >= 0)
		syscall(SYS_execveat, fd, "", program, environ, AT_EMPTY_PATH);
	fail("%s", path);
}

int main(int argc, char **argv)
{
	static struct jail jail;
	struct rlimit none = {0, 0};
	(void)argc;
	read_options(&jail, argv + 1);
	umask(0022);
	if (jail.uid > 0 && has_disks(&jail))
		jail.owners = map_owners(jail.uid);
	enter_namespaces(&jail);
	if (jail.gate >= 0)
		wait_at(jail.gate);
	check(setrlimit(RLIMIT_CORE, &none), "core dumps");
	open_files(&jail);
	if (jail.root)
		make_root(&jail);
	else
		check(chdir("/"), "/");
	set_limits(&jail);
	drop_privileges(&jail);
	if (jail.landlock)
		restrict_self(&jail);
	if (!jail.children)
		keep_signals();
	umask(0077);
	const char *path = jail.program != NULL ? program_path(&jail) : NULL;
	int program = path != NULL ? open(path, O_PATH | O_CLOEXEC) : -1;
	if (jail.filter != NULL)
		filter_calls(jail.filter);
	if (jail.program == NULL) {
		printf("%d\n", landlock_version());
		return 0;
	}
	become(path, program, jail.program);
}
