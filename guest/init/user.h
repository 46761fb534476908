/*
 * Who a process runs as: Docker's USER text, looked up in the texts of an image's own passwd and group files, which
 * are anything anybody wrote.  No I/O.  Lines that are not whole or not numbers where they should be are passed over.
 */
#ifndef USER_H
#define USER_H

#include "util.h"

#define GROUPS_MAX 1024
#define ID_MAX 2147483647u /* as Docker has it */

struct identity {
	uint32_t uid, gid;
	struct span home; /* in the passwd text, or "/" */
	uint32_t groups[GROUPS_MAX]; /* the gid first */
	size_t group_count;
};

/* "", "name", "uid", "name:group", "uid:gid" and so on. */
int identity_find(const char *user, struct span passwd, struct span group, struct identity *identity, struct failure *failure);

/* One more group, by name or number. */
int identity_add(const char *name, struct span group, struct identity *identity, struct failure *failure);

#endif
