/* What usernet is told: its options, and words that name forwards. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "usernet.h"

/* ---- words ---- */

size_t split(char *text, const char *separator, char **words, size_t max)
{
	size_t count = 0;
	char *rest = text;
	for (char *word; (word = strsep(&rest, separator)) != NULL; count++) {
		if (count == max)
			return max + 1;
		words[count] = word;
	}
	return count;
}

long number(const char *text, long max)
{
	size_t length = strlen(text);
	if (length == 0 || length > 9 || strspn(text, "0123456789") != length)
		return -1;
	long value = strtol(text, NULL, 10);
	return value <= max ? value : -1;
}

static int read_port(const char *text)
{
	long port = number(text, PORT_MAX);
	return port > 0 ? (int)port : -1;
}

const char *read_forward(char *const *words, size_t count, struct forward *forward)
{
	*forward = (struct forward){.udp = strcmp(words[0], "udp") == 0};
	if (!forward->udp && strcmp(words[0], "tcp") != 0)
		return "a forward is of tcp or udp";
	if (inet_pton(AF_INET, words[1], &forward->host) != 1)
		return "the host's address is none of IPv4";
	if ((forward->host_port = read_port(words[2])) < 0)
		return "the host's port is not within 1 to 65535";
	if (count < 5)
		return NULL;
	if (inet_pton(AF_INET, words[3], &forward->guest) != 1)
		return "the guest's address is none of IPv4";
	if ((forward->guest_port = read_port(words[4])) < 0)
		return "the guest's port is not within 1 to 65535";
	return NULL;
}

/* ---- options ---- */

static struct in_addr address(const char *text)
{
	struct in_addr found;
	if (inet_pton(AF_INET, text, &found) != 1)
		fail("%s is no address of IPv4", text);
	return found;
}

static void read_network(SlirpConfig *config, char *text)
{
	char *words[2];
	if (split(text, "/", words, 2) != 2)
		fail("%s is no network", text);
	long prefix = number(words[1], 30);
	if (prefix < 1)
		fail("/%s is no network's prefix, 1 to 30", words[1]);
	config->vnetmask.s_addr = htonl(UINT32_MAX << (32 - prefix));
	config->vnetwork.s_addr = address(words[0]).s_addr & config->vnetmask.s_addr;
}

static void want(struct usernet *self, char *text)
{
	char *words[5];
	if (self->wanted_count == FORWARDS)
		fail("more than %d forwards", FORWARDS);
	if (split(text, ":", words, 5) != 5)
		fail("a forward is PROTOCOL:ADDRESS:PORT:ADDRESS:PORT");
	const char *problem = read_forward(words, 5, &self->wanted[self->wanted_count++]);
	if (problem != NULL)
		fail("%s", problem);
}

static void option(struct usernet *self, const char *name, char *value)
{
	SlirpConfig *config = &self->config;
	if (strcmp(name, "network") == 0)
		read_network(config, value);
	else if (strcmp(name, "gateway") == 0)
		config->vhost = address(value);
	else if (strcmp(name, "dns") == 0)
		config->vnameserver = address(value);
	else if (strcmp(name, "guest") == 0)
		config->vdhcp_start = address(value);
	else if (strcmp(name, "hostname") == 0)
		config->vhostname = value;
	else if (strcmp(name, "offers") == 0)
		self->gate.offers = value;
	else if (strcmp(name, "forward") == 0)
		want(self, value);
	else if (strcmp(name, "mtu") == 0) {
		long mtu = number(value, MAX_MTU);
		if (mtu < MIN_MTU)
			fail("%s bytes are no MTU, %d to %d", value, MIN_MTU, MAX_MTU);
		config->if_mtu = config->if_mru = (size_t)mtu;
	} else
		fail("%s: no such option", name);
}

static int descriptor(const char *text)
{
	long fd = number(text, INT_MAX);
	if (fd < 0 || fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
		fail("%s is no open descriptor", text);
	return (int)fd;
}

static uint32_t in_network(const SlirpConfig *config, struct in_addr one, const char *name)
{
	if (one.s_addr == 0 || (one.s_addr & config->vnetmask.s_addr) != config->vnetwork.s_addr)
		fail("%s: it is not in the network", name);
	return ntohl(one.s_addr);
}

void read_options(struct usernet *self, char **at)
{
	if (at[0] == NULL || at[1] == NULL)
		fail("usernet FRAMES_FD CONTROL_FD network=NETWORK gateway=ADDRESS dns=ADDRESS guest=ADDRESS [OPTION]...");
	self->frames = descriptor(at[0]);
	self->control = descriptor(at[1]);
	SlirpConfig *config = &self->config;
	config->if_mtu = config->if_mru = DEFAULT_MTU;
	for (at += 2; *at != NULL; at++) {
		char *words[2], *value = strchr(*at, '=');
		if (strcmp(*at, "restrict") == 0)
			self->gate.restricted = 1;
		else if (strcmp(*at, "tap") == 0)
			self->tap = 1;
		else if (value == NULL)
			fail("%s: no such option", *at);
		else {
			words[0] = *at;
			words[1] = value + 1;
			*value = 0;
			option(self, words[0], words[1]);
		}
	}
	struct gate *gate = &self->gate;
	if (config->vnetmask.s_addr == 0)
		fail("there is no network");
	gate->network = ntohl(config->vnetwork.s_addr);
	gate->mask = ntohl(config->vnetmask.s_addr);
	gate->gateway = in_network(config, config->vhost, "gateway");
	gate->dns = in_network(config, config->vnameserver, "dns");
	gate->guest = in_network(config, config->vdhcp_start, "guest");
	if (gate->gateway == gate->dns || gate->gateway == gate->guest || gate->dns == gate->guest)
		fail("guest, gateway and dns need three addresses");
}
