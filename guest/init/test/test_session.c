/* Sessions over a pair of sockets: order of requests, resumption, limits. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../loop.h"
#include "../session.h"
#include "../util.h"
#include "check.h"
#include "fakes.h"

static int listener = -1, host = -1;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static struct wire_reader reader; /* the host's side: only its buffer */

/* What the host has received in this session, type by type. */
static struct {
	unsigned count[HYPER_PONG + 1];
	uint32_t answers[64], errors[64];
	struct buffer data, welcome;
	uint64_t limit;
} got;

static void turn(void)
{
	for (int i = 0; i < 40; i++) {
		loop_once(false);
		(void)session_pump();
	}
}

static void forget_received(void)
{
	buffer_free(&got.data);
	buffer_free(&got.welcome);
	memset(&got, 0, sizeof got);
}

static void take_frame(const uint8_t *frame, size_t length)
{
	const uint8_t *payload = frame + HYPER_FRAME_HEADER;
	unsigned type = frame[4];
	CHECK(type <= HYPER_PONG);
	if (type == HYPER_RESPONSE) {
		got.answers[got.count[type]] = get_u32(payload);
		got.errors[got.count[type]] = get_u32(payload + 4);
	}
	if (type == HYPER_DATA)
		buffer_put(&got.data, payload, length);
	if (type == HYPER_WELCOME)
		buffer_put(&got.welcome, payload, length);
	if (type == HYPER_CREDIT)
		got.limit = get_u64(payload + 8);
	got.count[type]++;
}

static void receive(uint32_t session)
{
	static uint8_t bytes[1 << 20];
	static size_t have;
	size_t at = 0;
	turn();
	for (ssize_t more; (more = recv(host, bytes + have, sizeof bytes - have, MSG_DONTWAIT)) > 0; turn())
		have += (size_t)more;
	while (have - at >= HYPER_SYNC_BYTES) {
		if (memcmp(bytes + at, HYPER_SYNC, HYPER_SYNC_BYTES) == 0) {
			at += HYPER_SYNC_BYTES;
			continue;
		}
		size_t length = get_u32(bytes + at);
		CHECK(length <= HYPER_FRAME_MAX && get_u32(bytes + at + 12) == session);
		CHECK(get_u32(bytes + at + HYPER_FRAME_HEADER + length) == session);
		take_frame(bytes + at, length);
		at += HYPER_FRAME_HEADER + length + HYPER_FRAME_TRAILER;
	}
	CHECK(at == have);
	have = 0;
}

