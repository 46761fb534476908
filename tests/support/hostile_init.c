/*
 * PID 1 of a guest that means harm: greets hyperd like an agent, says that every request succeeded, and then does
 * what the kernel's command line says, `lie=...`, for ever.  For tests of hyperd with real virtual machines.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hyper_wire.h"

static int port = -1;
static uint32_t session;
static unsigned char buffer[HYPER_PADDING];

static _Noreturn void stand_still(void)
{
	for (;;)
		pause();
}

static void say(const void *data, size_t length)
{
	const unsigned char *at = data;
	while (length) {
		ssize_t done = write(port, at, length);
		if (done <= 0)
			stand_still();
		at += done;
		length -= (size_t)done;
	}
}

static void hear(void *data, size_t length)
{
	unsigned char *at = data;
	while (length) {
		ssize_t done = read(port, at, length);
		if (done < 0)
			stand_still();
		if (done == 0) /* nobody is connected yet */
			(void)poll(&(struct pollfd){.fd = port, .events = POLLIN}, 1, 100);
		at += done;
		length -= (size_t)done;
	}
}

static void header(uint32_t length, uint16_t type, uint32_t stream)
{
	unsigned char head[HYPER_FRAME_HEADER] = {0};
	memcpy(head, &length, 4);
	memcpy(head + 4, &type, 2);
	memcpy(head + 8, &stream, 4);
	memcpy(head + 12, &session, 4);
	say(head, sizeof head);
}

static void frame(uint16_t type, uint32_t stream, const void *payload, uint32_t length)
{
	header(length, type, stream);
	say(payload, length);
	say(&session, 4);
}

static void open_port(void)
{
	(void)mkdir("/dev", 0755);
	(void)mkdir("/sys", 0755);
	(void)mount("dev", "/dev", "devtmpfs", 0, "");
	(void)mount("sys", "/sys", "sysfs", 0, "");
	while (port < 0) {
		DIR *list = opendir("/dev");
		for (struct dirent *entry; list && (entry = readdir(list));) {
			char path[300];
			(void)snprintf(path, sizeof path, "/dev/%s", entry->d_name);
			if (strncmp(entry->d_name, "vport", 5) == 0)
				port = open(path, O_RDWR | O_CLOEXEC);
		}
		if (list)
			(void)closedir(list);
		if (port < 0)
			(void)poll(NULL, 0, 10);
	}
}

static void greet(void)
{
	uint32_t fields[2] = {HYPER_VERSION, 0};
	hear(buffer, HYPER_SYNC_BYTES + HYPER_FRAME_HEADER);
	memcpy(&session, buffer + HYPER_SYNC_BYTES + 12, 4);
	fields[1] = session;
	uint32_t length;
	memcpy(&length, buffer + HYPER_SYNC_BYTES, 4);
	hear(buffer, length + 4);
	say(HYPER_SYNC, HYPER_SYNC_BYTES);
	frame(HYPER_WELCOME, 0, fields, sizeof fields);
}

/* Agrees to everything until the first process has "started". */
static void agree(void)
{
	for (int operation = 0; operation != HYPER_OP_PROCESS_START;) {
		unsigned char answer[8 + HYPER_FIELD_HEADER + 4] = {0};
		uint32_t length;
		hear(buffer, HYPER_FRAME_HEADER);
		memcpy(&length, buffer, 4);
		int type = buffer[4], more = buffer[6] & HYPER_FLAG_MORE;
		hear(buffer, length + 4);
		if (type != HYPER_REQUEST)
			continue;
		static int inside; /* a message of several frames: its first one says what it is */
		static uint32_t request;
		if (!inside) {
			memcpy(&request, buffer, 4);
			operation = buffer[4];
		}
		inside = more;
		if (more) {
			operation = 0;
			continue;
		}
		memcpy(answer, &request, 4);
		answer[8] = HYPER_PID;
		answer[12] = 4;
		answer[16] = 42;
		frame(HYPER_RESPONSE, 0, answer, operation == HYPER_OP_PROCESS_START ? sizeof answer : 8);
	}
}

static void event(uint16_t code, const void *fields, uint32_t length)
{
	unsigned char payload[256] = {0};
	memcpy(payload, &code, 2);
	memcpy(payload + 8, fields, length);
	frame(HYPER_EVENT, 0, payload, 8 + length);
}

static void once(const char *lie)
{
	static const unsigned char exited[] = {HYPER_PROCESS, 0, 0, 0, 4, 0, 0, 0, 99, 0, 0, 0, HYPER_WAIT_STATUS, 0, 0, 0,
		4, 0, 0, 0, 0, 0, 0, 0, HYPER_TIME_NS, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	if (strcmp(lie, "length") == 0)
		header(0xffffffff, HYPER_DATA, 5);
	else if (strcmp(lie, "exit") == 0)
		event(HYPER_EVENT_PROCESS_EXITED, exited, sizeof exited);
	else if (strcmp(lie, "half") == 0) {
		header(HYPER_FRAME_MAX, HYPER_DATA, 5);
		say(buffer, 100);
	}
}

static void for_ever(const char *lie)
{
	static const unsigned char words[] = {HYPER_MESSAGE, 0, 0, 0, 4, 0, 0, 0, 'l', 'i', 'e', '\n'};
	if (strcmp(lie, "random") == 0) {
		for (size_t at = 0; at < sizeof buffer; at++)
			buffer[at] = (unsigned char)random();
		say(buffer, sizeof buffer);
	} else if (strcmp(lie, "data") == 0)
		frame(HYPER_DATA, 5, buffer, HYPER_FRAME_MAX);
	else if (strcmp(lie, "pings") == 0)
		frame(HYPER_PING, 0, words, sizeof words);
	else if (strcmp(lie, "events") == 0)
		event(HYPER_EVENT_LOG, words, sizeof words);
	else if (strcmp(lie, "console") == 0) {
		static int console = -1;
		if (console < 0)
			console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
		memset(buffer, 'x', 4096);
		if (write(console, buffer, 4096) < 0)
			stand_still();
	} else
		stand_still();
}

int main(void)
{
	const char *lie = getenv("lie");
	if (!lie)
		lie = "";
	open_port();
	if (strcmp(lie, "mute") == 0)
		stand_still();
	greet();
	if (strcmp(lie, "half-start") == 0)
		once("half");
	else
		agree();
	once(lie);
	for (;;)
		for_ever(lie);
}
