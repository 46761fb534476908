/*
 *     locker flock|fcntl FILE COMMAND...    waits for the lock of the file, and becomes the command, which has it
 *     locker try FILE                       as `fcntl`, without waiting
 *     locker map FILE                       adds one to a number in a shared mapping, and shows what read(2) has of it
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = argc > 2 ? open(argv[2], O_RDWR | O_CREAT, 0644) : -1, result = -1;
	if (fd >= 0 && strcmp(argv[1], "flock") == 0)
		result = flock(fd, LOCK_EX);
	else if (fd >= 0 && strcmp(argv[1], "map") == 0) {
		unsigned seen = 0;
		unsigned *at = ftruncate(fd, 4096) == 0 ? mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
		result = at == MAP_FAILED ? -1 : 0;
		if (result == 0)
			++*at;
		if (result == 0 && pread(fd, &seen, sizeof seen, 0) == sizeof seen)
			printf("%u\n", seen);
	} else if (fd >= 0)
		result = fcntl(fd, strcmp(argv[1], "try") == 0 ? F_SETLK : F_SETLKW, &all);
	if (result == 0 && argc > 3)
		execvp(argv[3], argv + 3);
	if (result != 0)
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
	return result != 0;
}