static void send_all(struct buffer *bytes)
{
	for (size_t done = 0; done < bytes->length;) {
		ssize_t more = send(host, bytes->data + done, bytes->length - done, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (more > 0)
			done += (size_t)more;
		else
			CHECK(errno == EAGAIN);
		turn();
	}
	buffer_free(bytes);
}

static void greet(uint32_t session)
{
	struct buffer bytes = {0}, hello = {0};
	buffer_u32(&hello, HYPER_VERSION);
	buffer_u32(&hello, session);
	buffer_put(&bytes, HYPER_SYNC, HYPER_SYNC_BYTES);
	message_put(&bytes, HYPER_HELLO, session, &hello);
	buffer_free(&hello);
	send_all(&bytes);
}

static void connect_host(void)
{
	close_fd(&host);
	turn();
	host = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(connect(host, (struct sockaddr *)&address, sizeof address) == 0);
	forget_received();
}

static void ask(struct buffer *bytes, uint32_t session, uint32_t id, uint16_t operation, const struct buffer *fields)
{
	struct buffer request = {0};
	buffer_u32(&request, id);
	buffer_u16(&request, operation);
	buffer_u16(&request, 0);
	if (fields)
		buffer_put(&request, fields->data, fields->length);
	message_put(bytes, HYPER_REQUEST, session, &request);
	buffer_free(&request);
}

static void ask_container(struct buffer *bytes, uint32_t session, uint32_t id, uint16_t operation, const char *name)
{
	struct buffer fields = {0};
	field_text(&fields, HYPER_CONTAINER, name);
	if (operation == HYPER_OP_CONTAINER_CREATE) {
		size_t begun_at = field_begin(&fields, HYPER_LOWER);
		field_text(&fields, HYPER_SERIAL, "s");
		field_text(&fields, HYPER_FILESYSTEM, "erofs");
		field_end(&fields, begun_at);
	}
	ask(bytes, session, id, operation, &fields);
	buffer_free(&fields);
}

static void ask_start(struct buffer *bytes, uint32_t session, uint32_t id, uint32_t process)
{
	struct buffer fields = {0};
	field_text(&fields, HYPER_CONTAINER, "a");
	field_u32(&fields, HYPER_PROCESS, process);
	field_text(&fields, HYPER_ARG, "true");
	field_u32(&fields, HYPER_WITH_STDIN, 1);
	ask(bytes, session, id, HYPER_OP_PROCESS_START, &fields);
	buffer_free(&fields);
}

static void credit(struct buffer *bytes, uint32_t session, uint32_t stream, uint64_t acked, uint64_t limit)
{
	struct buffer payload = {0};
	buffer_u64(&payload, acked);
	buffer_u64(&payload, limit);
	frame_put(bytes, HYPER_CREDIT, 0, stream, session, payload.data, payload.length);
	buffer_free(&payload);
}

static void a_burst_before_the_welcome(void)
{
	struct buffer bytes = {0};
	connect_host();
	greet(1);
	ask(&bytes, 1, 10, HYPER_OP_CONFIGURE, NULL);
	ask_container(&bytes, 1, 11, HYPER_OP_CONTAINER_CREATE, "a");
	ask_start(&bytes, 1, 12, 3);
	credit(&bytes, 1, 13, 0, 1000);
	frame_put(&bytes, HYPER_PING, 0, 0, 1, "token", 5);
	ask(&bytes, 1, 13, 999, NULL);
	send_all(&bytes);
	CHECK(fakes[3].used && write(fakes[3].ends[1], "output", 6) == 6);
	receive(1);
	CHECK(got.count[HYPER_WELCOME] == 1 && got.count[HYPER_PONG] == 1 && got.count[HYPER_RESPONSE] == 4);
	CHECK(got.data.length == 6 && got.limit == INPUT_RING);
	CHECK(get_u32(got.welcome.data) == HYPER_VERSION && get_u32(got.welcome.data + 4) == 1);
	for (int i = 0; i < 4; i++)
		CHECK((got.answers[i] == 13) == (got.errors[i] == EOPNOTSUPP));
	fakes_reset();
}

static void requests_keep_their_order(void)
{
	struct buffer bytes = {0};
	connect_host();
	greet(2);
	hold = true;
	ask_container(&bytes, 2, 1, HYPER_OP_CONTAINER_CREATE, "a");
	ask_start(&bytes, 2, 2, 4);
	ask_container(&bytes, 2, 3, HYPER_OP_CONTAINER_DESTROY, "a");
	ask_container(&bytes, 2, 4, HYPER_OP_CONTAINER_DESTROY, "b");
	ask(&bytes, 2, 5, HYPER_OP_CONFIGURE, NULL);
	ask_container(&bytes, 2, 6, HYPER_OP_CONTAINER_DESTROY, "c");
	send_all(&bytes);
	receive(2);
	/* Only what concerns another container went on, and nothing passed the CONFIGURE. */
	CHECK(got.count[HYPER_RESPONSE] == 1 && got.answers[0] == 4);
	request_done(held, NULL, NULL);
	held = NULL;
	receive(2);
	static const uint32_t order[] = {4, 1, 2, 3, 5, 6};
	CHECK(got.count[HYPER_RESPONSE] == 6 && memcmp(got.answers, order, sizeof order) == 0);
	fakes_reset();
}

/* A session ends while a container is being made: the next is welcomed when that is done; what waited is forgotten. */
static void a_welcome_tells_the_whole_truth(void)
{
	struct buffer bytes = {0};
	connect_host();
	greet(3);
	hold = true;
	ask_container(&bytes, 3, 1, HYPER_OP_CONTAINER_CREATE, "a");
	ask_start(&bytes, 3, 2, 5);
	send_all(&bytes);
	CHECK(held && fakes[5].used);
	connect_host();
	greet(4);
	ask_container(&bytes, 4, 7, HYPER_OP_CONTAINER_DESTROY, "a");
	send_all(&bytes);
	receive(4);
	CHECK(got.count[HYPER_WELCOME] == 0 && !fakes[5].used);
	request_done(held, NULL, NULL);
	held = NULL;
	receive(4);
	CHECK(got.count[HYPER_WELCOME] == 1 && got.count[HYPER_RESPONSE] == 1 && got.answers[0] == 7);
	CHECK(begun[HYPER_OP_PROCESS_START] == 0);
	fakes_reset();
}

static void streams_go_on_in_the_next_session(void)
{
	struct buffer bytes = {0};
	connect_host();
	greet(5);
	ask_start(&bytes, 5, 1, 1);
	credit(&bytes, 5, 5, 0, 4);
	send_all(&bytes);
	CHECK(write(fakes[1].ends[1], "0123456789", 10) == 10);
	receive(5);
	CHECK(got.data.length == 4);
	connect_host(); /* the host had taken two of them */
	greet(6);
	credit(&bytes, 6, 5, 2, 1000);
	send_all(&bytes);
	receive(6);
	CHECK(got.data.length == 8 && memcmp(got.data.data, "23456789", 8) == 0);
	CHECK(got.limit == INPUT_RING); /* stdin's credit, again */
	frame_put(&bytes, HYPER_DATA, 0, 4, 6, "in", 2);
	frame_put(&bytes, HYPER_EOF, 0, 4, 6, NULL, 0);
	send_all(&bytes);
	char text[8];
	CHECK(read(fakes[1].ends[0], text, sizeof text) == 2 && read(fakes[1].ends[0], text, sizeof text) == 0);
	fakes_reset();
}

static void what_is_against_the_contract_ends_the_session(void)
{
	static const struct {
		uint8_t type;
		uint32_t stream;
		const char *payload;
		size_t length;
	} frames[] = {
		{HYPER_CREDIT, 5, "short", 5},         {HYPER_DATA, 4, "", 0},    {HYPER_EOF, 4, "x", 1},
		{HYPER_DATA, 5, "to an output", 12},   {HYPER_EOF, 5, "", 0},     {HYPER_RESET, 4, "", 0},
		{HYPER_CREDIT, 4, "0123456789abcdef", 16}, {HYPER_CREDIT, 5, "0123456789abcdef", 16},
		{HYPER_EVENT, 0, "01234567", 8},       {HYPER_REQUEST, 0, "short", 5},
	};
	for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
		struct buffer bytes = {0};
		uint32_t session = 100 + (uint32_t)i;
		connect_host();
		greet(session);
		ask_start(&bytes, session, 1, 1);
		send_all(&bytes);
		receive(session);
		CHECK(got.count[HYPER_RESPONSE] == 1 && got.errors[0] == 0);
		frame_put(&bytes, frames[i].type, 0, frames[i].stream, session, frames[i].payload, frames[i].length);
		frame_put(&bytes, HYPER_PING, 0, 0, session, "x", 1);
		send_all(&bytes);
		receive(session);
		CHECK(got.count[HYPER_PONG] == 0);
		/* Another one can begin on the same pipe. */
		forget_received();
		greet(session + 1000);
		receive(session + 1000);
		CHECK(got.count[HYPER_WELCOME] == 1);
		fakes_reset();
	}
}

