#include "stream.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "util.h"

#define CHUNK (32768 - HYPER_FRAME_HEADER - HYPER_FRAME_TRAILER) /* what a virtio port takes in one write */

static struct stream *queue_head, **queue_tail = &queue_head;
static unsigned rings;

#define IDLE_RINGS 16
#define MUCH_BYTES 65536
#define DRAINS 256

static struct watch drains[DRAINS];

static void enqueue(struct stream *stream)
{
	if (stream->queued)
		return;
	stream->queued = true;
	stream->next = NULL;
	*queue_tail = stream;
	queue_tail = &stream->next;
}

static void dequeue(struct stream *stream)
{
	if (!stream->queued)
		return;
	struct stream **at = &queue_head;
	while (*at != stream)
		at = &(*at)->next;
	*at = stream->next;
	if (queue_tail == &stream->next)
		queue_tail = at;
	stream->queued = false;
}

bool streams_waiting(void)
{
	return queue_head != NULL;
}

void streams_new_session(void)
{
	while (queue_head)
		dequeue(queue_head);
}

/* ---- the ring ---- */

static size_t ring_bytes(const struct stream *stream)
{
	return stream->input ? INPUT_RING : OUTPUT_RING;
}

static bool ring_ready(struct stream *stream)
{
	if (stream->ring)
		return true;
	void *ring = mmap(NULL, ring_bytes(stream), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ring == MAP_FAILED)
		return false;
	/* What one container wrote is not there in another's process before its exec; and fork is cheaper. */
	(void)madvise(ring, ring_bytes(stream), MADV_DONTFORK);
	stream->ring = ring;
	rings++;
	return true;
}

static void ring_free(struct stream *stream)
{
	if (stream->ring && munmap(stream->ring, ring_bytes(stream)) == 0)
		rings--;
	stream->ring = NULL;
}

static void ring_idle(struct stream *stream)
{
	if (stream->acked == stream->end && (stream->eof || stream->dropped || rings > IDLE_RINGS))
		ring_free(stream);
}

/* The bytes from `offset` on, `length` of them, as at most two pieces. */
static int ring_pieces(struct stream *stream, uint64_t offset, size_t length, struct iovec pieces[2])
{
	size_t size = ring_bytes(stream), at = (size_t)(offset % size), first = size - at;
	if (first > length)
		first = length;
	pieces[0] = (struct iovec){stream->ring + at, first};
	pieces[1] = (struct iovec){stream->ring, length - first};
	return pieces[1].iov_len > 0 ? 2 : 1;
}

/* ---- output ---- */

static void output_changed(struct stream *stream)
{
	bool data = stream->sent < stream->end && stream->sent < stream->limit;
	bool eof = stream->eof && !stream->eof_sent && stream->sent == stream->end;
	if (stream->credited && (data || eof))
		enqueue(stream);
	uint64_t room = OUTPUT_RING - (stream->end - stream->acked);
	(void)loop_set(&stream->watch, !stream->eof && (room > 0 || stream->dropped) ? EPOLLIN : 0);
}

/* Reads what is written to nobody. */
static void drain_ready(struct watch *watch, uint32_t events)
{
	static uint8_t waste[MUCH_BYTES];
	(void)events;
	ssize_t got = read(watch->fd, waste, sizeof waste);
	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		loop_close(watch);
}

/* A process's children may write on when it has ended, as servers do that were started by an added one: a pipe that were
 * closed would be their end. */
static void drain(struct watch *pipe)
{
	int fd = pipe->fd;
	for (size_t i = 0; i < DRAINS; i++) {
		if (drains[i].ready && drains[i].fd >= 0)
			continue;
		loop_forget(pipe);
		pipe->fd = -1;
		drains[i] = (struct watch){.fd = fd, .ready = drain_ready};
		if (loop_set(&drains[i], EPOLLIN) != 0)
			loop_close(&drains[i]);
		return;
	}
	loop_close(pipe);
}

static void output_eof(struct stream *stream)
{
	if (stream->ended || stream->terminal)
		loop_close(&stream->watch);
	else
		drain(&stream->watch);
	stream->eof = true;
	ring_idle(stream);
}

