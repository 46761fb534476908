#include "vm.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>

#include "cgroup.h"
#include "container.h"
#include "freeze.h"
#include "loop.h"
#include "net.h"
#include "system.h"
#include "util.h"
#include "volume.h"

#define NEW_ROOT "/hyper"
#define RAMFS 0x858458f6L
#define TMPFS 0x01021994L
#define COMPRESSED 4 /* MODULE_INIT_COMPRESSED_FILE */

#define TIDY_MS 1000
#define TERM_MS 1000
#define KILL_MS 2000
#define SYNC_MS 10000

static int old_root = -1; /* the initramfs, until it is emptied */
static struct deadline tidy;
static pid_t settling; /* a child of vm_boot that may still be at work */

/* ---- the beginning ---- */

static void must_mount(const char *type, const char *point, unsigned long flags, const char *data)
{
	if (mount(type, point, type, flags, data) != 0 && errno != EBUSY) {
		log_line("cannot mount %s on %s: %s", type, point, reason(errno));
		vm_fatal("no file systems");
	}
}

static void vm_directories(void)
{
	static const char *const names[] = {"l", "u", "r", "f", "s", "run", "tmp"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		(void)mkdir(names[i], 0755);
}

static void load_module(const char *name)
{
	char path[300];
	size_t length = strlen(name);
	bool packed = length > 3 && strcmp(name + length - 3, ".ko") != 0;
	(void)snprintf(path, sizeof path, "/modules/%s", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || (syscall(SYS_finit_module, fd, "", packed ? COMPRESSED : 0) != 0 && errno != EEXIST))
		log_line("module %s: %s", name, reason(errno));
	close_fd(&fd);
}

/* Of a kernel that has its drivers as modules: those that the host packed, in the order that it worked out. */
static void load_modules(void)
{
	char order[16384], *rest = order;
	if (read_text_at(AT_FDCWD, "/modules/order", order, sizeof order) < 0)
		return;
	for (char *line; (line = strsep(&rest, "\n"));) {
		if (*line)
			load_module(line);
	}
}

/* Frees the memory of the initramfs; stays on its file system. */
static void delete_all(int parent, const char *name, dev_t device, int depth)
{
	struct stat info;
	int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *list = dir < 0 ? NULL : fdopendir(dir);
	if (!list) {
		close_fd(&dir);
		return;
	}
	for (struct dirent *entry; (entry = readdir(list));) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    fstatat(dir, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 || info.st_dev != device)
			continue;
		if (S_ISDIR(info.st_mode) && depth < 16)
			delete_all(dir, entry->d_name, device, depth + 1);
		(void)unlinkat(dir, entry->d_name, S_ISDIR(info.st_mode) ? AT_REMOVEDIR : 0);
	}
	(void)closedir(list);
}

/*
 * The initramfs cannot be left by pivot_root, so a tmpfs takes its place: containers then leave that, and what lies
 * below it is empty.
 */
static void tidy_up(struct deadline *deadline);

static void replace_root(int old)
{
	if (chdir(NEW_ROOT) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
		vm_fatal("cannot replace the initramfs");
	old_root = old;
	tidy.expired = tidy_up;
}

/* Not at once: it takes tens of milliseconds of an emulated processor, and a short-lived VM needs none of it. */
static void tidy_up(struct deadline *deadline)
{
	struct statfs filesystem;
	struct stat info;
	(void)deadline;
	if (fstatfs(old_root, &filesystem) == 0 && fstat(old_root, &info) == 0 &&
	    ((long)filesystem.f_type == RAMFS || (long)filesystem.f_type == TMPFS))
		delete_all(old_root, ".", info.st_dev, 0);
	close_fd(&old_root);
}

/* What the first container needs, in parallel with the way to it, where there is a second processor. */
static void begin_settling(void)
{
	settling = fork();
	if (settling != 0)
		return;
	cgroup_mount();
	if (net_loopback_up() != 0)
		log_line("loopback: %s", reason(errno));
	_exit(0);
}

void vm_settle(void)
{
	if (settling > 0)
		(void)waitpid(settling, NULL, 0);
	settling = 0;
}

static void null_stdio(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3 && fd >= 0; i++)
		(void)dup2(fd, i);
	if (fd > 2)
		(void)close(fd);
}

void vm_boot(void)
{
	int old = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)umask(022);
	(void)mkdir(NEW_ROOT, 0755);
	must_mount("tmpfs", NEW_ROOT, MS_NOSUID | MS_NODEV, "mode=0755");
	if (chdir(NEW_ROOT) != 0 || mkdir("proc", 0555) != 0 || mkdir("sys", 0555) != 0 || mkdir("dev", 0755) != 0)
		vm_fatal("no directories");
	vm_directories();
	must_mount("devtmpfs", "dev", MS_NOSUID, "mode=0755");
	must_mount("proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	must_mount("sysfs", "sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	load_modules();
	replace_root(old);
	null_stdio();
	begin_settling();
	(void)umask(0);
}

void vm_serving(void)
{
	if (old_root >= 0)
		loop_arm(&tidy, TIDY_MS);
}

bool vm_tidy(void)
{
	if (old_root < 0)
		return false;
	loop_disarm(&tidy);
	tidy_up(&tidy);
	return true;
}

bool vm_argument(const char *name, char *value, size_t size)
{
	char line[4096], *rest = line;
	size_t length = strlen(name);
	if (read_text_at(AT_FDCWD, "/proc/cmdline", line, sizeof line) < 0)
		return false;
	for (char *word; (word = strsep(&rest, " \n"));) {
		if (strncmp(word, name, length) == 0 && word[length] == '=')
			return snprintf(value, size, "%s", word + length + 1) < (int)size;
	}
	return false;
}

/* ---- the end ---- */

/* Reaps until no child is left (or none but those of `sparing`), at most so long. */
static void reap_all(int milliseconds)
{
	sigset_t child;
	int64_t end = clock_ns(CLOCK_MONOTONIC) + (int64_t)milliseconds * 1000000;
	(void)sigemptyset(&child);
	(void)sigaddset(&child, SIGCHLD);
	for (;;) {
		pid_t pid;
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			continue;
		int64_t left = end - clock_ns(CLOCK_MONOTONIC);
		if (pid < 0 || left <= 0)
			return;
		struct timespec wait = {left / 1000000000, left % 1000000000};
		(void)sigtimedwait(&child, NULL, &wait);
	}
}

/* A machine without a switch (hyper.off=reset) ends by a reset; the line, its last, tells that from a reboot. */
__attribute__((noreturn)) static void off(void)
{
	char how[8];
	if (vm_argument("hyper.off", how, sizeof how) && strcmp(how, "reset") == 0)
		log_line("off");
	else
		(void)reboot(RB_POWER_OFF);
	(void)reboot(RB_AUTOBOOT);
	for (;;)
		(void)pause();
}

void vm_power_off(void)
{
	freezes_end(); /* who waits to write to one could not be ended */
	bool running = containers_running();
	if (running && kill(-1, SIGTERM) == 0)
		reap_all(TERM_MS);
	containers_kill();
	(void)kill(-1, SIGKILL);
	reap_all(KILL_MS);
	/* In a child, because a disk that hangs must not keep the VM. */
	pid_t pid = containers_mounted() || volumes_any() ? fork() : -1;
	if (pid == 0) {
		containers_unmount();
		volumes_unmount();
		sync();
		_exit(0);
	}
	if (pid > 0)
		reap_all(SYNC_MS);
	off();
}

void vm_fatal(const char *what)
{
	log_line("fatal: %s", what);
	if (getpid() != 1)
		_exit(1);
	sync();
	off();
}
