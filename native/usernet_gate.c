/* See usernet_gate.h. */
#include "usernet_gate.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	ETHER = 14, TYPE_AT = 12, IPV4 = 0x0800, ARP = 0x0806,
	ARP_BYTES = 28, ARP_SENDER = 14,
	HEADER = 20, LENGTH_AT = 2, ID_AT = 4, OFFSET_AT = 6, PROTOCOL_AT = 9, SUM_AT = 10, SOURCE_AT = 12, TARGET_AT = 16,
	MORE_FRAGMENTS = 0x2000, FRAGMENT_OFFSET = 0x1fff,
	ICMP = 1, TCP = 6, UDP = 17,
	ECHO_REQUEST = 8, ECHO_BYTES = 8,
	TCP_BYTES = 20, FLAGS_AT = 12, TCP_SUM_AT = 16, FIN = 0x01, SYN = 0x02, ACK = 0x10,
	UDP_BYTES = 8, UDP_SUM_AT = 6,
	DNS_PORT = 53, DHCP_PORT = 67,
	OFFERS_BYTES = 32768
};

static const uint32_t LOOPBACK = 0x7f000001, BROADCAST = 0xffffffff, MULTICAST = 0xe0000000;

/* An IPv4 packet; `data` is where in the frame its header ends, with `bytes` behind it. */
struct packet {
	size_t data, bytes;
	uint32_t source, target;
	unsigned protocol, fragment;
};

static unsigned get16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* Changes two bytes that a checksum is over (RFC 1624, equation 3). */
static void change16(uint8_t *at, unsigned value, uint8_t *sum)
{
	uint32_t total = (~get16(sum) & 0xffff) + (~get16(at) & 0xffff) + value;
	total = (total & 0xffff) + (total >> 16);
	total = (total & 0xffff) + (total >> 16);
	put16(sum, ~total & 0xffff);
	put16(at, value);
}

static int read_packet(const uint8_t *frame, size_t bytes, struct packet *packet)
{
	if (bytes < ETHER + HEADER || get16(frame + TYPE_AT) != IPV4)
		return 0;
	const uint8_t *header = frame + ETHER;
	size_t length = (size_t)(header[0] & 15) * 4, total = get16(header + LENGTH_AT);
	if (header[0] >> 4 != 4 || length < HEADER || total < length || total > bytes - ETHER)
		return 0;
	*packet = (struct packet){
		.data = ETHER + length, .bytes = total - length,
		.source = get32(header + SOURCE_AT), .target = get32(header + TARGET_AT),
		.protocol = header[PROTOCOL_AT],
		.fragment = get16(header + OFFSET_AT) & (MORE_FRAGMENTS | FRAGMENT_OFFSET),
	};
	return 1;
}

/* ---- UDP's peers ---- */

static int known(const struct gate *gate, struct peer peer)
{
	for (size_t i = 0; i < PEERS; i++) {
		const struct peer *one = &gate->peers[i];
		if (one->address == peer.address && one->port == peer.port && one->guest_port == peer.guest_port)
			return 1;
	}
	return 0;
}

static void note(struct gate *gate, struct peer peer)
{
	if (known(gate, peer))
		return;
	gate->peers[gate->next_peer] = peer;
	gate->next_peer = (gate->next_peer + 1) % PEERS;
}

/* ---- fragments ---- */

/* Where a fragment belongs: to the packet whose next it is, or as the first of one to a place of its own. */
static struct whole *whole_of(struct gate *gate, const struct packet *packet, unsigned id, size_t offset)
{
	for (size_t i = 0; i < WHOLES; i++) {
		struct whole *one = &gate->wholes[i];
		if (one->bytes != 0 && one->id == id && one->target == packet->target && one->protocol == packet->protocol)
			return one->bytes == offset || offset == 0 ? one : NULL;
	}
	if (offset != 0)
		return NULL;
	gate->next_whole = (gate->next_whole + 1) % WHOLES;
	return &gate->wholes[gate->next_whole];
}

