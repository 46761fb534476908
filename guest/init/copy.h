/* Copies of directories inside a VM: what an image has where a volume is mounted. */
#ifndef COPY_H
#define COPY_H

#include "util.h"

/*
 * Copies what is in the directory `from` (O_PATH will do) into the directory `to`, with owners, modes, times and
 * extended attributes, and gives `to` those of `from`; nothing where `to` has anything, where either is no directory,
 * and where `from` is as empty as `to`, which had been filled before.  No link is followed; mounts are not entered.
 * `name` is for people.
 */
int copy_up(int from, int to, const char *name, struct failure *failure);

#endif
