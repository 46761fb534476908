/* Small things that several files need. */
#ifndef UTIL_H
#define UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire.h"

#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* Why something failed: an errno, and words for people that name the object. */
struct failure {
	int error;
	char text[512];
};

/* Fills it in and returns -1. */
int fail(struct failure *failure, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The errno's words as Docker prints them: in lower case. */
const char *reason(int error);

/* To the kernel's log, which is the console too.  Sparingly: it costs milliseconds on an emulated serial line. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

int64_t clock_ns(int clock);

/* Reads at most size - 1 bytes and ends them with NUL; -1 with errno. */
ssize_t read_text_at(int dir, const char *path, char *text, size_t size);
int write_text_at(int dir, const char *path, const char *text);
int write_all(int fd, const void *data, size_t length);
/* All of `from`, to its end; false with errno where that fails. */
bool copy_all(int from, int to);

/* A copy that ends with NUL.  For children, which never free: NULL when memory is short. */
char *span_text(struct span span);
bool span_is(struct span span, const char *text);

/* A whole decimal number, nothing before or after it. */
bool parse_u64(const char *text, uint64_t *value);

void close_fd(int *fd);

#endif