/* A host that asks and does not read: nothing is read from it any more, and nothing grows. */
static void a_host_that_does_not_read_waits(void)
{
	struct buffer bytes = {0};
	size_t sent = 0;
	connect_host();
	greet(7);
	for (uint32_t i = 0; i < 1000; i++)
		ask(&bytes, 7, i, HYPER_OP_STATS, NULL);
	for (int i = 0; i < 2000; i++) {
		ssize_t done = send(host, bytes.data, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL);
		sent += done > 0 ? (size_t)done : 0;
		loop_once(false);
		(void)session_pump();
	}
	CHECK(sent < 16u << 20);
	buffer_free(&bytes);
	fakes_reset();
}

int main(int argc, char **argv)
{
	CHECK(argc == 2); /* an empty directory */
	CHECK(snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", argv[1]) < (int)sizeof address.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 4) == 0);
	CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	CHECK(loop_init() == 0 && session_serve(-1, listener) == 0);
	RUN(a_burst_before_the_welcome);
	RUN(requests_keep_their_order);
	RUN(a_welcome_tells_the_whole_truth);
	RUN(streams_go_on_in_the_next_session);
	RUN(what_is_against_the_contract_ends_the_session);
	RUN(a_host_that_does_not_read_waits);
	close_fd(&host);
	turn();
	wire_reset(&reader);
	forget_received();
	return 0;
}
