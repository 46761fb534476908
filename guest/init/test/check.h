/* A test is a program that ends with 0.  CHECK says what did not hold, and where, and ends it. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			(void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
			exit(1); \
		} \
	} while (0)

#define RUN(test) ((void)fprintf(stderr, "%s\n", #test), test())

/* A small generator of one's own: the same numbers everywhere. */
static inline unsigned random_below(unsigned long long *state, unsigned bound)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(*state >> 33) % bound;
}

#endif
