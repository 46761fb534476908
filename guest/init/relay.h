/* Between a pipe and a line that loses bytes, which carries line.h's frames. */
#ifndef RELAY_H
#define RELAY_H

/* Carries bytes until `stream`, a socket, ends and all of it has arrived (0), or the line fails (-1).  Neither blocks. */
int relay_run(int line, int stream);

#endif
