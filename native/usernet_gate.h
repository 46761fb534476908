/*
 * What passes between a guest and libslirp: of the guest's frames those that a user's network is for, judged before any
 * of libslirp's code has seen them.
 *
 * libslirp alone is not enough (4.7.0): with `disable_host_loopback` a frame to 127.0.0.1 or 0.0.0.0 itself still reaches
 * the host's loopback, and the answer of a forwarded UDP port to a peer there does not; with `restricted` no answer of a
 * forwarded UDP port leaves.  So both are off in it, and this is what keeps the guest from the host's loopback.  A last
 * fragment that comes first makes it, as Debian 12 has built it, write where it should not: it gets no fragments.
 *
 * - ARP and IPv4 from the guest's one address; to the gateway, the name server, and addresses beyond the network, but
 *   not to "this network", loopback, multicast, broadcast.
 * - To the gateway, and if it is restricted to anybody: TCP connections that others opened, UDP to who has sent some to
 *   the same port, echo requests to the gateway and the name server, DHCP.  TCP to the gateway's ports that are offered.
 * - To the name server: port 53, echo requests.
 * - Fragments that come in order, as a kernel sends them, put together to what they are of.
 *
 * Sources: RFC 791, 792, 793, 768, 826, 1624; libslirp's slirp_input(), sotranslate_out(), udp_input(), tcp_input().
 */
#ifndef USERNET_GATE_H
#define USERNET_GATE_H

#include <stddef.h>
#include <stdint.h>

enum { MAX_FRAME = 65536, PEERS = 512, WHOLES = 4, MAX_WHOLE = 14 + 65535 };

/* A packet of which the first `bytes` behind the header are there; 0: none. */
struct whole {
	uint32_t target;
	unsigned protocol, id;
	size_t bytes;
	uint8_t frame[MAX_WHOLE];
};

/*
 * Addresses as numbers, in the host's order.  `crowded`: it opens nothing new at the moment.  `offers`: a file with the
 * ports of the host's loopback address that the gateway offers, a line each, as they are by now; NULL: none.
 */
struct gate {
	uint32_t network, mask, gateway, dns, guest;
	int restricted, crowded;
	const char *offers;
	struct peer { uint32_t address; uint16_t port, guest_port; } peers[PEERS]; /* who has sent UDP, the last of them */
	size_t next_peer, next_whole;
	struct whole wholes[WHOLES];
};

/*
 * The frame that may go in for one of the guest's, until the next call: mostly itself, or NULL.  One that opens what it may
 * not is changed so that libslirp refuses it.
 */
uint8_t *gate_in(struct gate *gate, uint8_t *frame, size_t *bytes);

/* Takes note of who speaks to the guest.  NULL, or what to send instead of the frame, until the next call. */
const uint8_t *gate_out(struct gate *gate, const uint8_t *frame, size_t bytes);

#endif
