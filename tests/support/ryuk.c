/*
 * What testcontainers calls Ryuk: whoever connects at port 8080 says what is his by lines of "label=NAME=VALUE&label=..",
 * each of which is answered by "ACK".  When nobody is connected any more, and has not come back within
 * RYUK_RECONNECTION_TIMEOUT, all that has these labels is removed by Docker's socket, and it ends.
 */
#include <ctype.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PEERS = 16, WISHES = 64, LINE = 1024, FIRST_S = 60 };

struct kind {
	const char *list, *name, *remove;
};

static const struct kind KINDS[] = {
	{"/containers/json?all=1&", "\"Id\":\"", "/containers/%s?force=1&v=1"},
	{"/networks?", "\"Id\":\"", "/networks/%s"},
	{"/volumes?", "\"Name\":\"", "/volumes/%s?force=1"},
	{"/images/json?", "\"Id\":\"", "/images/%s?force=1"},
};

struct peer {
	size_t filled;
	char line[LINE];
};

static struct pollfd polled[1 + PEERS]; /* the first one listens */
static struct peer peers[1 + PEERS];
static char wishes[WISHES][LINE];
static size_t wished;
static char answer[1 << 20];

/* By HTTP/1.0: the answer ends with the connection. */
static const char *ask(const char *method, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/var/run/docker.sock"};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	size_t filled = 0;
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
		perror("docker.sock");
		exit(1);
	}
	dprintf(fd, "%s %s HTTP/1.0\r\nHost: docker\r\n\r\n", method, path);
	for (ssize_t got; filled < sizeof answer - 1; filled += (size_t)got) {
		if ((got = read(fd, answer + filled, sizeof answer - 1 - filled)) <= 0)
			break;
	}
	answer[filled] = 0;
	close(fd);
	printf("%s %s: %.*s\n", method, path, (int)strcspn(answer, "\r\n"), answer);
	return answer;
}

/* filters={"label":["NAME=VALUE",..]}, each byte of it escaped. */
static void as_query(const char *line, char *query, size_t room)
{
	char filter[2 * LINE] = "{\"label\":[", copy[LINE], *rest = copy;
	const char *comma = "";
	strcpy(copy, line);
	for (char *each; (each = strsep(&rest, "&")) != NULL;) {
		if (strncmp(each, "label=", 6) != 0)
			continue;
		strcat(strcat(strcat(strcat(filter, comma), "\""), each + 6), "\"");
		comma = ",";
	}
	strcat(filter, "]}");
	size_t at = (size_t)snprintf(query, room, "filters=");
	for (const char *each = filter; *each && at + 4 < room; each++)
		at += (size_t)snprintf(query + at, room - at, "%%%02X", (unsigned char)*each);
}

static void remove_all(const struct kind *kind, const char *wish)
{
	static char names[sizeof answer];
	char query[8 * LINE], path[9 * LINE], own[64] = "";
	gethostname(own, sizeof own - 1); /* the beginning of this container's ID */
	as_query(wish, query, sizeof query);
	snprintf(path, sizeof path, "%s%s", kind->list, query);
	strcpy(names, ask("GET", path));
	for (char *each = names; (each = strstr(each, kind->name)) != NULL;) {
		each += strlen(kind->name);
		size_t length = strcspn(each, "\"");
		char name[LINE];
		snprintf(name, sizeof name, "%.*s", (int)length, each);
		if (strncmp(name, own, strlen(own)) == 0)
			continue;
		snprintf(path, sizeof path, kind->remove, name);
		ask("DELETE", path);
	}
}

static void heard(struct peer *peer, int fd)
{
	char *end;
	while ((end = memchr(peer->line, '\n', peer->filled)) != NULL) {
		size_t length = (size_t)(end - peer->line);
		if (wished < WISHES) {
			memcpy(wishes[wished], peer->line, length);
			wishes[wished][length - (length && end[-1] == '\r')] = 0;
			printf("%s\n", wishes[wished++]);
		}
		dprintf(fd, "ACK\n");
		peer->filled -= length + 1;
		memmove(peer->line, end + 1, peer->filled);
	}
}

/* False once the connection has ended. */
static bool hear(struct peer *peer, int fd)
{
	ssize_t got = read(fd, peer->line + peer->filled, sizeof peer->line - 1 - peer->filled);
	if (got <= 0)
		return false;
	peer->filled += (size_t)got;
	heard(peer, fd);
	return peer->filled < sizeof peer->line - 1;
}

static void take(int fd)
{
	for (size_t at = 1; at <= PEERS; at++) {
		if (polled[at].fd < 0) {
			polled[at] = (struct pollfd){.fd = fd, .events = POLLIN};
			peers[at].filled = 0;
			return;
		}
	}
	close(fd);
}

static int connected(void)
{
	int count = 0;
	for (size_t at = 1; at <= PEERS; at++)
		count += polled[at].fd >= 0;
	return count;
}

static void serve(int patience_ms)
{
	for (int wait_ms = FIRST_S * 1000; poll(polled, 1 + PEERS, wait_ms) != 0;) {
		if (polled[0].revents)
			take(accept(polled[0].fd, NULL, NULL));
		for (size_t at = 1; at <= PEERS; at++) {
			if (polled[at].fd >= 0 && polled[at].revents && !hear(&peers[at], polled[at].fd)) {
				close(polled[at].fd);
				polled[at].fd = -1;
			}
		}
		wait_ms = connected() ? -1 : patience_ms;
	}
}

int main(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080)};
	const char *patience = getenv("RYUK_RECONNECTION_TIMEOUT"); /* "10s" */
	for (size_t at = 1; at <= PEERS; at++)
		polled[at].fd = -1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	polled[0] = (struct pollfd){.fd = socket(AF_INET, SOCK_STREAM, 0), .events = POLLIN};
	if (bind(polled[0].fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(polled[0].fd, PEERS) != 0) {
		perror("port 8080");
		return 1;
	}
	printf("Started!\n");
	serve((patience ? atoi(patience) : 10) * 1000);
	for (size_t kind = 0; kind < sizeof KINDS / sizeof *KINDS; kind++) {
		for (size_t at = 0; at < wished; at++)
			remove_all(&KINDS[kind], wishes[at]);
	}
	return 0;
}
