#include "session.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "container.h"
#include "loop.h"
#include "process.h"
#include "request.h"
#include "stream.h"
#include "util.h"
#include "version.h"

#define OUT_ENOUGH 65536            /* gathered for one write */
#define OUT_KEPT (4 * OUT_ENOUGH)
#define ANSWERS_MAX (1024 * 1024)   /* waiting to be sent: beyond, nothing is read */
#define ROUND_BYTES (4 * 65536)     /* read in one round */

static struct wire_reader reader;
static struct watch port = {.fd = -1}, listener = {.fd = -1};
static bool readable, writable;
static bool welcome_due;
static struct buffer answers; /* whole frames, in order */
static struct buffer out;     /* being written */
static size_t out_done;

static void new_session(void)
{
	requests_abandon();
	buffer_free(&answers);
	buffer_free(&out);
	out_done = 0;
	streams_new_session();
	processes_new_session();
	welcome_due = false;
}

/* The session is over: everything goes on, but nothing is said. */
static void cut(void)
{
	new_session();
	wire_lose(&reader);
}

void session_message(uint8_t type, uint32_t session, const struct buffer *payload)
{
	if (reader.session == 0 || (session != 0 && session != reader.session) || payload->failed)
		return;
	if (welcome_due && type == HYPER_EVENT) /* WELCOME will tell */
		return;
	message_put(&answers, type, reader.session, payload);
	if (answers.failed) /* no memory for an answer: the host must not wait for it in vain */
		cut();
}

bool session_congested(void)
{
	return answers.length > ANSWERS_MAX;
}

void session_log(const char *format, ...)
{
	char text[1025];
	va_list arguments;
	if (session_congested())
		return;
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	struct buffer event = {0};
	buffer_u16(&event, HYPER_EVENT_LOG);
	buffer_u16(&event, 0);
	buffer_u32(&event, 0);
	field_text(&event, HYPER_MESSAGE, text);
	session_message(HYPER_EVENT, 0, &event);
	buffer_free(&event);
}

/* ---- what comes ---- */

static void hello(void)
{
	uint32_t session = reader.session;
	new_session();
	reader.session = session;
	welcome_due = true;
}

static void welcome(void)
{
	struct buffer payload = {0}, later = answers;
	struct utsname names;
	answers = (struct buffer){0};
	buffer_u32(&payload, HYPER_VERSION);
	buffer_u32(&payload, reader.session);
	field_text(&payload, HYPER_AGENT, HYPERSTART_VERSION);
	field_text(&payload, HYPER_KERNEL, uname(&names) == 0 ? names.release : "");
	field_u64(&payload, HYPER_UPTIME_NS, (uint64_t)clock_ns(CLOCK_BOOTTIME));
	containers_describe(&payload);
	processes_describe(&payload);
	buffer_put(&answers, HYPER_SYNC, HYPER_SYNC_BYTES);
	welcome_due = false;
	session_message(HYPER_WELCOME, 0, &payload);
	buffer_put(&answers, later.data, later.length); /* to requests that were wrong in themselves */
	buffer_free(&later);
	buffer_free(&payload);
}

/* -1: against the contract. */
static int stream_frame(const struct wire_event *event)
{
	struct stream *stream = process_stream(event->stream);
	size_t length = event->data.length;
	if (event->type == HYPER_CREDIT ? length != 16 : event->type == HYPER_DATA ? length == 0 : length != 0)
		return -1;
	/* Its process was forgotten, or never began. */
	if (!stream)
		return 0;
	switch (event->type) {
	case HYPER_DATA:
		return stream->input ? stream_accept(stream, event->data) : -1;
	case HYPER_EOF:
		if (stream->input)
			stream_accept_eof(stream);
		return stream->input ? 0 : -1;
	case HYPER_CREDIT:
		return stream->input ? -1 : stream_credit(stream, get_u64(event->data.data), get_u64(event->data.data + 8));
	default:
		if (!stream->input)
			stream_drop(stream);
		return stream->input ? -1 : 0;
	}
}

static int frame(const struct wire_event *event)
{
	if (event->type == HYPER_PONG)
		return 0;
	if (event->type != HYPER_PING)
		return stream_frame(event);
	if (event->data.length > HYPER_PING_MAX)
		return -1;
	frame_put(&answers, HYPER_PONG, 0, 0, reader.session, event->data.data, event->data.length);
	return 0;
}

