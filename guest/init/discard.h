/* Directories that go, whatever a container has put in them. */
#ifndef DISCARD_H
#define DISCARD_H

#include "util.h"

/*
 * Removes the DIRECTORY of a disk.  It is out of the way at once, so that one of the same name can be made, even if the
 * rest should not come to its end; the next to be removed takes that with it.  Mounts the disk in the calling child's
 * own mount namespace; `unused` is called when it is mounted, to let go of what else held it.
 */
int disk_discard(struct span disk, void (*unused)(void *context), void *context, struct failure *failure);

#endif
