/*
 * Requests: checked, put in order, started when nothing earlier stands in their way, answered once.
 *
 * Invariants: requests on one container run one after another in the order they came; CONFIGURE and SHUTDOWN wait
 * for all before them and hold up all after them; a container waits for the volumes before it, and a volume goes after
 * the containers before it; what concerns a process waits for its PROCESS_START.  A new session
 * abandons those that have not begun.  At most REQUESTS_MAX wait (more are left unread in the pipe).
 */
#ifndef REQUEST_H
#define REQUEST_H

#include "util.h"
#include "wire.h"

#define REQUESTS_MAX 256
#define REQUEST_BYTES_MAX (2 * HYPER_MESSAGE_MAX)

struct request {
	struct request *next;
	uint32_t id;
	uint32_t session;
	uint16_t operation;
	bool begun;
	char container[HYPER_NAME_MAX + 1]; /* "" where the operation names none */
	uint32_t process;   /* 0 likewise */
	struct span fields;
	size_t length;
	uint8_t bytes[];
};

/* A REQUEST message as it came.  Answers with an error by itself where it is wrong. */
void request_submit(uint32_t session, struct span message);

/* Starts what can be started.  Called once a round. */
void requests_run(void);

/* The answer: `failure` NULL when done, `fields` may be NULL.  The request is gone afterwards. */
void request_done(struct request *request, const struct failure *failure, const struct buffer *fields);

void requests_abandon(void);
bool requests_full(void);

/* Whether containers or processes are being made: a WELCOME waits for them, so that it tells the whole truth. */
bool requests_making(void);

#endif
