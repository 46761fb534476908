#include "net.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "uevent.h"

#define WAIT_MS 5000
#define IFF_UP_FLAG 1u

struct message {
	struct nlmsghdr header;
	union {
		struct ifinfomsg link;
		struct ifaddrmsg address;
		struct rtmsg route;
	} body;
	uint8_t attributes[256];
};

struct ip {
	uint8_t family, prefix;
	uint8_t bytes[16];
	uint16_t length;
};

static void begin(struct message *message, uint16_t type, uint16_t flags, size_t body)
{
	*message = (struct message){0};
	message->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(body);
	message->header.nlmsg_type = type;
	message->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
}

static void attribute(struct message *message, uint16_t type, const void *data, size_t length)
{
	struct rtattr *at = (struct rtattr *)(void *)((char *)message + NLMSG_ALIGN(message->header.nlmsg_len));
	at->rta_type = type;
	at->rta_len = (uint16_t)RTA_LENGTH(length);
	memcpy(RTA_DATA(at), data, length);
	message->header.nlmsg_len = (uint32_t)(NLMSG_ALIGN(message->header.nlmsg_len) + RTA_ALIGN(at->rta_len));
}

/* Sends it and waits for the kernel's answer, which comes at once. */
static int transact(struct message *message)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		uint8_t rest[1024];
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return -1;
	ssize_t got = send(fd, message, message->header.nlmsg_len, 0);
	if (got >= 0)
		got = recv(fd, &answer, sizeof answer, 0);
	int error = errno;
	(void)close(fd);
	if (got >= (ssize_t)NLMSG_LENGTH(sizeof answer.error.error) && answer.header.nlmsg_type == NLMSG_ERROR)
		error = -answer.error.error;
	errno = error;
	return got < 0 || error ? -1 : 0;
}

/* `mac` is 6 bytes, or none; what is not to be up stays as it is. */
static int set_link(int index, bool up, const char *name, uint32_t mtu, struct span mac)
{
	struct message message;
	begin(&message, RTM_NEWLINK, 0, sizeof message.body.link);
	message.body.link.ifi_index = index;
	message.body.link.ifi_flags = up ? IFF_UP_FLAG : 0;
	message.body.link.ifi_change = up ? IFF_UP_FLAG : 0;
	if (name)
		attribute(&message, IFLA_IFNAME, name, strlen(name) + 1);
	if (mtu)
		attribute(&message, IFLA_MTU, &mtu, sizeof mtu);
	if (mac.length)
		attribute(&message, IFLA_ADDRESS, mac.data, mac.length);
	return transact(&message);
}

static int take_down(int index)
{
	struct message message;
	begin(&message, RTM_NEWLINK, 0, sizeof message.body.link);
	message.body.link.ifi_index = index;
	message.body.link.ifi_change = IFF_UP_FLAG;
	return transact(&message);
}

int net_loopback_up(void)
{
	return set_link(1, true, NULL, 0, (struct span){NULL, 0});
}

static int read_ip(struct span text, bool prefixed, struct ip *ip)
{
	char copy[65];
	uint64_t prefix;
	if (text.length == 0 || text.length >= sizeof copy)
		return -1;
	memcpy(copy, text.data, text.length);
	copy[text.length] = '\0';
	char *slash = strchr(copy, '/');
	if (slash)
		*slash++ = '\0';
	ip->family = strchr(copy, ':') ? AF_INET6 : AF_INET;
	ip->length = ip->family == AF_INET6 ? 16 : 4;
	if (inet_pton(ip->family, copy, ip->bytes) != 1 || prefixed != (slash != NULL))
		return -1;
	if (!prefixed)
		return 0;
	if (!parse_u64(slash, &prefix) || prefix > ip->length * 8u)
		return -1;
	ip->prefix = (uint8_t)prefix;
	return 0;
}

static int add_address(int index, struct span text, struct failure *failure)
{
	struct message message;
	struct ip ip;
	if (read_ip(text, true, &ip) != 0)
		return fail(failure, EINVAL, "address \"%.*s\": is none", (int)text.length, (const char *)text.data);
	begin(&message, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof message.body.address);
	message.body.address.ifa_family = ip.family;
	message.body.address.ifa_prefixlen = ip.prefix;
	message.body.address.ifa_index = (uint32_t)index;
	/* The host gave it: nobody else has it, so IPv6 need not ask around for a second. */
	message.body.address.ifa_flags = ip.family == AF_INET6 ? IFA_F_NODAD : 0;
	attribute(&message, IFA_LOCAL, ip.bytes, ip.length);
	attribute(&message, IFA_ADDRESS, ip.bytes, ip.length);
	if (ip.family == AF_INET && ip.prefix < 31) {
		uint32_t broadcast, mask = htonl(ip.prefix ? ~0u << (32 - ip.prefix) : 0);
		memcpy(&broadcast, ip.bytes, 4);
		broadcast |= ~mask;
		attribute(&message, IFA_BROADCAST, &broadcast, 4);
	}
	if (transact(&message) != 0)
		return fail(failure, errno, "address %.*s: %s", (int)text.length, (const char *)text.data, reason(errno));
	return 0;
}

