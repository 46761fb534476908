/* Sockets in a container whose other end is the host's: how the SSH agent of a user comes to the steps of a build. */
#ifndef LEND_H
#define LEND_H

#define INFILE_LEND "hyper-lend"

/*
 * "hyper-lend PATH": a socket at PATH, of its owner alone, until its input ends.  What comes from a connection is a frame
 * of the output, and a frame of the input is for a connection: channel, three zero bytes, length (big-endian, 32 bits),
 * bytes.  A channel is a connection's from its first byte until both sides have said that it ended, by an empty frame
 * each; there are LEND_CHANNELS, and who comes when all are taken waits.
 */
#define LEND_CHANNELS 5

__attribute__((noreturn)) void lend(int root, const char *path);

#endif
