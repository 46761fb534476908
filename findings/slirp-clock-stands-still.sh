#!/bin/bash
# libslirp 4.7.0 (Debian's libslirp-dev 4.7.0-1): a guest's first datagram, and what the library takes for the time.
#
# A guest asks a server on the host by UDP; the server answers at once, and the program that uses libslirp goes round: fill,
# poll(2), slirp_pollfds_poll. One would guess that the answer reaches the guest whatever the order in which the program hands in
# the guest's frame and calls the library, as the library is given a clock (clock_get_ns).
#
# Seen: the clock is read in slirp_pollfds_poll alone. A socket that is made for a frame gets its end, four minutes on, by the time of
# the last such call. Where there was none, or where the program has slept for long and hands in what woke it first, that end is past
# already: the next fill takes the socket away, and the answer is lost. With one call before the frame it arrives.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq libslirp-dev=4.7.0-1 libslirp0=4.7.0-1 libglib2.0-dev 2>/dev/null
for package in *.deb; do dpkg -x "$package" tree; done
lib=tree/usr/lib/x86_64-linux-gnu
cat > ask.c <<'C'
#include <arpa/inet.h>
#include <libslirp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct pollfd polls[64];
static int count, heard;

static int64_t now(void *o) { struct timespec t; (void)o; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
static void nothing(void *o) { (void)o; }
static void no_fd(int fd, void *o) { (void)fd; (void)o; }
static void complain(const char *m, void *o) { (void)m; (void)o; }
static void *new_timer(SlirpTimerCb cb, void *c, void *o) { static int t; (void)cb; (void)c; (void)o; return &t; }
static void free_timer(void *t, void *o) { (void)t; (void)o; }
static void set_timer(void *t, int64_t at, void *o) { (void)t; (void)at; (void)o; }
static ssize_t sent(const void *frame, size_t bytes, void *o)
{
	const unsigned char *at = frame;
	(void)o;
	if (bytes > 42 && at[12] == 8 && at[13] == 0 && at[23] == 17 && memcmp(at + 42, "answer", 6) == 0)
		heard = 1;
	return (ssize_t)bytes;
}
static int add(int fd, int events, void *o)
{
	(void)o;
	polls[count] = (struct pollfd){fd, (short)((events & SLIRP_POLL_IN ? POLLIN : 0) | (events & SLIRP_POLL_OUT ? POLLOUT : 0)), 0};
	return count++;
}
static int got(int i, void *o) { (void)o; return polls[i].revents & POLLIN ? SLIRP_POLL_IN : 0; }

static void go_round(Slirp *slirp, int server)
{
	uint32_t timeout = 50;
	count = 0;
	slirp_pollfds_fill(slirp, &timeout, add, NULL);
	int mine = count;
	polls[count++] = (struct pollfd){server, POLLIN, 0};
	poll(polls, (nfds_t)count, 50);
	if (polls[mine].revents & POLLIN) {
		char question[100];
		struct sockaddr_in from;
		socklen_t length = sizeof from;
		recvfrom(server, question, sizeof question, 0, (struct sockaddr *)&from, &length);
		sendto(server, "answer", 6, 0, (struct sockaddr *)&from, length);
	}
	slirp_pollfds_poll(slirp, 0, got, NULL);
}

static unsigned short sum(const unsigned char *at, int bytes)
{
	unsigned total = 0;
	for (int i = 0; i < bytes; i += 2)
		total += at[i] << 8 | at[i + 1];
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (unsigned short)~total;
}

int main(int argc, char **argv)
{
	(void)argc;
	SlirpConfig config = {.version = 1, .in_enabled = true};
	SlirpCb calls = {.send_packet = sent, .guest_error = complain, .clock_get_ns = now, .timer_new = new_timer,
		.timer_free = free_timer, .timer_mod = set_timer, .register_poll_fd = no_fd, .unregister_poll_fd = no_fd, .notify = nothing};
	inet_pton(AF_INET, "10.0.2.0", &config.vnetwork);
	inet_pton(AF_INET, "255.255.255.0", &config.vnetmask);
	inet_pton(AF_INET, "10.0.2.2", &config.vhost);
	inet_pton(AF_INET, "10.0.2.15", &config.vdhcp_start);
	inet_pton(AF_INET, "10.0.2.3", &config.vnameserver);
	Slirp *slirp = slirp_new(&config, &calls, NULL);
	int server = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof place;
	bind(server, (struct sockaddr *)&place, length);
	getsockname(server, (struct sockaddr *)&place, &length);
	if (strcmp(argv[1], "after") == 0)
		go_round(slirp, server);
	unsigned char arp[42] = {255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 7, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7, 10, 0, 2, 15,
		0, 0, 0, 0, 0, 0, 10, 0, 2, 2};
	unsigned char udp[50] = {82, 85, 10, 0, 2, 2, 2, 0, 0, 0, 0, 7, 8, 0, 0x45, 0, 0, 36, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2,
		0x13, 0x88, 0, 0, 0, 16, 0, 0, 'q', 'u', 'e', 's', 't', 'i', 'o', 'n'};
	unsigned short checked = htons(sum(udp + 14, 20));
	memcpy(udp + 24, &checked, 2);
	memcpy(udp + 36, &place.sin_port, 2);
	slirp_input(slirp, arp, sizeof arp);
	slirp_input(slirp, udp, sizeof udp);
	for (int i = 0; i < 10 && !heard; i++)
		go_round(slirp, server);
	printf("%s the first call: %s\n", argv[1], heard ? "answered" : "no answer");
	return 0;
}
C
gcc -O2 -w -Itree/usr/include/slirp -Itree/usr/include/glib-2.0 -I$lib/glib-2.0/include ask.c -o ask $lib/libslirp.so.0 -Wl,--allow-shlib-undefined -Wl,-rpath,"$PWD/$lib"
seen=$(for when in before after; do ./ask $when; done)
echo "$seen"
[ "$seen" = "before the first call: no answer
after the first call: answered" ] || { echo "this has changed" >&2; exit 1; }
