#include "launch.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "child.h"
#include "credentials.h"
#include "invm.h"
#include "place.h"
#include "program.h"
#include "system.h"

void launch_failed(const struct launch *launch, const struct failure *failure)
{
	struct note note = {.kind = NOTE_FAILED, .failure = *failure};
	(void)note_send(launch->report, &note);
	_exit(127);
}

static int join(const struct launch *launch, struct failure *failure)
{
	static const int kinds[] = {CLONE_NEWCGROUP, CLONE_NEWNS};
	for (int i = 0; i < 2; i++) {
		if (setns(launch->namespaces[1 - i], kinds[i]) != 0)
			return fail(failure, errno, "cannot join the container: %s", reason(errno));
		(void)close(launch->namespaces[1 - i]);
	}
	return 0;
}

/* ---- standard streams ---- */

/* What the name leads to may be anything: only a master of a devpts is taken. */
static int open_master(struct failure *failure)
{
	struct stat info;
	struct statfs filesystem;
	int unlock = 0;
	int fd = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fail(failure, errno, "terminal: cannot open /dev/pts/ptmx: %s", reason(errno));
	if (fstat(fd, &info) == 0 && S_ISCHR(info.st_mode) && info.st_rdev == makedev(5, 2) &&
	    fstatfs(fd, &filesystem) == 0 && filesystem.f_type == HS_DEVPTS_MAGIC && ioctl(fd, TIOCSPTLCK, &unlock) == 0)
		return fd;
	(void)close(fd);
	return fail(failure, EINVAL, "terminal: /dev/pts/ptmx is none");
}

/* Docker's /dev/console of a container is its terminal. */
static int bind_console(int terminal, struct failure *failure)
{
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int target = root < 0 ? -1 : place_make_file(root, "/dev/console", failure);
	int tree = target < 0 ? -1 : sys_open_tree(terminal, "", AT_EMPTY_PATH | HS_OPEN_TREE_CLONE | HS_OPEN_TREE_CLOEXEC);
	int done = tree < 0 ? -1
	                    : sys_move_mount(tree, "", target, "", HS_MOVE_MOUNT_F_EMPTY_PATH | HS_MOVE_MOUNT_T_EMPTY_PATH);
	if (done != 0 && target >= 0)
		(void)fail(failure, errno, "terminal: cannot mount it on /dev/console: %s", reason(errno));
	close_fd(&root);
	close_fd(&target);
	close_fd(&tree);
	return done;
}

