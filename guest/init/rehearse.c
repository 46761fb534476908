/*
 * `hyperstart --rehearse`, in a container of a VM that is being made ready: does a little of what most programs do, so
 * that an emulator has that part of the kernel translated before the first program comes that somebody waits for.
 */
#include "rehearse.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "/rehearsal"

static void files(void)
{
	char text[64];
	struct stat info;
	int fd = open(NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return;
	(void)write(fd, "rehearsal", 9);
	(void)lseek(fd, 0, SEEK_SET);
	(void)read(fd, text, sizeof text);
	(void)fstat(fd, &info);
	void *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map != MAP_FAILED)
		(void)munmap(map, 4096);
	(void)close(fd);
	(void)unlink(NAME);
}

static void processes(void)
{
	int status, ends[2];
	char byte;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return;
	pid_t pid = fork();
	if (pid == 0) {
		(void)write(ends[1], "x", 1);
		(void)execl("/proc/self/exe", "hyperstart", "--version", (char *)NULL);
		_exit(0);
	}
	(void)close(ends[1]);
	while (read(ends[0], &byte, 1) > 0)
		continue;
	(void)close(ends[0]);
	if (pid > 0)
		(void)waitpid(pid, &status, 0);
}

int rehearse(void)
{
	char bytes[32];
	files();
	(void)getrandom(bytes, sizeof bytes, 0);
	void *memory = malloc(1 << 20);
	if (memory)
		memset(memory, 1, 1 << 20);
	free(memory);
	processes();
	return printf("rehearsed\n") < 0;
}
