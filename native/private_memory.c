/*
 * Loaded into the QEMU of a clone (LD_PRELOAD).  Its guest's memory is a private mapping of the template's, a sealed
 * file.  To give pages back that the guest has freed, QEMU first punches a hole into the file, and where that fails,
 * gives nothing back.  The seal has to refuse the hole: the file is every clone's.  Here the hole counts as made, and
 * QEMU goes on to drop its private copies of the pages, which is all that there is to give back.
 */
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int make_hole(int fd, int mode, off_t offset, off_t length)
{
	int seals = (mode & FALLOC_FL_PUNCH_HOLE) ? fcntl(fd, F_GET_SEALS) : -1;
	if (seals >= 0 && (seals & F_SEAL_WRITE))
		return 0;
	return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
	return make_hole(fd, mode, offset, length);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
	return make_hole(fd, mode, offset, length);
}