static void finish_header(uint8_t *header, size_t total)
{
	uint32_t sum = 0;
	header[0] = 4 << 4 | HEADER / 4; /* options stay behind */
	put16(header + LENGTH_AT, (unsigned)total);
	put16(header + OFFSET_AT, 0);
	put16(header + SUM_AT, 0);
	for (int at = 0; at < HEADER; at += 2)
		sum += get16(header + at);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	put16(header + SUM_AT, ~sum & 0xffff);
}

/* The frame of a whole packet, if this was the last that it lacked. */
static uint8_t *join(struct gate *gate, const uint8_t *frame, const struct packet *packet, size_t *bytes)
{
	unsigned id = get16(frame + ETHER + ID_AT);
	size_t offset = (size_t)(packet->fragment & FRAGMENT_OFFSET) * 8;
	int more = (packet->fragment & MORE_FRAGMENTS) != 0;
	struct whole *one = whole_of(gate, packet, id, offset);
	if (one == NULL)
		return NULL;
	if (packet->bytes == 0 || (more && packet->bytes % 8 != 0) || ETHER + HEADER + offset + packet->bytes > MAX_WHOLE) {
		one->bytes = 0;
		return NULL;
	}
	if (offset == 0) {
		one->id = id;
		one->target = packet->target;
		one->protocol = packet->protocol;
		memcpy(one->frame, frame, ETHER + HEADER);
	}
	memcpy(one->frame + ETHER + HEADER + offset, frame + packet->data, packet->bytes);
	one->bytes = offset + packet->bytes;
	if (more)
		return NULL;
	*bytes = ETHER + HEADER + one->bytes;
	finish_header(one->frame + ETHER, HEADER + one->bytes);
	one->bytes = 0;
	return one->frame;
}

/* ---- what a guest sends ---- */

static int arp_in(const struct gate *gate, const uint8_t *frame, size_t bytes)
{
	static const uint8_t ETHERNET_IPV4[] = {0, 1, IPV4 >> 8, IPV4 & 255, 6, 4};
	return bytes >= ETHER + ARP_BYTES && memcmp(frame + ETHER, ETHERNET_IPV4, sizeof ETHERNET_IPV4) == 0 &&
		get32(frame + ETHER + ARP_SENDER) == gate->guest;
}

