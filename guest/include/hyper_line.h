/*
 * What goes over a line that loses bytes.  How it works: docs/wire-protocol.md.
 * Made of src/hypercontainer/hypervisor/line_frames.py by tools/make_wire.py; change it there.
 */
#ifndef HYPER_LINE_H
#define HYPER_LINE_H

#define LINE_MAGIC "\361\015HL" /* no text, and nothing that a console says */
#define LINE_HEADER_BYTES 24 /* with its own checksum */
#define LINE_CHECKSUM_BYTES 4 /* behind a payload: the CRC-32 of Ethernet and zlib */
#define LINE_PAYLOAD_MAX 1024
#define LINE_WINDOW 32 /* frames that may be on their way */

enum line_kind {
	LINE_OPEN = 1, /* from the host: this session begins, any other is over */
	LINE_OPENED = 2, /* from the guest: it has begun */
	LINE_DATA = 3, /* the only one with a payload */
	LINE_ACK = 4,
	LINE_AGAIN = 5, /* an ACK, and what comes after that is missing */
	LINE_POLL = 6, /* asks for an ACK */
	LINE_CLOSE = 7, /* from the host: the session is over */
	LINE_RESET = 8, /* from the guest: it knows no such session; of session 0: it has begun to listen */
};

#endif