/* 1: read something; 0: the end; -1: nothing now. */
static int output_read(struct stream *stream)
{
	static uint8_t waste[4096];
	struct iovec pieces[2] = {{waste, sizeof waste}};
	int count = 1;
	if (!stream->dropped) {
		size_t room = OUTPUT_RING - (size_t)(stream->end - stream->acked);
		if (room == 0 || !ring_ready(stream))
			return -1;
		if (stream->last >= 0 && (uint64_t)stream->last < room)
			room = (size_t)stream->last;
		count = ring_pieces(stream, stream->end, room, pieces);
	}
	ssize_t got = readv(stream->watch.fd, pieces, count);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return -1;
	if (got <= 0) {
		stream->ended = true; /* EIO: the terminal was hung up */
		return 0;
	}
	if (stream->last >= 0)
		stream->last = got < stream->last ? stream->last - got : 0;
	stream->end += (uint64_t)got;
	if (stream->dropped)
		stream->acked = stream->sent = stream->end;
	return 1;
}

static void output_ready(struct watch *watch, uint32_t events)
{
	struct stream *stream = container_of(watch, struct stream, watch);
	(void)events;
	/* Who writes much is let go on for as long as it can: woken for each page, we would take turns with it. */
	if (stream->end >= MUCH_BYTES)
		(void)sched_yield();
	int got = output_read(stream);
	/* An exited process's pipe is at its end when what it held has been read, whoever else has it open. */
	if (got == 0 || stream->last == 0 || (stream->last > 0 && got < 0 && stream->end - stream->acked < OUTPUT_RING))
		output_eof(stream);
	output_changed(stream);
}

/* There is room again.  What an exited process's pipe held may have been taken by another reader: so do not wait for it. */
static void output_go_on(struct stream *stream)
{
	if (stream->last >= 0 && stream->watch.fd >= 0)
		output_ready(&stream->watch, EPOLLIN);
	else
		output_changed(stream);
}

int stream_credit(struct stream *stream, uint64_t acknowledged, uint64_t limit)
{
	uint64_t most = stream->credited ? stream->sent : stream->end;
	if (acknowledged < stream->acked || acknowledged > most || limit < acknowledged)
		return -1;
	if (stream->credited && limit < stream->limit)
		return -1;
	if (!stream->credited)
		stream->sent = acknowledged;
	stream->credited = true;
	stream->dropped = false;
	stream->acked = acknowledged;
	stream->limit = limit;
	ring_idle(stream);
	output_go_on(stream);
	return 0;
}

void stream_drop(struct stream *stream)
{
	stream->dropped = true;
	stream->acked = stream->sent = stream->end;
	ring_idle(stream);
	output_go_on(stream);
}

static void output_finish(struct stream *stream)
{
	int held = 0;
	if (stream->watch.fd < 0)
		return;
	/* A terminal gives all it has before it says EAGAIN; a pipe may be filled for ever by the process's children. */
	stream->last = OUTPUT_RING;
	if (!stream->terminal && ioctl(stream->watch.fd, FIONREAD, &held) == 0)
		stream->last = held;
	while (stream->last > 0 && output_read(stream) > 0)
		continue;
	if (stream->last == 0 || stream->end - stream->acked < OUTPUT_RING)
		output_eof(stream);
	output_changed(stream);
}

static bool output_send(struct stream *stream, struct buffer *out, uint32_t session)
{
	uint64_t length = (stream->limit < stream->end ? stream->limit : stream->end);
	length = length > stream->sent ? length - stream->sent : 0;
	if (length > CHUNK)
		length = CHUNK;
	if (length > 0) {
		struct iovec pieces[2];
		(void)ring_pieces(stream, stream->sent, (size_t)length, pieces);
		frame_begin(out, HYPER_DATA, 0, stream->number, session, (size_t)length);
		buffer_put(out, pieces[0].iov_base, pieces[0].iov_len);
		buffer_put(out, pieces[1].iov_base, pieces[1].iov_len);
		buffer_u32(out, session);
		stream->sent += length;
	}
	if (stream->eof && stream->sent == stream->end && !stream->eof_sent) {
		frame_put(out, HYPER_EOF, 0, stream->number, session, NULL, 0);
		stream->eof_sent = true;
	}
	return stream->sent < stream->end && stream->sent < stream->limit;
}

/* ---- input ---- */

static void input_changed(struct stream *stream)
{
	/* A pipe is watched for its reader's going away too; a terminal that nobody has open would report that for ever. */
	uint32_t idle = stream->terminal ? 0 : EPOLLERR;
	(void)loop_set(&stream->watch, stream->acked < stream->end ? EPOLLOUT : idle);
	if (stream->eof && stream->acked == stream->end && !stream->terminal)
		loop_close(&stream->watch);
	ring_idle(stream);
	if (stream->dropped || stream->watch.fd < 0) {
		if (stream->reset_due)
			enqueue(stream);
		return;
	}
	uint64_t limit = stream->acked + INPUT_RING;
	if (limit - stream->told_limit >= INPUT_RING / 4 || (stream->acked == stream->end && stream->told_acked < stream->end))
		enqueue(stream);
}

