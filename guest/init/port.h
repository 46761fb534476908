/*
 * The byte pipe to the host, opened: the virtio port of the contract's name, or what `address` says:
 * a path ("/dev/hvc1"), "serial:PATH" (one that loses bytes, see line.h), "unix:PATH" and "vsock:PORT" (listeners: one host at a time), "fd:N".
 */
#ifndef PORT_H
#define PORT_H

/* Sets one of the two, the other to -1; -1 with errno.  Waits for a virtio port that is not there yet. */
int port_find(const char *address, int *port, int *listener);

/* A device, a terminal line made raw; -1 with errno.  Waits for one of /dev that is not there yet. */
int port_open(const char *path);

#endif
