#include "util.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int fail(struct failure *failure, int error, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	failure->error = error;
	(void)vsnprintf(failure->text, sizeof failure->text, format, arguments);
	va_end(arguments);
	return -1;
}

const char *reason(int error)
{
	static char text[128];
	(void)snprintf(text, sizeof text, "%s", strerror(error));
	/* "I/O error" stays as it is. */
	if (islower((unsigned char)text[1]) || text[1] == ' ')
		text[0] = (char)tolower((unsigned char)text[0]);
	return text;
}

void log_line(const char *format, ...)
{
	char line[1024];
	va_list arguments;
	va_start(arguments, format);
	int length = snprintf(line, sizeof line, "<3>hyperstart: ");
	(void)vsnprintf(line + length, sizeof line - (size_t)length, format, arguments);
	va_end(arguments);
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NOCTTY);
	const char *text = line;
	if (fd < 0) {
		fd = dup(2);
		text = line + 3;
	}
	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0 || (text != line && write(fd, "\n", 1) < 0))
		(void)0; /* nobody is left to tell */
	(void)close(fd);
}

int64_t clock_ns(int clock)
{
	struct timespec now;
	if (clock_gettime(clock, &now) != 0)
		return 0;
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

ssize_t read_text_at(int dir, const char *path, char *text, size_t size)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t have = 0;
	ssize_t got = 0;
	if (fd < 0)
		return -1;
	while (have < size - 1 && (got = read(fd, text + have, size - 1 - have)) > 0)
		have += (size_t)got;
	int error = errno;
	(void)close(fd);
	text[have] = '\0';
	errno = error;
	return got < 0 ? -1 : (ssize_t)have;
}

int write_all(int fd, const void *data, size_t length)
{
	const char *at = data;
	while (length > 0) {
		ssize_t done = write(fd, at, length);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -1;
		at += done;
		length -= (size_t)done;
	}
	return 0;
}

bool copy_all(int from, int to)
{
	static char bytes[65536];
	for (;;) {
		ssize_t got = read(from, bytes, sizeof bytes);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got == 0;
		if (write_all(to, bytes, (size_t)got) != 0)
			return false;
	}
}

int write_text_at(int dir, const char *path, const char *text)
{
	int fd = openat(dir, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -1;
	/* One write: files of the kernel take a value whole or not at all. */
	ssize_t done = write(fd, text, strlen(text));
	int error = errno;
	(void)close(fd);
	errno = error;
	return done < 0 ? -1 : 0;
}

char *span_text(struct span span)
{
	char *text = malloc(span.length + 1);
	if (!text)
		return NULL;
	if (span.length > 0)
		memcpy(text, span.data, span.length);
	text[span.length] = '\0';
	return text;
}

bool span_is(struct span span, const char *text)
{
	return span.length == strlen(text) && memcmp(span.data, text, span.length) == 0;
}

bool parse_u64(const char *text, uint64_t *value)
{
	uint64_t number = 0;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || number > (UINT64_MAX - 9) / 10)
			return false;
		number = number * 10 + (uint64_t)(*text - '0');
	}
	*value = number;
	return true;
}

void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}
