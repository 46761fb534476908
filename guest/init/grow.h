/* An ext4 gets all of its disk, while it is used. */
#ifndef GROW_H
#define GROW_H

#include "request.h"

/* The one that is mounted where `root` is, which is open, whatever its disk has by now; no ext4 is left as it is. */
int grow_to_disk(int root, struct failure *failure);

void op_volume_grow(struct request *request);

#endif
