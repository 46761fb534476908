/* CONFIGURE and SET_TIME: what makes a VM (which may be a clone of a template) this one. */
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "holder.h"
#include "net.h"
#include "operations.h"

#define CONFIGURE_MS 20000

static int set_time(struct span fields, struct failure *failure)
{
	struct span value;
	if (!field_find(fields, HYPER_TIME_NS, &value))
		return 0;
	uint64_t time_ns = get_u64(value.data);
	struct timespec now = {(time_t)(time_ns / 1000000000), (long)(time_ns % 1000000000)};
	if (clock_settime(CLOCK_REALTIME, &now) != 0)
		return fail(failure, errno, "cannot set the time: %s", reason(errno));
	return 0;
}

/* A clone must not draw the numbers that its template would have: the pool is stirred and used at once. */
static int add_entropy(struct span fields, struct failure *failure)
{
	struct span value;
	if (!field_find(fields, HYPER_ENTROPY, &value) || value.length == 0)
		return 0;
	struct rand_pool_info *info = malloc(sizeof *info + value.length);
	int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC), done = -1;
	if (info && fd >= 0) {
		info->entropy_count = (int)value.length * 8;
		info->buf_size = (int)value.length;
		memcpy(info->buf, value.data, value.length);
		done = ioctl(fd, RNDADDENTROPY, info);
		if (done == 0)
			done = ioctl(fd, RNDRESEEDCRNG);
	}
	if (done != 0)
		(void)fail(failure, errno, "cannot add entropy: %s", reason(errno));
	free(info);
	close_fd(&fd);
	return done;
}

static int set_names(struct span fields, struct failure *failure)
{
	struct span name;
	if (field_find(fields, HYPER_HOSTNAME, &name) && sethostname((const char *)name.data, name.length) != 0)
		return fail(failure, errno, "cannot set the host name: %s", reason(errno));
	if (field_find(fields, HYPER_DOMAINNAME, &name) && setdomainname((const char *)name.data, name.length) != 0)
		return fail(failure, errno, "cannot set the domain name: %s", reason(errno));
	return 0;
}

static int configure(const struct request *request, void *context, struct buffer *fields, struct failure *failure)
{
	struct span rest = request->fields, each;
	(void)context;
	(void)fields;
	if (add_entropy(request->fields, failure) != 0 || set_time(request->fields, failure) != 0 ||
	    set_names(request->fields, failure) != 0)
		return -1;
	while (field_each(&rest, HYPER_INTERFACE, &each)) {
		if (net_configure(each, failure) != 0)
			return -1;
	}
	return sysctls_write(request->fields, failure);
}

static bool all_present(struct span fields)
{
	struct span each, new_mac;
	while (field_each(&fields, HYPER_INTERFACE, &each)) {
		if (!field_find(each, HYPER_NEW_MAC, &new_mac) && !net_present(each)) /* a clone's is there, under its old address */
			return false;
	}
	return true;
}

void op_configure(struct request *request)
{
	struct failure failure = {0};
	struct work work = {.work = configure, .limit_ms = CONFIGURE_MS};
	/* A worker only where something must be waited for. */
	if (!all_present(request->fields)) {
		if (worker_start(request, &work, &failure) != 0)
			request_done(request, &failure, NULL);
		return;
	}
	request_done(request, configure(request, NULL, NULL, &failure) == 0 ? NULL : &failure, NULL);
}

void op_set_time(struct request *request)
{
	struct failure failure;
	request_done(request, set_time(request->fields, &failure) == 0 ? NULL : &failure, NULL);
}
