/* Sockets in a container whose other end is the host's: a user's SSH agent in the steps of a build, Docker's API. */
#ifndef LEND_H
#define LEND_H

#define INFILE_LEND "hyper-lend"

/*
 * "hyper-lend PATH": a socket at PATH until its input ends, and "listening" in a line of its error output once it is there.
 * Where there is nothing it is its owner's alone; over what is there already it is mounted, for owner and group.
 *
 * What comes from a connection is a frame of the output, and a frame of the input is for a connection: channel, kind, two
 * zero bytes, a number (big-endian, 32 bits).
 *
 *     0  data     so many bytes follow; with none of them the end of this direction
 *     1  credit   so many more bytes of data may come on this channel; there are LEND_WINDOW from the beginning
 *     2  gone     the connection is over, whatever is still under way, and this side says no more of it
 *
 * A channel is a connection's from its first frame until both sides have said that it is gone, which either does when both
 * directions have ended, or one of them has broken, and when the other side has said it.  There are LEND_CHANNELS, and who
 * comes when all are taken waits.  No connection holds up another: what it does not take yet is kept, and the credit says how
 * much that can be.
 */
#define LEND_CHANNELS 64
#define LEND_WINDOW 32768

__attribute__((noreturn)) void lend(int root, const char *path);

#endif
