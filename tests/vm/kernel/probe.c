/* Init of the kernel tests' guest: tries what containers need of a kernel, a line each.
 *
 * "ok NAME" or "failed NAME: why".  The disks are known by their serials: erofs, squashfs, ext4, parts.  At
 * "waiting" the host plugs in a disk; "clock SECONDS" comes first and last; at "end" the machine stops.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/loop.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <linux/vm_sockets.h>
#include <mqueue.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static void report(const char *name, int ok)
{
	if (ok)
		printf("ok %s\n", name);
	else
		printf("failed %s: %s\n", name, strerror(errno));
}

static void fd_check(const char *name, int fd)
{
	report(name, fd >= 0);
	if (fd >= 0)
		close(fd);
}

static int contains(const char *path, const char *text)
{
	static char buffer[65536];
	size_t used = 0;
	FILE *file = fopen(path, "re");

	if (!file)
		return 0;
	used = fread(buffer, 1, sizeof buffer - 1, file);
	buffer[used] = 0;
	fclose(file);
	errno = ENOENT;
	return strstr(buffer, text) != NULL;
}

static int writes(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	int ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

static int mounted(const char *source, const char *where, const char *type, unsigned long flags, const char *data)
{
	mkdir(where, 0755);
	return mount(source, where, type, flags, data) == 0;
}

static void load_modules(void)
{
	char name[128], path[160];
	FILE *order = fopen("/modules/order", "re");

	while (order && fgets(name, sizeof name, order)) {
		name[strcspn(name, "\n")] = 0;
		snprintf(path, sizeof path, "/modules/%s", name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
			printf("failed module %s: %s\n", name, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	if (order)
		fclose(order);
}

/* The device node of the virtio disk with this serial, "" where there is none. */
static const char *disk(const char *serial)
{
	static char node[32];
	char path[64];

	for (char letter = 'a'; letter <= 'z'; letter++) {
		snprintf(path, sizeof path, "/sys/block/vd%c/serial", letter);
		if (contains(path, serial)) {
			snprintf(node, sizeof node, "/dev/vd%c", letter);
			return node;
		}
	}
	return "";
}

static void check_mounts(void)
{
	report("procfs", mounted("proc", "/proc", "proc", 0, NULL));
	report("sysfs", mounted("sysfs", "/sys", "sysfs", 0, NULL));
	report("devtmpfs", mounted("dev", "/dev", "devtmpfs", 0, NULL));
	report("devpts", mounted("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666"));
	fd_check("pty", open("/dev/pts/ptmx", O_RDWR | O_CLOEXEC));
	report("mqueue", mounted("mqueue", "/dev/mqueue", "mqueue", 0, NULL));
	report("hugetlbfs", mounted("none", "/huge", "hugetlbfs", 0, NULL));
	report("tmpfs", mounted("none", "/t", "tmpfs", 0, "size=16m,mode=0755"));
	report("cgroup2", mounted("none", "/cg", "cgroup2", 0, NULL));
	report("binfmt_misc", mounted("none", "/binfmt", "binfmt_misc", 0, NULL));
	for (const char **type = (const char *[]){"fuse", "virtiofs", "9p", "overlay", NULL}; *type; type++) {
		char name[32];

		snprintf(name, sizeof name, "filesystem-%s", *type);
		report(name, contains("/proc/filesystems", *type));
	}
}

static void check_xattrs(const char *what, const char *file)
{
	/* An access ACL in its wire form: version 2, then tag, permission, id for user, group, mask and others. */
	static const unsigned char acl[] = {
		2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 7, 0, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
		16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
	};
	static const unsigned char capability[20] = {1, 0, 0, 2, 0, 4};
	char name[64];

	snprintf(name, sizeof name, "%s-acl", what);
	report(name, setxattr(file, "system.posix_acl_access", acl, sizeof acl, 0) == 0);
	snprintf(name, sizeof name, "%s-file-capabilities", what);
	report(name, setxattr(file, "security.capability", capability, sizeof capability, 0) == 0);
	snprintf(name, sizeof name, "%s-trusted-xattr", what);
	report(name, setxattr(file, "trusted.note", "y", 1, 0) == 0);
}

