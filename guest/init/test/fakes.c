#include "fakes.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../freeze.h"
#include "../grow.h"
#include "../operations.h"
#include "../signals.h"
#include "../util.h"
#include "../verity.h"
#include "check.h"

struct fake fakes[FAKES_MAX];
unsigned begun[HYPER_OP_VOLUME_FREEZE + 1];
struct request *held;
bool hold;

static void discard(struct fake *fake)
{
	for (int i = 0; i < 3; i++) {
		stream_free(&fake->streams[i]);
		close_fd(&fake->ends[i]);
	}
	fake->used = false;
}

void fakes_reset(void)
{
	for (int i = 0; i < FAKES_MAX; i++) {
		if (fakes[i].used)
			discard(&fakes[i]);
	}
	memset(begun, 0, sizeof begun);
	hold = false;
}

struct process *process_register(const struct request *request, struct failure *failure)
{
	static struct process any;
	struct fake *fake = &fakes[request->process % FAKES_MAX];
	if (fake->used || request->process >= FAKES_MAX) {
		(void)fail(failure, EEXIST, "there is one already");
		return NULL;
	}
	*fake = (struct fake){.used = true};
	for (uint32_t i = 0; i < 3; i++) {
		int pair[2];
		CHECK(pipe2(pair, O_CLOEXEC | O_NONBLOCK) == 0);
		stream_init(&fake->streams[i], request->process * 4 + i);
		fake->ends[i] = pair[i == 0 ? 0 : 1];
		stream_attach(&fake->streams[i], pair[i == 0 ? 1 : 0], false);
	}
	return &any;
}

void process_abandon(uint32_t id)
{
	if (id < FAKES_MAX && fakes[id].used)
		discard(&fakes[id]);
}

struct stream *process_stream(uint32_t number)
{
	bool there = number / 4 < FAKES_MAX && number % 4 < 3 && fakes[number / 4].used;
	return there ? &fakes[number / 4].streams[number % 4] : NULL;
}

void processes_describe(struct buffer *payload)
{
	(void)payload;
}

void processes_new_session(void)
{
	for (uint32_t i = 0; i < FAKES_MAX * 4; i++) {
		if (process_stream(i))
			stream_new_session(process_stream(i));
	}
}

void containers_describe(struct buffer *payload)
{
	field_text(payload, HYPER_CONTAINER, "fake");
}

static void begin(struct request *request)
{
	begun[request->operation]++;
	request_done(request, NULL, NULL);
}

void verity_watch(struct span fields)
{
	(void)fields;
}

void op_container_create(struct request *request)
{
	if (!hold) {
		begin(request);
		return;
	}
	begun[request->operation]++;
	CHECK(held == NULL);
	held = request;
}

void op_process_forget(struct request *request)
{
	process_abandon(request->process);
	begin(request);
}

#define PLAIN(name) \
	void name(struct request *request) \
	{ \
		begin(request); \
	}

PLAIN(op_container_destroy)
PLAIN(op_container_freeze)
PLAIN(op_container_update)
PLAIN(op_container_processes)
PLAIN(op_process_start)
PLAIN(op_process_signal)
PLAIN(op_process_resize)
PLAIN(op_configure)
PLAIN(op_set_time)
PLAIN(op_stats)
PLAIN(op_shutdown)
PLAIN(op_prepare)
PLAIN(op_volume_add)
PLAIN(op_volume_remove)
PLAIN(op_volume_grow)
PLAIN(op_volume_freeze)
