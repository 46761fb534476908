/*
 * "run_archive ROOT PROGRAM ARGUMENT...": a program that works on a container's files, with a directory as its root.
 * "hyper-layer UPPER LOWER" and "hyper-changes UPPER LOWER" take the directories themselves, in place of their disks.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../archive.h"
#include "../infile.h"

int main(int count, char **arguments)
{
	if (count < 3 || chroot(arguments[1]) != 0 || chdir("/") != 0) {
		perror("run_archive");
		return 1;
	}
	bool words = strcmp(arguments[2], ARCHIVE_CHANGES) == 0;
	if (words || strcmp(arguments[2], ARCHIVE_LAYER) == 0)
		archive_changes(words, open(arguments[3], O_RDONLY | O_DIRECTORY), open(arguments[4], O_RDONLY | O_DIRECTORY));
	if (strcmp(arguments[2], ARCHIVE_EXPORT) == 0)
		archive_export(open("/", O_PATH | O_DIRECTORY));
	infile_run(arguments + 2);
}
