#include "request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "freeze.h"
#include "grow.h"
#include "operations.h"
#include "process.h"
#include "schema.h"
#include "session.h"
#include "signals.h"
#include "verity.h"
#include "volume.h"

static struct request *requests, **requests_tail = &requests;
static unsigned count;
static size_t bytes;

static void (*const operations[])(struct request *request) = {
	[HYPER_OP_CONFIGURE] = op_configure,
	[HYPER_OP_CONTAINER_CREATE] = op_container_create,
	[HYPER_OP_PROCESS_START] = op_process_start,
	[HYPER_OP_PROCESS_SIGNAL] = op_process_signal,
	[HYPER_OP_PROCESS_RESIZE] = op_process_resize,
	[HYPER_OP_PROCESS_FORGET] = op_process_forget,
	[HYPER_OP_CONTAINER_DESTROY] = op_container_destroy,
	[HYPER_OP_CONTAINER_FREEZE] = op_container_freeze,
	[HYPER_OP_CONTAINER_PROCESSES] = op_container_processes,
	[HYPER_OP_STATS] = op_stats,
	[HYPER_OP_CONTAINER_UPDATE] = op_container_update,
	[HYPER_OP_SHUTDOWN] = op_shutdown,
	[HYPER_OP_SET_TIME] = op_set_time,
	[HYPER_OP_PREPARE] = op_prepare,
	[HYPER_OP_VOLUME_ADD] = op_volume_add,
	[HYPER_OP_VOLUME_REMOVE] = op_volume_remove,
	[HYPER_OP_VOLUME_GROW] = op_volume_grow,
	[HYPER_OP_VOLUME_FREEZE] = op_volume_freeze,
};

static void respond(uint32_t session, uint32_t id, const struct failure *failure, const struct buffer *fields)
{
	struct buffer response = {0};
	buffer_u32(&response, id);
	buffer_u32(&response, failure ? (uint32_t)failure->error : 0);
	if (failure)
		field_text(&response, HYPER_MESSAGE, failure->text);
	if (fields)
		buffer_put(&response, fields->data, fields->length);
	response.failed |= fields && fields->failed;
	session_message(HYPER_RESPONSE, session, &response);
	buffer_free(&response);
}

static void forget(struct request *request)
{
	struct request **at = &requests;
	while (*at != request)
		at = &(*at)->next;
	*at = request->next;
	if (requests_tail == &request->next)
		requests_tail = at;
	count--;
	bytes -= request->length;
	free(request);
}

void request_done(struct request *request, const struct failure *failure, const struct buffer *fields)
{
	respond(request->session, request->id, failure, fields);
	forget(request);
}

/* Checks all of it; what is right now stays right. */
static int examine(struct request *request, struct failure *failure)
{
	const struct rule *rules = schema_of(request->operation);
	char why[128];
	struct span name;
	if (!rules || request->bytes[6] || request->bytes[7])
		return fail(failure, EOPNOTSUPP, "operation %u is not known", request->operation);
	if (schema_check(rules, request->fields, why, sizeof why) != 0)
		return fail(failure, EINVAL, "operation %u: %s", request->operation, why);
	if (field_find(request->fields, HYPER_CONTAINER, &name)) {
		bool in_vm = request->operation == HYPER_OP_PROCESS_START && name.length == 0;
		if (!in_vm && !container_name_ok(name))
			return fail(failure, EINVAL, "operation %u: not a container's name", request->operation);
		memcpy(request->container, name.data, name.length);
	}
	request->process = find_u32(request->fields, HYPER_PROCESS, 0);
	if (request->operation == HYPER_OP_PROCESS_START && !process_register(request, failure))
		return -1;
	return 0;
}

void request_submit(uint32_t session, struct span message)
{
	struct failure failure;
	struct request *request = calloc(1, sizeof *request + message.length);
	if (!request) {
		(void)fail(&failure, ENOMEM, "no memory for the request");
		respond(session, get_u32(message.data), &failure, NULL);
		return;
	}
	memcpy(request->bytes, message.data, message.length);
	request->length = message.length;
	request->id = get_u32(request->bytes);
	request->session = session;
	request->operation = (uint16_t)(request->bytes[4] | request->bytes[5] << 8);
	request->fields = (struct span){request->bytes + 8, message.length - 8};
	if (examine(request, &failure) != 0) {
		respond(session, request->id, &failure, NULL);
		free(request);
		return;
	}
	*requests_tail = request;
	requests_tail = &request->next;
	count++;
	bytes += request->length;
}

bool requests_full(void)
{
	return count >= REQUESTS_MAX || bytes > REQUEST_BYTES_MAX;
}

static bool is_barrier(const struct request *request)
{
	return request->operation == HYPER_OP_CONFIGURE || request->operation == HYPER_OP_SHUTDOWN ||
	       request->operation == HYPER_OP_PREPARE;
}

static bool is_volumes(const struct request *request)
{
	return request->operation >= HYPER_OP_VOLUME_ADD && request->operation <= HYPER_OP_VOLUME_FREEZE;
}

/* A container has the volumes that were added before it, and keeps them until it is gone. */
static bool concern_volumes(const struct request *earlier, const struct request *request)
{
	if (is_volumes(earlier))
		return is_volumes(request) || request->operation == HYPER_OP_CONTAINER_CREATE;
	return request->operation == HYPER_OP_VOLUME_REMOVE && (earlier->operation == HYPER_OP_CONTAINER_CREATE ||
	                                                         earlier->operation == HYPER_OP_CONTAINER_DESTROY);
}

static bool in_the_way(const struct request *earlier, const struct request *request)
{
	if (is_barrier(earlier) || is_barrier(request) || concern_volumes(earlier, request))
		return true;
	if (earlier->container[0] && strcmp(earlier->container, request->container) == 0)
		return true;
	return earlier->operation == HYPER_OP_PROCESS_START && earlier->process == request->process;
}

static bool can_begin(const struct request *request)
{
	for (const struct request *earlier = requests; earlier != request; earlier = earlier->next) {
		if (in_the_way(earlier, request))
			return false;
	}
	return true;
}

void requests_run(void)
{
	struct request *request = requests;
	while (request) {
		if (request->begun || !can_begin(request)) {
			request = request->next;
			continue;
		}
		request->begun = true;
		verity_watch(request->fields);
		operations[request->operation](request);
		request = requests; /* it may be gone, and have cleared the way for others */
	}
}

void requests_abandon(void)
{
	struct request *next;
	for (struct request *request = requests; request; request = next) {
		next = request->next;
		if (request->begun)
			continue;
		if (request->operation == HYPER_OP_PROCESS_START)
			process_abandon(request->process);
		forget(request);
	}
}

bool requests_making(void)
{
	for (const struct request *request = requests; request; request = request->next) {
		if (request->begun &&
		    (request->operation == HYPER_OP_CONTAINER_CREATE || request->operation == HYPER_OP_PROCESS_START))
			return true;
	}
	return false;
}