/* To everywhere where `to` is NULL; by a gateway, or on the link where that is NULL. */
static int put_route(int index, const struct ip *to, const struct ip *gateway)
{
	struct message message;
	uint32_t out = (uint32_t)index;
	begin(&message, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof message.body.route);
	message.body.route = (struct rtmsg){.rtm_family = (to ? to : gateway)->family,
	                                    .rtm_dst_len = to ? to->prefix : 0,
	                                    .rtm_table = RT_TABLE_MAIN,
	                                    .rtm_protocol = RTPROT_BOOT,
	                                    .rtm_scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
	                                    .rtm_type = RTN_UNICAST,
	                                    .rtm_flags = gateway ? RTNH_F_ONLINK : 0}; /* it may be outside the subnet */
	if (to && to->prefix)
		attribute(&message, RTA_DST, to->bytes, to->length);
	if (gateway)
		attribute(&message, RTA_GATEWAY, gateway->bytes, gateway->length);
	attribute(&message, RTA_OIF, &out, sizeof out);
	return transact(&message);
}

static int add_gateway(int index, struct span text, struct failure *failure)
{
	struct ip ip;
	if (read_ip(text, false, &ip) != 0)
		return fail(failure, EINVAL, "gateway \"%.*s\": is no address", (int)text.length, (const char *)text.data);
	if (put_route(index, NULL, &ip) != 0)
		return fail(failure, errno, "gateway %.*s: %s", (int)text.length, (const char *)text.data, reason(errno));
	return 0;
}

/* "10.9.0.0/16 10.1.1.1", or of what is on the link "10.1.1.1/32". */
static int add_route(int index, struct span text, struct failure *failure)
{
	struct ip to, gateway;
	const uint8_t *space = memchr(text.data, ' ', text.length);
	struct span first = {text.data, space ? (size_t)(space - text.data) : text.length};
	struct span second = {space ? space + 1 : NULL, space ? text.length - first.length - 1 : 0};
	if (read_ip(first, true, &to) != 0 || (space && (read_ip(second, false, &gateway) != 0 || gateway.family != to.family)))
		return fail(failure, EINVAL, "route \"%.*s\": is none", (int)text.length, (const char *)text.data);
	if (put_route(index, &to, space ? &gateway : NULL) != 0)
		return fail(failure, errno, "route %.*s: %s", (int)text.length, (const char *)text.data, reason(errno));
	return 0;
}

/* The device's index and present name; 0 when there is none with this address. */
static int find_device(struct span mac, char name[16])
{
	char wanted[18], path[300], text[32];
	uint64_t index = 0;
	if (mac.length != 6)
		return 0;
	(void)snprintf(wanted, sizeof wanted, "%02x:%02x:%02x:%02x:%02x:%02x", mac.data[0], mac.data[1], mac.data[2],
	               mac.data[3], mac.data[4], mac.data[5]);
	DIR *list = opendir("/sys/class/net");
	for (struct dirent *entry; list && index == 0 && (entry = readdir(list));) {
		(void)snprintf(path, sizeof path, "%s/address", entry->d_name);
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lo") == 0 || read_text_at(dirfd(list), path, text, sizeof text) < 0 ||
		    strncmp(text, wanted, strlen(wanted)) != 0)
			continue;
		(void)snprintf(path, sizeof path, "%s/ifindex", entry->d_name);
		if (read_text_at(dirfd(list), path, text, sizeof text) < 0)
			continue;
		text[strcspn(text, "\n")] = '\0';
		(void)snprintf(name, 16, "%.15s", entry->d_name);
		if (!parse_u64(text, &index))
			index = 0;
	}
	if (list)
		(void)closedir(list);
	return (int)index;
}

