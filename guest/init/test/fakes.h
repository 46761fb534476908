/* Containers and processes as the session sees them, without any: pipes that the test holds the other ends of. */
#ifndef FAKES_H
#define FAKES_H

#include "../process.h"

/* Fake processes have numbers below this, and echo nothing by themselves. */
#define FAKES_MAX 8

struct fake {
	bool used;
	struct stream streams[3];
	int ends[3]; /* the process's own */
};

extern struct fake fakes[FAKES_MAX];
extern unsigned begun[HYPER_OP_VOLUME_FREEZE + 1]; /* how often each operation began */
extern struct request *held;                  /* a CONTAINER_CREATE that the test answers later */
extern bool hold;

void fakes_reset(void);

#endif