static void check_disks(void)
{
	char value[8], node[48];

	report("erofs", mounted(disk("erofs"), "/erofs", "erofs", MS_RDONLY, NULL));
	report("erofs-xattr", getxattr("/erofs/file", "user.note", value, sizeof value) == 3);
	report("squashfs", mounted(disk("squashfs"), "/squashfs", "squashfs", MS_RDONLY, NULL));
	report("squashfs-xattr", getxattr("/squashfs/file", "user.note", value, sizeof value) == 3);
	report("ext4", mounted(disk("ext4"), "/ext4", "ext4", 0, NULL));
	report("ext4-write", writes("/ext4/file", "text"));
	check_xattrs("ext4", "/ext4/file");
	report("tmpfs-write", writes("/t/file", "text"));
	check_xattrs("tmpfs", "/t/file");
	mkdir("/ext4/upper", 0755);
	mkdir("/ext4/work", 0755);
	report("overlay", mounted("none", "/merged", "overlay", 0,
				  "lowerdir=/erofs:/squashfs,upperdir=/ext4/upper,workdir=/ext4/work"));
	report("overlay-read", contains("/merged/file", "content"));
	report("overlay-copy-up", writes("/merged/file", "changed") && contains("/ext4/upper/file", "changed"));
	report("overlay-whiteout", unlink("/merged/file") == 0 && access("/merged/file", F_OK) != 0);
	check_xattrs("overlay", "/merged/directory");
	snprintf(node, sizeof node, "%s2", disk("parts"));
	report("partitions", access(node, F_OK) == 0);
	report("9p", mounted("shared", "/9p", "9p", 0, "trans=virtio,version=9p2000.L") && contains("/9p/file", "content"));
	report("scsi-disk", access("/dev/sda", F_OK) == 0);
}

static void check_loop(void)
{
	char path[32];
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
	int backing = open("/t/image", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	snprintf(path, sizeof path, "/dev/loop%d", number);
	int loop = number < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);

	report("loop", loop >= 0 && ftruncate(backing, 1 << 20) == 0 && ioctl(loop, LOOP_SET_FD, backing) == 0);
	close(loop);
	close(backing);
	close(control);
}

static void check_cgroups(void)
{
	for (const char **name = (const char *[]){"memory", "cpu", "cpuset", "pids", "io", NULL}; *name; name++) {
		char label[32];

		snprintf(label, sizeof label, "cgroup-%s", *name);
		report(label, contains("/cg/cgroup.controllers", *name));
	}
	writes("/cg/cgroup.subtree_control", "+memory +cpu +pids +io");
	mkdir("/cg/group", 0755);
	report("cgroup-memory-limit", writes("/cg/group/memory.max", "16M"));
	report("cgroup-cpu-limit", writes("/cg/group/cpu.max", "50000 100000"));
	report("cgroup-pids-limit", writes("/cg/group/pids.max", "10"));
	report("cgroup-freeze", writes("/cg/group/cgroup.freeze", "1"));

	static const struct bpf_insn allow[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
			       .insns = (uintptr_t)allow,
			       .insn_cnt = 2,
			       .license = (uintptr_t) "GPL"};
	int program = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
	int group = open("/cg/group", O_DIRECTORY | O_CLOEXEC);
	union bpf_attr attach = {.target_fd = (unsigned)group,
				 .attach_bpf_fd = (unsigned)program,
				 .attach_type = BPF_CGROUP_DEVICE};

	report("cgroup-devices", program >= 0 && syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach) == 0);
}

static int in_child(int (*check)(int), int argument)
{
	int status = -1;
	pid_t child = fork();

	if (child == 0)
		_exit(check(argument) ? 0 : errno);
	if (waitpid(child, &status, 0) != child)
		return 0;
	errno = WEXITSTATUS(status);
	return WIFEXITED(status) && errno == 0;
}

static int unshares(int flag)
{
	return unshare(flag) == 0;
}

