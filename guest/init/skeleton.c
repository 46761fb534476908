#include "skeleton.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "place.h"
#include "root.h"

#define POINT "/s"

static bool same(struct span one, struct span other)
{
	return one.length == other.length && memcmp(one.data, other.data, one.length) == 0;
}

/* Leaves in `rest` what follows the planned ones; `all` where nothing with this tag may follow. */
static bool begins(struct span planned, struct span *rest, uint16_t tag, bool all)
{
	struct span wanted, found = {NULL, 0}, after;
	while (field_each(&planned, tag, &wanted)) {
		if (!field_each(rest, tag, &found) || !same(wanted, found))
			return false;
	}
	after = *rest;
	return !all || !field_each(&after, tag, &found);
}

bool skeleton_fits(struct span planned, struct span fields)
{
	struct span mounts = fields, devices = fields, masked = fields, frozen = fields;
	return !find_flag(fields, HYPER_PRIVILEGED) &&
	       begins(planned, &mounts, HYPER_MOUNT, false) && begins(planned, &devices, HYPER_DEVICE, false) &&
	       begins(planned, &masked, HYPER_MASKED_PATH, true) && begins(planned, &frozen, HYPER_READONLY_PATH, true);
}

int skeleton_make(struct span planned, struct failure *failure)
{
	if (mount("skeleton", POINT, "tmpfs", 0, "mode=0755") != 0)
		return fail(failure, errno, "%s: %s", POINT, reason(errno));
	int root = open(POINT, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return fail(failure, errno, "%s: %s", POINT, reason(errno));
	if (root_mounts(root, planned, failure) != 0 || root_devices(root, planned, failure) != 0 ||
	    root_protect(root, planned, failure) != 0)
		return -1;
	return close(root);
}

/* Whether another mount of the plan carries this one. */
static bool carried(struct span planned, struct span target)
{
	struct span each, other;
	while (field_each(&planned, HYPER_MOUNT, &each)) {
		if (field_find(each, HYPER_TARGET, &other) && other.length < target.length && target.data[other.length] == '/' &&
		    memcmp(other.data, target.data, other.length) == 0)
			return true;
	}
	return false;
}

static int move(int root, const char *path, struct failure *failure)
{
	char from[128], to[FD_PATH_BYTES];
	int target = place_make_directory(root, path, failure);
	if (target < 0)
		return -1;
	fd_path(target, to);
	int done = snprintf(from, sizeof from, POINT "%s", path) < (int)sizeof from ? mount(from, to, NULL, MS_MOVE, NULL) : -1;
	if (done != 0)
		(void)fail(failure, errno, "mount on %s: %s", path, reason(errno));
	(void)close(target);
	return done;
}

int skeleton_join(int root, struct span planned, struct span fields, struct failure *failure)
{
	struct span each, target, rest = planned, mounts = fields, devices = fields;
	while (field_each(&rest, HYPER_MOUNT, &each)) {
		(void)field_find(each, HYPER_TARGET, &target);
		if (carried(planned, target))
			continue;
		char *path = span_text(target);
		int done = path ? move(root, path, failure) : fail(failure, ENOMEM, "no memory");
		free(path);
		if (done != 0)
			return -1;
	}
	(void)begins(planned, &mounts, HYPER_MOUNT, false);
	(void)begins(planned, &devices, HYPER_DEVICE, false);
	if (root_mounts(root, mounts, failure) != 0 || root_files(root, fields, failure) != 0)
		return -1;
	return root_devices(root, devices, failure);
}
