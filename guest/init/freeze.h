/*
 * Volumes that nothing is written to for a while, so that the host can copy their disks: what was written before is there
 * whole, with an empty journal.  Whatever becomes of who asked, each is written to again when its time is over.
 */
#ifndef FREEZE_H
#define FREEZE_H

#include "request.h"

void op_volume_freeze(struct request *request);

/* At once, all of them; does not wait. */
void freezes_end(void);

#endif