static int filters(int unused)
{
	(void)unused;
	struct sock_filter deny[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {4, deny};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0 && syscall(SYS_getppid) == -1 &&
	       errno == EXDEV;
}

static void check_processes(void)
{
	static const struct {
		const char *name;
		int flag;
	} spaces[] = {
		{"ns-mount", CLONE_NEWNS}, {"ns-uts", CLONE_NEWUTS},   {"ns-ipc", CLONE_NEWIPC},
		{"ns-net", CLONE_NEWNET},  {"ns-pid", CLONE_NEWPID},   {"ns-user", CLONE_NEWUSER},
		{"ns-time", 0x80},         {"ns-cgroup", CLONE_NEWCGROUP},
	};

	for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
		report(spaces[i].name, in_child(unshares, spaces[i].flag));
	report("seccomp", in_child(filters, 0));
	report("sysv-shm", shmget(IPC_PRIVATE, 4096, 0600) >= 0);
	report("sysv-sem", semget(IPC_PRIVATE, 1, 0600) >= 0);
	report("sysv-msg", msgget(IPC_PRIVATE, 0600) >= 0);
	fd_check("posix-mq", mq_open("/queue", O_RDWR | O_CREAT, 0600, NULL));
}

static void check_descriptors(void)
{
	sigset_t none;
	struct io_uring_params ring = {0};
	aio_context_t context = 0;
	char noise[16];

	sigemptyset(&none);
	fd_check("epoll", epoll_create1(EPOLL_CLOEXEC));
	fd_check("eventfd", eventfd(0, EFD_CLOEXEC));
	fd_check("signalfd", signalfd(-1, &none, SFD_CLOEXEC));
	fd_check("timerfd", timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	fd_check("inotify", inotify_init1(IN_CLOEXEC));
	fd_check("fanotify", fanotify_init(FAN_CLASS_NOTIF, O_RDONLY));
	fd_check("userfaultfd", (int)syscall(SYS_userfaultfd, O_CLOEXEC));
	fd_check("memfd", (int)syscall(SYS_memfd_create, "m", 1));
	fd_check("pidfd", (int)syscall(SYS_pidfd_open, 1, 0));
	fd_check("io_uring", (int)syscall(SYS_io_uring_setup, 4, &ring));
	report("aio", syscall(SYS_io_setup, 4, &context) == 0);
	report("core_pattern", writes("/proc/sys/kernel/core_pattern", "core"));
	report("random", getrandom(noise, sizeof noise, GRND_NONBLOCK) == sizeof noise);
	fd_check("hwrng", open("/dev/hwrng", O_RDONLY | O_CLOEXEC));
	fd_check("rtc", open("/dev/rtc0", O_RDONLY | O_CLOEXEC));
	report("transparent-hugepage", access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0);
	report("task-io", contains("/proc/self/io", "rchar"));
}

/* Sends one netlink message; 0 and errno where the kernel answers with an error or with nothing. */
static int netlink_accepts(int protocol, void *message, size_t length)
{
	char reply[8192];
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	struct timeval second = {1, 0};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
	ssize_t got = fd >= 0 && send(fd, message, length, 0) == (ssize_t)length ? recv(fd, reply, sizeof reply, 0) : -1;
	struct nlmsghdr *head = (struct nlmsghdr *)reply;

	close(fd);
	if (got < (ssize_t)sizeof *head)
		return 0;
	if (head->nlmsg_type == NLMSG_ERROR)
		errno = -((struct nlmsgerr *)NLMSG_DATA(head))->error;
	else
		errno = 0;
	return errno == 0;
}

static void check_link(const char *kind)
{
	char name[32];
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
		struct rtattr info;
		struct rtattr kind;
		char text[12];
	} message = {
		.head = {sizeof message, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, 1, 0},
		.info = {sizeof message.info + sizeof message.kind + sizeof message.text, IFLA_LINKINFO},
		.kind = {(unsigned short)(sizeof message.kind + strlen(kind)), IFLA_INFO_KIND},
	};

	strcpy(message.text, kind);
	snprintf(name, sizeof name, "link-%s", kind);
	report(name, netlink_accepts(NETLINK_ROUTE, &message, sizeof message));
}

static void check_network(void)
{
	struct {
		struct nlmsghdr head;
		struct nfgenmsg family;
	} generation = {
		.head = {sizeof generation, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, NLM_F_REQUEST, 1, 0},
	};
	struct ifreq tun = {.ifr_flags = IFF_TUN | IFF_NO_PI};

	fd_check("socket-unix", socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	fd_check("socket-inet", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	fd_check("socket-inet6", socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	fd_check("socket-packet", socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
	fd_check("socket-vsock", socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
	report("nftables", netlink_accepts(NETLINK_NETFILTER, &generation, sizeof generation));
	report("iptables", access("/proc/net/ip_tables_names", F_OK) == 0);
	report("conntrack", access("/proc/sys/net/netfilter/nf_conntrack_max", F_OK) == 0);
	for (const char **kind = (const char *[]){"bridge", "veth", "dummy", NULL}; *kind; kind++)
		check_link(*kind);
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	report("link-tun", fd >= 0 && ioctl(fd, TUNSETIFF, &tun) == 0);
	close(fd);
}

static void check_devices(void)
{
	report("virtio-net", access("/sys/class/net/eth0", F_OK) == 0);
	report("virtio-console", contains("/sys/class/virtio-ports/vport0p1/name", "agent"));
	for (const char **name = (const char *[]){"balloon", "mem", "rng", NULL}; *name; name++) {
		char path[64], label[32];

		snprintf(path, sizeof path, "/sys/bus/virtio/drivers/virtio_%s", *name);
		snprintf(label, sizeof label, "virtio-%s", *name);
		report(label, access(path, F_OK) == 0);
	}
	report("cpus", sysconf(_SC_NPROCESSORS_ONLN) == 2);
}

static void check_hotplug(int events)
{
	char event[4096];
	struct pollfd ready = {events, POLLIN, 0};

	puts("waiting");
	while (!*disk("plugged") && poll(&ready, 1, 20000) > 0)
		(void)!recv(events, event, sizeof event, 0);
	report("disk-hotplug", *disk("plugged") != 0);
}

static void tell_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("clock %lld.%03ld\n", (long long)now.tv_sec, now.tv_nsec / 1000000);
}

int main(void)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};

	setvbuf(stdout, NULL, _IOLBF, 0);
	tell_clock();
	load_modules();
	int events = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

	report("uevents", bind(events, (struct sockaddr *)&address, sizeof address) == 0);
	check_mounts();
	check_disks();
	check_loop();
	check_cgroups();
	check_processes();
	check_descriptors();
	check_network();
	check_devices();
	check_hotplug(events);
	tell_clock();
	puts("end");
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}