static int await_device(struct span mac, char name[16])
{
	int index = find_device(mac, name);
	if (index)
		return index;
	int64_t end = clock_ns(CLOCK_MONOTONIC) + WAIT_MS * INT64_C(1000000);
	int events = uevent_open();
	index = find_device(mac, name);
	while (!index && events >= 0 && uevent_wait(events, end))
		index = find_device(mac, name);
	close_fd(&events);
	return index;
}

bool net_present(struct span interface)
{
	struct span mac;
	char name[16];
	return field_find(interface, HYPER_MAC, &mac) && find_device(mac, name) != 0;
}

/* On with an address of that family; without one its multicast traffic only costs time, in every clone again. */
static void set_ipv6(struct span interface, const char *name)
{
	char path[80];
	struct span each, rest = interface;
	bool addressed = false, six = false;
	while (field_each(&rest, HYPER_ADDRESS, &each)) {
		addressed = true;
		six |= memchr(each.data, ':', each.length) != NULL;
	}
	if (!addressed)
		return;
	(void)snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	(void)write_text_at(AT_FDCWD, path, six ? "0" : "1"); /* a kernel may have no IPv6 at all */
}

/* All that a clone's interface lacks is an address of its own, and an ioctl is the shortest way to that. */
static bool set_only_mac(struct span interface, struct span new_mac)
{
	struct ifreq request = {0};
	struct span name, each;
	if (!new_mac.length || field_find(interface, HYPER_ADDRESS, &each) || field_find(interface, HYPER_GATEWAY, &each) ||
	    field_find(interface, HYPER_ROUTE, &each) || field_find(interface, HYPER_MTU, &each) || !field_find(interface, HYPER_NAME, &name))
		return false;
	memcpy(request.ifr_name, name.data, name.length);
	request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(request.ifr_hwaddr.sa_data, new_mac.data, new_mac.length);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool done = fd >= 0 && ioctl(fd, SIOCSIFHWADDR, &request) == 0;
	close_fd(&fd);
	return done;
}

/* A machine may have its devices in another order than the host, who goes by their addresses: the name may be another's
 * still, which then waits for its own under one that nobody wants. */
static int rename_device(int index, const char *wanted)
{
	struct span none = {NULL, 0};
	char aside[16];
	if (set_link(index, false, wanted, 0, none) == 0)
		return 0;
	unsigned other = errno == EEXIST ? if_nametoindex(wanted) : 0;
	if (other == 0)
		return -1;
	(void)snprintf(aside, sizeof aside, "other%u", other);
	return set_link((int)other, false, aside, 0, none) == 0 ? set_link(index, false, wanted, 0, none) : -1;
}

int net_configure(struct span interface, struct failure *failure)
{
	struct span mac, name, each, none = {NULL, 0}, new_mac = none, rest = interface;
	char present[16], wanted[16];
	if (!field_find(interface, HYPER_MAC, &mac) || !field_find(interface, HYPER_NAME, &name) || name.length == 0)
		return fail(failure, EINVAL, "interface: it needs an address of 6 bytes and a name");
	(void)field_find(interface, HYPER_NEW_MAC, &new_mac);
	if (set_only_mac(interface, new_mac))
		return 0;
	memcpy(wanted, name.data, name.length);
	wanted[name.length] = '\0';
	if (find_flag(interface, HYPER_DOWN)) {
		int gone = find_device(mac, present);
		if (gone != 0 && take_down(gone) != 0)
			return fail(failure, errno, "interface %s: cannot take it down: %s", wanted, reason(errno));
		return 0;
	}
	int index = await_device(mac, present);
	if (index == 0)
		return fail(failure, ENODEV, "interface %s: there is no device with its MAC address", wanted);
	/* A device that is up has no new name; a clone's is up, and has its name. */
	if (strcmp(present, wanted) != 0 && rename_device(index, wanted) != 0)
		return fail(failure, errno, "interface %s: %s", wanted, reason(errno));
	set_ipv6(interface, wanted);
	if (set_link(index, true, NULL, find_u32(interface, HYPER_MTU, 0), new_mac) != 0)
		return fail(failure, errno, "interface %s: cannot bring it up: %s", wanted, reason(errno));
	while (field_each(&rest, HYPER_ADDRESS, &each)) {
		if (add_address(index, each, failure) != 0)
			return -1;
	}
	for (rest = interface; field_each(&rest, HYPER_ROUTE, &each);) {
		if (add_route(index, each, failure) != 0)
			return -1;
	}
	for (rest = interface; field_each(&rest, HYPER_GATEWAY, &each);) {
		if (add_gateway(index, each, failure) != 0)
			return -1;
	}
	return 0;
}
