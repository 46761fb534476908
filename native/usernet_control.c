/* Forwards, and who asks usernet for them. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "usernet.h"

/* ---- forwards ---- */

int next_descriptor(const struct usernet *self)
{
	int fd = fcntl(self->frames, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0)
		close(fd);
	return fd;
}

int listens(int fd)
{
	int yes = 0;
	socklen_t size = sizeof yes;
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &size) == 0 && yes;
}

int add_forward(struct usernet *self, const struct forward *one, char *problem, size_t bytes)
{
	char host[INET_ADDRSTRLEN];
	inet_ntop(AF_INET, &one->host, host, sizeof host);
	int fd = next_descriptor(self);
	if (one->guest.s_addr != INADDR_ANY && one->guest.s_addr != self->config.vdhcp_start.s_addr)
		snprintf(problem, bytes, "the guest has another address");
	else if (self->forwards == FORWARDS || fd < 0 || fd + FOR_CONTROL > self->socket_limit)
		snprintf(problem, bytes, "there are too many forwards");
	else if (slirp_add_hostfwd(self->slirp, one->udp, one->host, one->host_port, one->guest, one->guest_port) == 0) {
		self->held[self->forwards++] = *one;
		if (!one->udp && listens(fd)) { /* libslirp lets one wait, and waits itself for one that has gone again */
			listen(fd, BACKLOG);
			fcntl(fd, F_SETFL, O_NONBLOCK);
		}
		return 1;
	} else if (errno == EADDRINUSE)
		snprintf(problem, bytes, "port %d%s of %s is taken", one->host_port, one->udp ? "/udp" : "", host);
	else
		snprintf(problem, bytes, "port %d%s of %s: %s", one->host_port, one->udp ? "/udp" : "", host, strerror(errno));
	return 0;
}

static int remove_forward(struct usernet *self, const struct forward *one, char *problem, size_t bytes)
{
	for (size_t i = 0; i < self->forwards; i++) {
		const struct forward *held = &self->held[i];
		if (held->udp != one->udp || held->host.s_addr != one->host.s_addr || held->host_port != one->host_port)
			continue;
		if (slirp_remove_hostfwd(self->slirp, one->udp, one->host, one->host_port) != 0)
			break;
		self->held[i] = self->held[--self->forwards];
		return 1;
	}
	snprintf(problem, bytes, "there is no such forward");
	return 0;
}

/* One that is there, in the words that it was asked for with. */
static int tell_forward(const struct usernet *self, const char *place, char *words, size_t bytes)
{
	char host[INET_ADDRSTRLEN], guest[INET_ADDRSTRLEN];
	long number_of_it = number(place, FORWARDS);
	if (number_of_it < 0 || (size_t)number_of_it >= self->forwards) {
		snprintf(words, bytes, "there is no such forward");
		return 0;
	}
	const struct forward *one = &self->held[number_of_it];
	inet_ntop(AF_INET, &one->host, host, sizeof host);
	inet_ntop(AF_INET, &one->guest, guest, sizeof guest);
	snprintf(words, bytes, "%s %s %d %s %d", one->udp ? "udp" : "tcp", host, one->host_port, guest, one->guest_port);
	return 1;
}

/* ---- control ---- */

/* A request's answer. */
static void answer(struct usernet *self, char *request, char *said, size_t bytes)
{
	char *words[WORDS], problem[REQUEST_BYTES / 2] = "a request is add, remove, forward or ready";
	size_t count = split(request, " ", words, WORDS);
	struct forward forward;
	const char *wrong = problem;
	int done = strcmp(words[0], "ready") == 0, adds = strcmp(words[0], "add") == 0;
	if (adds || strcmp(words[0], "remove") == 0) {
		wrong = count == (adds ? 6 : 4) ? read_forward(words + 1, count - 1, &forward) : "there are too few or too many words";
		if (wrong == NULL) {
			wrong = problem;
			done = (adds ? add_forward : remove_forward)(self, &forward, problem, sizeof problem);
		}
	}
	if (strcmp(words[0], "forward") == 0 && count == 2 && tell_forward(self, words[1], problem, sizeof problem))
		snprintf(said, bytes, "ok %s", problem);
	else
		snprintf(said, bytes, done ? "ok" : "error %s", wrong);
}

static void drop(struct asker *asker)
{
	close(asker->fd);
	asker->fd = -1;
}

static void serve(struct usernet *self, struct asker *asker)
{
	char request[REQUEST_BYTES + 1], said[REQUEST_BYTES];
	ssize_t got = recv(asker->fd, request, REQUEST_BYTES, MSG_DONTWAIT | MSG_TRUNC);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		drop(asker);
		return;
	}
	asker->turn = ++self->turn;
	if (got > REQUEST_BYTES)
		snprintf(said, sizeof said, "error a request has at most %d bytes", REQUEST_BYTES);
	else {
		request[got] = 0;
		answer(self, request, said, sizeof said);
	}
	if (send(asker->fd, said, strlen(said), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		drop(asker); /* it has gone, or reads nothing */
}

/* There is always a place for who comes: it is that of who has been silent for longest. */
static void receive_asker(struct usernet *self)
{
	int fd = accept4(self->control, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	struct asker *place = &self->askers[0];
	for (size_t i = 1; i < ASKERS && place->fd >= 0; i++)
		if (self->askers[i].fd < 0 || self->askers[i].turn < place->turn)
			place = &self->askers[i];
	if (place->fd >= 0)
		drop(place);
	*place = (struct asker){.fd = fd, .turn = ++self->turn};
}

void serve_askers(struct usernet *self)
{
	for (size_t i = 0; i < ASKERS; i++)
		if (self->askers[i].fd >= 0 && self->polls[FIRST_ASKER + i].revents)
			serve(self, &self->askers[i]);
	if (self->polls[CONTROL].revents & POLLIN)
		receive_asker(self);
	else if (self->polls[CONTROL].revents)
		fail("the control socket is at its end");
}