static int open_terminal(struct launch *launch, struct failure *failure)
{
	struct winsize size = {.ws_row = (unsigned short)find_u32(launch->fields, HYPER_ROWS, 0),
	                       .ws_col = (unsigned short)find_u32(launch->fields, HYPER_COLUMNS, 0)};
	struct note note = {.kind = NOTE_TERMINAL, .count = 1};
	note.fds[0] = open_master(failure);
	if (note.fds[0] < 0)
		return -1;
	int terminal = ioctl(note.fds[0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (terminal < 0 || ioctl(note.fds[0], TIOCSWINSZ, &size) != 0)
		return fail(failure, errno, "terminal: cannot open it: %s", reason(errno));
	if (note_send(launch->report, &note) != 0)
		return fail(failure, errno, "terminal: cannot hand it over: %s", reason(errno));
	(void)close(note.fds[0]);
	if (ioctl(terminal, TIOCSCTTY, 0) != 0)
		return fail(failure, errno, "terminal: cannot make it the controlling one: %s", reason(errno));
	for (int i = 0; i < 3; i++)
		launch->stdio[i] = terminal;
	return launch->init ? bind_console(terminal, failure) : 0;
}

/* Puts the three where they belong, and gives them to the user, who may open them again by /dev/stdout. */
static int arrange_stdio(struct launch *launch, const struct identity *identity, struct failure *failure)
{
	struct stat info;
	for (int i = 0; i < 3; i++) {
		if (dup2(launch->stdio[i], i) < 0)
			return fail(failure, errno, "standard streams: %s", reason(errno));
		if (fstat(i, &info) != 0 || (S_ISCHR(info.st_mode) && info.st_rdev == makedev(1, 3)))
			continue;
		if (info.st_uid != identity->uid && fchown(i, identity->uid, S_ISCHR(info.st_mode) ? (gid_t)-1 : identity->gid) != 0)
			return fail(failure, errno, "standard streams: cannot give them to %u: %s", identity->uid, reason(errno));
	}
	return 0;
}

/* ---- the working directory ---- */

static int enter_directory(const struct launch *launch, bool *entered, struct failure *failure)
{
	struct span value = {(const uint8_t *)"/", 1};
	(void)field_find(launch->fields, HYPER_CWD, &value);
	char *path = span_text(value);
	if (!path)
		return fail(failure, ENOMEM, "no memory");
	if (*path != '/' && !*entered)
		return fail(failure, EINVAL, "chdir to cwd (\"%s\"): it is not absolute", path);
	/* Root's right to enter is enough; where even root has none (a mount), the user's is tried later. */
	bool last = *entered;
	*entered = chdir(path) == 0;
	if (!*entered && (last || errno != EACCES))
		return fail(failure, errno, "chdir to cwd (\"%s\"): %s", path, reason(errno));
	free(path);
	return 0;
}

/* ---- the reaping init ---- */

/* PID 1 that passes signals on to the program and reaps what it leaves; ends as the program ends. */
__attribute__((noreturn)) static void reap(pid_t program)
{
	sigset_t all;
	(void)prctl(PR_SET_NAME, "hyper-init");
	(void)sys_close_range(0, ~0u);
	(void)sigfillset(&all);
	for (;;) {
		siginfo_t info;
		int status;
		pid_t pid;
		if (sigwaitinfo(&all, &info) < 0)
			continue;
		if (info.si_signo != SIGCHLD)
			(void)kill(program, info.si_signo);
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			if (pid == program && (WIFEXITED(status) || WIFSIGNALED(status)))
				_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		}
	}
}

static int split_reaper(struct failure *failure)
{
	sigset_t all, none;
	(void)sigfillset(&all);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_BLOCK, &all, NULL); /* nothing is lost between the fork and the first wait */
	pid_t program = fork();
	if (program < 0)
		return fail(failure, errno, "cannot start the program: %s", reason(errno));
	if (program > 0)
		reap(program);
	/* In the terminal's foreground, so that a shell there does not stop itself. */
	(void)setpgid(0, 0);
	(void)tcsetpgrp(0, getpid()); /* SIGTTOU is blocked here */
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	return 0;
}

/* ---- all of it ---- */

static int prepare(struct launch *launch, struct identity *identity, char **environment, struct failure *failure)
{
	bool entered = false;
	(void)setsid();
	if (launch->in_vm ? invm_enter(launch, failure) != 0 : !launch->init && join(launch, failure) != 0)
		return -1;
	if (find_flag(launch->fields, HYPER_TTY) && open_terminal(launch, failure) != 0)
		return -1;
	if (credentials_find(launch->fields, identity, failure) != 0)
		return -1;
	if (program_home(environment, identity->home) != 0)
		return fail(failure, ENOMEM, "no memory");
	if (arrange_stdio(launch, identity, failure) != 0 || enter_directory(launch, &entered, failure) != 0)
		return -1;
	if (credentials_switch(launch->fields, launch->in_vm, identity, failure) != 0)
		return -1;
	if (!entered) {
		entered = true;
		if (enter_directory(launch, &entered, failure) != 0)
			return -1;
	}
	return 0;
}

void launch_main(struct launch *launch)
{
	struct failure failure = {0};
	static struct identity identity;
	char **arguments = program_vector(launch->fields, HYPER_ARG);
	char **environment = program_vector(launch->fields, HYPER_ENV);
	if (!arguments || !environment) {
		(void)fail(&failure, ENOMEM, "no memory");
		launch_failed(launch, &failure);
	}
	if (prepare(launch, &identity, environment, &failure) != 0)
		launch_failed(launch, &failure);
	if (launch->in_vm && invm_builtin(arguments))
		invm_run(arguments);
	if (launch->init && find_flag(launch->fields, HYPER_REAPER) && split_reaper(&failure) != 0)
		launch_failed(launch, &failure);
	if (credentials_seal(launch->fields, launch->in_vm, &identity, &failure) != 0)
		launch_failed(launch, &failure);
	(void)program_exec(arguments, environment, &failure);
	launch_failed(launch, &failure);
}
