/* What the parts of usernet.c share; the program is described there. */
#ifndef USERNET_H
#define USERNET_H

#include <libslirp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "usernet_gate.h"

enum {
	SOCKETS = 8192, FOR_HOST = 128, FOR_CONTROL = 32, /* kept for who comes by a forward, and for who asks for one */
	FORWARDS = 4096, BACKLOG = 128,
	ASKERS = 8, REQUEST_BYTES = 256, WORDS = 8,
	BATCH = 64, SEND_BUFFER = 4 << 20, DEFAULT_MTU = 1500, MIN_MTU = 68, MAX_MTU = 65521,
	STILL_MS = 600000, FULL_MS = 500, PORT_MAX = 65535
};

/* Where in `polls` the sockets are that are not libslirp's. */
enum { FRAMES, CONTROL, FIRST_ASKER, FIRST_SOCKET = FIRST_ASKER + ASKERS };

struct forward {
	int udp;
	struct in_addr host, guest;
	int host_port, guest_port;
};

struct asker {
	int fd; /* -1: none */
	uint64_t turn; /* of its last request */
};

struct usernet {
	int frames, control, tap; /* whether `frames` is one */
	Slirp *slirp;
	SlirpConfig config;
	struct gate gate;
	struct asker askers[ASKERS];
	uint64_t turn;
	struct forward held[FORWARDS];
	size_t forwards, sockets; /* how many are held; how many libslirp has polled, the last time */
	long socket_limit;
	int closed; /* nobody is let in at the moment */
	int full; /* the guest's card takes no more at the moment */
	int64_t timer_ms, busy_ms; /* when libslirp's timer ends, -1: not; when there was something to do */
	struct forward wanted[FORWARDS]; /* from the start */
	size_t wanted_count;
	struct pollfd polls[FIRST_SOCKET + SOCKETS];
	uint8_t frame[MAX_FRAME + 1];
};

/* Says why on standard error, and ends. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- usernet_options.c ---- */

/* From the words behind the program's name. */
void read_options(struct usernet *self, char **at);

/* Cuts a text at each separator; how many words there are, at most `max`, or max + 1. */
size_t split(char *text, const char *separator, char **words, size_t max);

/* A decimal number up to `max`, or -1. */
long number(const char *text, long max);

/* `tcp 127.0.0.1 8080`, and if there are so many words `10.0.2.15 80`; what is wrong with them, or NULL. */
const char *read_forward(char *const *words, size_t count, struct forward *forward);

/* ---- usernet_control.c ---- */

/* The descriptor that is made next: the lowest that is free. */
int next_descriptor(const struct usernet *self);

/* Whether it is a socket that does. */
int listens(int fd);

/* What stands against it is told in `problem`; whether nothing does. */
int add_forward(struct usernet *self, const struct forward *one, char *problem, size_t bytes);

/* Takes who asks, and answers, as `polls` says. */
void serve_askers(struct usernet *self);

#endif