static int offered(const struct gate *gate, unsigned port)
{
	char text[OFFERS_BYTES + 1], *rest = text;
	int fd = gate->offers != NULL ? open(gate->offers, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return 0;
	ssize_t bytes = read(fd, text, OFFERS_BYTES);
	close(fd);
	text[bytes > 0 ? bytes : 0] = 0;
	for (char *line; (line = strsep(&rest, "\n")) != NULL;)
		if (strtoul(line, NULL, 10) == port)
			return 1;
	return 0;
}

static int tcp_in(const struct gate *gate, const struct packet *packet, uint8_t *data)
{
	if (packet->bytes < TCP_BYTES || packet->target == BROADCAST)
		return 0;
	uint8_t *flags = data + FLAGS_AT;
	if ((flags[1] & (SYN | ACK)) != SYN)
		return 1; /* it opens nothing: libslirp knows its connection, or refuses */
	unsigned port = get16(data + 2);
	if (packet->target == gate->gateway && offered(gate, port))
		return !gate->crowded;
	if (gate->restricted || packet->target == gate->gateway || (packet->target == gate->dns && port != DNS_PORT)) {
		change16(flags, get16(flags) | FIN, data + TCP_SUM_AT); /* which no connection begins with */
		return 1;
	}
	return !gate->crowded;
}

static int udp_in(const struct gate *gate, const struct packet *packet, const uint8_t *data)
{
	if (packet->bytes < UDP_BYTES)
		return 0;
	unsigned from = get16(data), to = get16(data + 2);
	if (to == DHCP_PORT && (packet->target == gate->gateway || packet->target == BROADCAST))
		return 1;
	if (packet->target == BROADCAST || packet->source != gate->guest)
		return 0;
	if (gate->restricted || packet->target == gate->gateway)
		return known(gate, (struct peer){packet->target, (uint16_t)to, (uint16_t)from});
	if (packet->target == gate->dns && to != DNS_PORT)
		return 0;
	return !gate->crowded;
}

static int icmp_in(const struct gate *gate, const struct packet *packet, const uint8_t *data)
{
	if (packet->bytes < ECHO_BYTES || data[0] != ECHO_REQUEST || packet->target == BROADCAST)
		return 0;
	if (packet->target == gate->gateway || packet->target == gate->dns)
		return 1;
	return !gate->restricted && !gate->crowded;
}

/* DHCP is asked by who has no address yet, from 0.0.0.0 to everybody; nothing else is. */
static int may_be_sent(const struct gate *gate, const struct packet *packet)
{
	uint32_t target = packet->target;
	if (target == BROADCAST)
		return packet->protocol == UDP && (packet->source == 0 || packet->source == gate->guest);
	if (packet->source != gate->guest)
		return 0;
	if (target == gate->gateway || target == gate->dns)
		return 1;
	return target >> 24 != 0 && target >> 24 != LOOPBACK >> 24 && target < MULTICAST &&
		(target & gate->mask) != gate->network;
}

static int ipv4_in(const struct gate *gate, const struct packet *packet, uint8_t *data)
{
	if (!may_be_sent(gate, packet))
		return 0;
	switch (packet->protocol) {
	case TCP:
		return tcp_in(gate, packet, data);
	case UDP:
		return udp_in(gate, packet, data);
	case ICMP:
		return icmp_in(gate, packet, data);
	default:
		return 0;
	}
}

uint8_t *gate_in(struct gate *gate, uint8_t *frame, size_t *bytes)
{
	struct packet packet;
	if (*bytes < ETHER)
		return NULL;
	if (get16(frame + TYPE_AT) == ARP)
		return arp_in(gate, frame, *bytes) ? frame : NULL;
	if (!read_packet(frame, *bytes, &packet))
		return NULL;
	if (packet.fragment) {
		frame = join(gate, frame, &packet, bytes);
		if (frame == NULL || !read_packet(frame, *bytes, &packet))
			return NULL;
	}
	return ipv4_in(gate, &packet, frame + packet.data) ? frame : NULL;
}

/* ---- what it gets ---- */

static int has_udp_header(const struct packet *packet)
{
	return !(packet->fragment & FRAGMENT_OFFSET) && packet->bytes >= UDP_BYTES;
}

/* libslirp calls a peer on the host's loopback the gateway, but not after it has sent to another for the same port. */
static void rename_source(const struct gate *gate, struct packet *packet, uint8_t *frame)
{
	unsigned halves[] = {gate->gateway >> 16, gate->gateway & 0xffff};
	uint8_t *header = frame + ETHER, *sum = frame + packet->data + UDP_SUM_AT;
	int summed = has_udp_header(packet) && get16(sum) != 0;
	for (int i = 0; i < 2; i++) {
		uint8_t *at = header + SOURCE_AT + 2 * i;
		uint8_t same[2] = {at[0], at[1]};
		change16(at, halves[i], header + SUM_AT);
		if (summed)
			change16(same, halves[i], sum);
	}
	if (summed && get16(sum) == 0)
		put16(sum, 0xffff);
	packet->source = gate->gateway;
}

const uint8_t *gate_out(struct gate *gate, const uint8_t *frame, size_t bytes)
{
	static uint8_t renamed[MAX_FRAME];
	struct packet packet;
	const uint8_t *instead = NULL;
	if (bytes > sizeof renamed || !read_packet(frame, bytes, &packet) || packet.protocol != UDP)
		return NULL;
	if (packet.source == LOOPBACK) {
		memcpy(renamed, frame, bytes);
		rename_source(gate, &packet, renamed);
		instead = renamed;
	}
	if ((packet.source == gate->gateway || gate->restricted) && has_udp_header(&packet)) {
		const uint8_t *data = frame + packet.data;
		note(gate, (struct peer){packet.source, (uint16_t)get16(data), (uint16_t)get16(data + 2)});
	}
	return instead;
}
