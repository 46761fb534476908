/* STATS: numbers from cgroup files and /proc.  What the kernel does not count is left out or 0. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "cgroup.h"
#include "container.h"
#include "operations.h"

static void stat_put(struct buffer *fields, const char *name, uint64_t number)
{
	size_t begun = field_begin(fields, HYPER_STAT);
	field_text(fields, HYPER_NAME, name);
	field_u64(fields, HYPER_NUMBER, number);
	field_end(fields, begun);
}

/* One of many: "GROUP NAME KEY", or without the name where that is "". */
static void stat_put_in(struct buffer *fields, const char *group, const char *name, const char *key, uint64_t number)
{
	char text[200];
	(void)snprintf(text, sizeof text, "%s %s%s%s", group, name, *name ? " " : "", key);
	stat_put(fields, text, number);
}

/* The network is the pod's: every container shows the same. */
static void network(struct buffer *fields)
{
	static const char *const keys[] = {"rx_bytes", "rx_packets", "rx_errors", "rx_dropped", NULL, NULL, NULL, NULL,
	                                   "tx_bytes", "tx_packets", "tx_errors", "tx_dropped"};
	char text[8192], *rest = text, *colon;
	uint64_t sums[4] = {0}, value[12];
	if (read_text_at(AT_FDCWD, "/proc/net/dev", text, sizeof text) < 0)
		return;
	for (char *line; (line = strsep(&rest, "\n"));) {
		line += strspn(line, " ");
		if (!(colon = strchr(line, ':')) || strncmp(line, "lo:", 3) == 0)
			continue;
		*colon = '\0';
		char *at = colon + 1;
		for (int i = 0; i < 12; i++) {
			value[i] = strtoull(at, &at, 10);
			if (keys[i])
				stat_put_in(fields, "interfaces", line, keys[i], value[i]);
		}
		sums[0] += value[0];
		sums[1] += value[8];
		sums[2] += value[1];
		sums[3] += value[9];
	}
	stat_put(fields, "net_rx_bytes", sums[0]);
	stat_put(fields, "net_tx_bytes", sums[1]);
	stat_put(fields, "net_rx_packets", sums[2]);
	stat_put(fields, "net_tx_packets", sums[3]);
}

/* A file of "key value" lines of a group. */
static void all_of(struct buffer *fields, int group, const char *file, const char *called)
{
	char text[8192], *rest = text;
	uint64_t value;
	if (group < 0 || read_text_at(group, file, text, sizeof text) < 0)
		return;
	for (char *line; (line = strsep(&rest, "\n"));) {
		char *word = line;
		const char *key = strsep(&word, " ");
		if (word && parse_u64(word, &value))
			stat_put_in(fields, called, "", key, value);
	}
}

/* io.stat: "254:0 rbytes=1 wbytes=2 ..." */
static void disks_of(struct buffer *fields, int group)
{
	char text[8192], *rest = text;
	uint64_t value;
	if (group < 0 || read_text_at(group, "io.stat", text, sizeof text) < 0)
		return;
	for (char *line; (line = strsep(&rest, "\n"));) {
		const char *disk = strsep(&line, " ");
		for (char *word; (word = strsep(&line, " "));) {
			char *equals = strchr(word, '=');
			if (!equals || !parse_u64(equals + 1, &value))
				continue;
			*equals = '\0';
			stat_put_in(fields, "disks", disk, word, value);
		}
	}
}

static void of_container(const struct container *container, struct buffer *fields)
{
	struct sysinfo vm;
	uint64_t total = sysinfo(&vm) == 0 ? (uint64_t)vm.totalram * vm.mem_unit : 0;
	int group = container->cgroup;
	uint64_t memory_max = cgroup_number(group, "memory.max", "", total);
	stat_put(fields, "cpu_ns", cgroup_number(group, "cpu.stat", "usage_usec", 0) * 1000);
	stat_put(fields, "memory_bytes", cgroup_number(group, "memory.current", "", 0));
	stat_put(fields, "memory_max_bytes", memory_max < total ? memory_max : total);
	stat_put(fields, "memory_cache_bytes", cgroup_number(group, "memory.stat", "inactive_file", 0));
	stat_put(fields, "pids", cgroup_number(group, "pids.current", "", 0));
	stat_put(fields, "block_read_bytes", cgroup_sum(group, "io.stat", "rbytes"));
	stat_put(fields, "block_write_bytes", cgroup_sum(group, "io.stat", "wbytes"));
	stat_put(fields, "pids_max", cgroup_number(group, "pids.max", "", 0));
	all_of(fields, group, "cpu.stat", "cpu_stat");
	all_of(fields, group, "memory.stat", "memory_stat");
	disks_of(fields, group);
}

/* "Name:   123 kB" */
static uint64_t meminfo(const char *text, const char *name)
{
	const char *at = strstr(text, name);
	return at ? strtoull(at + strlen(name), NULL, 10) * 1024 : 0;
}

static void disks(struct buffer *fields)
{
	char text[8192], *rest = text;
	uint64_t sectors[2] = {0}, read, written;
	char name[32];
	if (read_text_at(AT_FDCWD, "/proc/diskstats", text, sizeof text) < 0)
		return;
	for (char *line; (line = strsep(&rest, "\n"));) {
		if (sscanf(line, "%*u %*u %31s %*u %*u %" SCNu64 " %*u %*u %*u %" SCNu64, name, &read, &written) != 3 ||
		    strncmp(name, "loop", 4) == 0 || strncmp(name, "ram", 3) == 0)
			continue;
		sectors[0] += read;
		sectors[1] += written;
	}
	stat_put(fields, "block_read_bytes", sectors[0] * 512);
	stat_put(fields, "block_write_bytes", sectors[1] * 512);
}

static void of_vm(struct buffer *fields)
{
	char text[4096];
	uint64_t user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, softirq = 0;
	struct sysinfo vm;
	if (read_text_at(AT_FDCWD, "/proc/stat", text, sizeof text) > 0 &&
	    sscanf(text, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &user, &nice,
	           &system, &idle, &wait, &irq, &softirq) == 7)
		stat_put(fields, "cpu_ns", (user + nice + system + irq + softirq) * (1000000000 / (uint64_t)sysconf(_SC_CLK_TCK)));
	if (read_text_at(AT_FDCWD, "/proc/meminfo", text, sizeof text) > 0) {
		uint64_t total = meminfo(text, "MemTotal:"), available = meminfo(text, "MemAvailable:");
		stat_put(fields, "memory_bytes", total > available ? total - available : 0);
		stat_put(fields, "memory_max_bytes", total);
		stat_put(fields, "memory_cache_bytes", meminfo(text, "\nCached:"));
	}
	if (sysinfo(&vm) == 0)
		stat_put(fields, "pids", vm.procs);
	disks(fields);
}

void op_stats(struct request *request)
{
	struct failure failure;
	struct buffer fields = {0};
	struct container *container = container_find(request->container);
	if (request->container[0] && !container) {
		(void)fail(&failure, ENOENT, "container %s: there is none", request->container);
		request_done(request, &failure, NULL);
		return;
	}
	if (container)
		of_container(container, &fields);
	else
		of_vm(&fields);
	network(&fields);
	request_done(request, NULL, &fields);
	buffer_free(&fields);
}
