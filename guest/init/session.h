/*
 * The session with the host over one byte pipe: frames in, frames out, cut and begun again at any byte.
 *
 * Invariants: what waits to be sent is bounded (answers by REQUESTS_MAX, streams by their rings), and nothing more is
 * read while too much of it waits; without a host nothing is written and nothing runs.
 */
#ifndef SESSION_H
#define SESSION_H

#include "wire.h"

/* A pipe that is open already (a port, a line), or the address of a listener: see port.h. */
int session_serve(int port, int listener);

/* Appends a message if the session is still `session`, or is any one for 0. */
void session_message(uint8_t type, uint32_t session, const struct buffer *payload);

/* Reads, runs requests and writes what can be; whether more could be done at once. */
bool session_pump(void);

/* Writes what is queued, waiting for the pipe at most so long. */
void session_flush(int milliseconds);

/* Ends the session: what comes next is taken as what comes first after boot. */
void session_end(void);

/* Whether so much waits for the host that what it can do without is better left unsaid. */
bool session_congested(void);

/* To the host, for its operator; dropped without one. */
void session_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
