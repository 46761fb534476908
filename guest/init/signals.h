/* Signals to processes: at once, or as soon as one hears it. */
#ifndef SIGNALS_H
#define SIGNALS_H

#include "process.h"

void op_process_signal(struct request *request);

/* It has exited: no signal waits for it any more. */
void signal_forget(struct process *process);

#endif
