/*
 * Ids, capabilities, limits and the seccomp filter of a process that is about to exec, in the order in which each is
 * still allowed: `credentials_switch` as root, `credentials_seal` last of all.
 */
#ifndef CREDENTIALS_H
#define CREDENTIALS_H

#include "user.h"

/* Looks USER and GROUP up in the files of the root that the caller is in. */
int credentials_find(struct span fields, struct identity *identity, struct failure *failure);

/* Who "user[:group]" is in the files below `root`. */
int owner_find(int root, const char *owner, struct identity *identity, struct failure *failure);

/* RLIMIT, UMASK, bounding set, groups, gid and uid; capabilities are kept until they are set.  `almighty`: those that
 * the fields do not name are granted, but for ambient ones. */
int credentials_switch(struct span fields, bool almighty, const struct identity *identity, struct failure *failure);

/* Capabilities, NO_NEW_PRIVS and SECCOMP: after it only exec. */
int credentials_seal(struct span fields, bool almighty, const struct identity *identity, struct failure *failure);

#endif
