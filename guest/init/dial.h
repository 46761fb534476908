/* A socket in a container, for the host: the builder's API. */
#ifndef DIAL_H
#define DIAL_H

#define INFILE_DIAL "hyper-dial"

/* "hyper-dial PATH": a connection to the socket at PATH as its input and output, until the socket's side ends. */
__attribute__((noreturn)) void dial(const char *path);

#endif