/* The process takes no more: what lies here is lost, and the host is told once. */
static void input_refuse(struct stream *stream)
{
	loop_close(&stream->watch);
	if (!stream->dropped && !(stream->eof && stream->acked == stream->end))
		stream->reset_due = true;
	stream->dropped = true;
	stream->acked = stream->end;
	input_changed(stream);
}

static void input_ready(struct watch *watch, uint32_t events)
{
	struct stream *stream = container_of(watch, struct stream, watch);
	struct iovec pieces[2];
	if (stream->acked == stream->end) {
		if (events & EPOLLERR)
			input_refuse(stream);
		return;
	}
	int count = ring_pieces(stream, stream->acked, (size_t)(stream->end - stream->acked), pieces);
	ssize_t done = writev(watch->fd, pieces, count);
	if (done < 0 && errno != EAGAIN && errno != EINTR) {
		input_refuse(stream);
		return;
	}
	if (done > 0)
		stream->acked += (uint64_t)done;
	input_changed(stream);
}

int stream_accept(struct stream *stream, struct span data)
{
	struct iovec pieces[2];
	if (stream->dropped || stream->eof)
		return 0;
	if (stream->told_limit < stream->end || data.length > stream->told_limit - stream->end)
		return -1;
	if (!ring_ready(stream)) {
		input_refuse(stream);
		return 0;
	}
	(void)ring_pieces(stream, stream->end, data.length, pieces);
	memcpy(pieces[0].iov_base, data.data, pieces[0].iov_len);
	memcpy(pieces[1].iov_base, data.data + pieces[0].iov_len, pieces[1].iov_len);
	stream->end += data.length;
	input_changed(stream);
	return 0;
}

void stream_accept_eof(struct stream *stream)
{
	stream->eof = true;
	input_changed(stream);
}

static void input_send(struct stream *stream, struct buffer *out, uint32_t session)
{
	if (stream->dropped) {
		if (stream->reset_due)
			frame_put(out, HYPER_RESET, 0, stream->number, session, NULL, 0);
		stream->reset_due = false;
		return;
	}
	struct buffer credit = {0};
	stream->told_acked = stream->end;
	stream->told_limit = stream->acked + INPUT_RING;
	buffer_u64(&credit, stream->told_acked);
	buffer_u64(&credit, stream->told_limit);
	if (!credit.failed)
		frame_put(out, HYPER_CREDIT, 0, stream->number, session, credit.data, credit.length);
	buffer_free(&credit);
}

/* ---- both ---- */

void stream_init(struct stream *stream, uint32_t number)
{
	*stream = (struct stream){.number = number, .last = -1, .watch = {.fd = -1}};
	stream->input = number % 4 == HYPER_STDIN;
	stream->watch.ready = stream->input ? input_ready : output_ready;
}

void stream_attach(struct stream *stream, int fd, bool terminal)
{
	stream->watch.fd = fd;
	stream->terminal = terminal;
	if (!stream->input)
		output_changed(stream);
	else if (stream->dropped)
		loop_close(&stream->watch);
	else
		enqueue(stream); /* its first CREDIT */
	if (stream->input)
		input_changed(stream);
}

void stream_finish(struct stream *stream)
{
	if (stream->input)
		input_refuse(stream);
	else if (stream->watch.fd < 0)
		stream->eof = true;
	else
		output_finish(stream);
	if (!stream->input)
		output_changed(stream);
}

void stream_free(struct stream *stream)
{
	dequeue(stream);
	loop_close(&stream->watch);
	ring_free(stream);
}

void stream_new_session(struct stream *stream)
{
	stream->credited = false;
	stream->limit = 0;
	stream->eof_sent = false;
	if (!stream->input) {
		stream->sent = stream->acked;
		return;
	}
	stream->told_limit = stream->told_acked = 0;
	stream->reset_due = stream->dropped;
	if (stream->watch.fd >= 0 || stream->reset_due)
		enqueue(stream);
}

void streams_send(struct buffer *out, uint32_t session, size_t enough)
{
	while (queue_head && out->length < enough && !out->failed) {
		struct stream *stream = queue_head;
		dequeue(stream);
		if (stream->input)
			input_send(stream, out, session);
		else if (stream->credited && output_send(stream, out, session))
			enqueue(stream);
	}
}
