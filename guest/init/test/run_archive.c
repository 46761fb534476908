/* "run_archive ROOT PROGRAM ARGUMENT...": a program that works on a container's files, with a directory as its root. */
#include <stdio.h>
#include <unistd.h>

#include "../infile.h"

int main(int count, char **arguments)
{
	if (count < 3 || chroot(arguments[1]) != 0 || chdir("/") != 0) {
		perror("run_archive");
		return 1;
	}
	infile_run(arguments + 2);
}
