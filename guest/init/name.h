/* What the host calls a block device: by the serial that the device itself says, or by the place where it stands. */
#ifndef NAME_H
#define NAME_H

#include <stdbool.h>

#define DISK_NAME_BYTES 65

/*
 * Whether `disk`, an entry of `list` (/sys/block), is the one that the host calls `serial`.  `places` is hyper.disks of
 * the kernel's command line, PLACE:SERIAL,... for disks that say no serial of the host's: PLACE is a device ("xvda"), a
 * SCSI address ("0:0:1:0"), or what the disk says instead (a serial, "naa.6000c29f...").  NULL where there are none.
 */
bool disk_named(int list, const char *disk, const char *serial, const char *places);

/* What has been learnt of them: before the first is looked for, and in a template, whose clones have others. */
void disks_forget(void);

#endif
