/*
 * Prints what no two machines may have in common, a line each: a name, a space, a value in hexadecimal or text.
 * A static program, so that it needs nothing of an image.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define BYTES 32

static int put_hex(const char *name, const unsigned char *bytes, size_t length)
{
	(void)printf("%s ", name);
	for (size_t i = 0; i < length; i++)
		(void)printf("%02x", bytes[i]);
	return printf("\n") < 0;
}

/* The first line of a file; nothing is said of one that is not there. */
static int put_file(const char *name, const char *path)
{
	char text[256] = "";
	FILE *file = fopen(path, "re");
	if (!file)
		return 0;
	char *got = fgets(text, sizeof text, file);
	(void)fclose(file);
	text[strcspn(text, "\n")] = '\0';
	return !got || printf("%s %s\n", name, text) < 0;
}

static int put_random(void)
{
	unsigned char bytes[BYTES];
	int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, bytes, sizeof bytes) != sizeof bytes || put_hex("urandom", bytes, sizeof bytes) != 0)
		return 1;
	(void)close(fd);
	if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes || put_hex("getrandom", bytes, sizeof bytes) != 0)
		return 1;
	/* What the kernel gave this process to make its stack's guard of. */
	memcpy(bytes, (const void *)(uintptr_t)getauxval(AT_RANDOM), 16);
	return put_hex("auxv", bytes, 16);
}

int main(void)
{
	struct timespec now;
	struct utsname names;
	if (clock_gettime(CLOCK_REALTIME, &now) != 0 || uname(&names) != 0)
		return 1;
	(void)printf("time_ns %lld\n", (long long)now.tv_sec * 1000000000 + now.tv_nsec);
	(void)printf("hostname %s\n", names.nodename);
	return put_random() || put_file("boot_id", "/proc/sys/kernel/random/boot_id") ||
	       put_file("uuid", "/proc/sys/kernel/random/uuid") || put_file("mac", "/sys/class/net/eth0/address") ||
	       put_file("machine_id", "/etc/machine-id");
}