static void take(const struct wire_event *event)
{
	if (event->kind == WIRE_LOST) {
		new_session();
	} else if (event->kind == WIRE_MESSAGE && event->type == HYPER_HELLO && event->data.length == 8) {
		hello(); /* a HELLO has no fields in this version, so one with fields is not understood */
	} else if (event->kind == WIRE_MESSAGE && event->type == HYPER_REQUEST && event->data.length >= 8) {
		request_submit(reader.session, event->data);
	} else if (event->kind == WIRE_MESSAGE || frame(event) != 0) {
		session_log("frame of type %u on stream %u is against the contract; the session ends", event->type, event->stream);
		session_flush(0);
		cut();
	}
}

static bool congested(void)
{
	return session_congested() || requests_full();
}

/* ---- the pipe ---- */

static void hung_up(void)
{
	readable = writable = false;
	cut();
	wire_reset(&reader);
	if (listener.fd >= 0) {
		loop_close(&port);
		(void)loop_set(&listener, EPOLLIN);
	}
}

static void read_port(void)
{
	uint8_t *where;
	size_t room = wire_room(&reader, &where);
	ssize_t got = read(port.fd, where, room);
	if (got > 0)
		wire_filled(&reader, (size_t)got);
	else if (got < 0 && (errno == EAGAIN || errno == EINTR))
		readable = errno == EINTR;
	else if (got == 0 && listener.fd < 0)
		/* A port says that no host is there, and may say so too late: the next host's first bytes can overtake the
		 * news of its coming.  Nothing is given up for it; the next session's mark ends this one. */
		readable = false;
	else
		hung_up();
}

static void read_some(void)
{
	for (size_t before = 0; before < ROUND_BYTES && readable && !congested(); before += HYPER_FRAME_MAX) {
		read_port();
		for (struct wire_event event; !congested() && (event = wire_next(&reader)).kind != WIRE_NOTHING;)
			take(&event);
	}
}

static void gather(void)
{
	if (out_done < out.length)
		return;
	/* Their memory stays, and changes places: to have it anew for each write costs more than all else here. */
	struct buffer written = out;
	out = answers;
	answers = written;
	if (answers.capacity > OUT_KEPT)
		buffer_free(&answers);
	answers.length = 0;
	out_done = 0;
	if (reader.session != 0)
		streams_send(&out, reader.session, OUT_ENOUGH);
	if (out.failed)
		cut();
}

static void write_some(void)
{
	for (int i = 0; i < 16 && writable && reader.session != 0 && !welcome_due; i++) {
		gather();
		if (out_done == out.length)
			return;
		ssize_t done = write(port.fd, out.data + out_done, out.length - out_done);
		if (done > 0)
			out_done += (size_t)done;
		else if (done < 0 && (errno == EAGAIN || errno == EINTR))
			writable = errno == EINTR;
		else
			hung_up();
	}
}

bool session_pump(void)
{
	/* What was left unparsed while answers or requests were too many. */
	for (struct wire_event event; !congested() && (event = wire_next(&reader)).kind != WIRE_NOTHING;)
		take(&event);
	read_some();
	if (welcome_due && !requests_making())
		welcome();
	if (!welcome_due)
		requests_run();
	write_some();
	bool more = writable && reader.session != 0 && (out_done < out.length || answers.length > 0 || streams_waiting());
	return (readable && !congested()) || (more && !welcome_due);
}

void session_flush(int milliseconds)
{
	int64_t end = clock_ns(CLOCK_MONOTONIC) + (int64_t)milliseconds * 1000000;
	while (reader.session != 0 && !welcome_due && (out_done < out.length || answers.length > 0)) {
		writable = true;
		write_some();
		int64_t left = (end - clock_ns(CLOCK_MONOTONIC)) / 1000000;
		if (left <= 0 || writable)
			return;
		struct pollfd poller = {.fd = port.fd, .events = POLLOUT};
		if (poll(&poller, 1, (int)left) < 0 && errno != EINTR)
			return;
	}
}

void session_end(void)
{
	cut();
	wire_reset(&reader);
}

/* Edge-triggered: a port without a host reports its hang-up once, and then what changes. */
static void port_ready(struct watch *watch, uint32_t events)
{
	(void)watch;
	readable = readable || (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP));
	writable = writable || (events & EPOLLOUT);
}

static void port_open(int fd)
{
	port.fd = fd;
	port.ready = port_ready;
	readable = true;
	writable = true;
	(void)loop_set(&port, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

static void listener_ready(struct watch *watch, uint32_t events)
{
	(void)events;
	int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	loop_forget(watch); /* one host at a time; the next waits */
	port_open(fd);
}

int session_serve(int port_fd, int listener_fd)
{
	if (port_fd >= 0)
		port_open(port_fd);
	listener.fd = listener_fd;
	listener.ready = listener_ready;
	return listener_fd < 0 ? 0 : loop_set(&listener, EPOLLIN);
}
