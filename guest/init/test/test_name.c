/* What a disk is called, told from a tree as sysfs has it.  Argument: an empty directory. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../name.h"
#include "../util.h"
#include "check.h"

static int list;

static void make_directory(const char *path)
{
	CHECK(mkdirat(list, path, 0755) == 0 || errno == EEXIST);
}

static void write_file(const char *path, const void *data, size_t length)
{
	int fd = openat(list, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	CHECK(fd >= 0 && write_all(fd, data, length) == 0 && close(fd) == 0);
}

static void write_text(const char *path, const char *text)
{
	write_file(path, text, strlen(text));
}

static void a_virtio_disk_says_its_serial(void)
{
	make_directory("vda");
	write_text("vda/serial", "image");
	CHECK(disk_named(list, "vda", "image", NULL));
	CHECK(!disk_named(list, "vda", "imag", NULL) && !disk_named(list, "vda", "image2", NULL));
	CHECK(!disk_named(list, "vda", "vda", NULL));
	write_text("vda/serial", "other\n");
	CHECK(disk_named(list, "vda", "other", NULL));
	make_directory("loop0");
	CHECK(!disk_named(list, "loop0", "image", NULL) && !disk_named(list, "none", "image", NULL));
}

static void a_disk_that_is_known_is_not_asked_again(void)
{
	disks_forget();
	write_text("vda/serial", "first");
	CHECK(disk_named(list, "vda", "first", NULL));
	write_text("vda/serial", "second");
	CHECK(disk_named(list, "vda", "first", NULL) && !disk_named(list, "vda", "second", NULL));
	disks_forget();
	CHECK(disk_named(list, "vda", "second", NULL));
}

static void make_scsi(const char *name, const char *address)
{
	char path[64];
	make_directory(address);
	make_directory(name);
	(void)snprintf(path, sizeof path, "%s/device", name);
	char target[64];
	(void)snprintf(target, sizeof target, "../%s", address);
	CHECK(symlinkat(target, list, path) == 0);
}

static void scsi_and_sata_have_a_page(void)
{
	make_scsi("sda", "2:0:0:0");
	write_file("sda/device/vpd_pg80", "\0\x80\0\x14     image          ", 24);
	CHECK(disk_named(list, "sda", "image", NULL));
	write_file("sda/device/vpd_pg80", "\0\x80\0\x04" "disk-and-what-is-not-it", 27);
	CHECK(disk_named(list, "sda", "disk", NULL));
	/* Shorter than it says, no header, nothing, longer than any name, and bytes of zero. */
	write_file("sda/device/vpd_pg80", "\0\x80\xff\xff" "disk", 8);
	CHECK(disk_named(list, "sda", "disk", NULL));
	write_file("sda/device/vpd_pg80", "\0\x80\0", 3);
	CHECK(!disk_named(list, "sda", "disk", NULL));
	write_file("sda/device/vpd_pg80", "\0\x80\0\x14                    ", 24);
	char page[105] = {0, (char)0x80, 0, 100};
	memset(page + 4, 'a', 100);
	write_file("sda/device/vpd_pg80", page, 104);
	CHECK(!disk_named(list, "sda", page + 4, NULL));
	write_file("sda/device/vpd_pg80", "\0\x80\0\x08" "disk\0\0\0\0", 12);
	CHECK(disk_named(list, "sda", "disk", NULL));
}

static void nvme_has_a_serial_of_its_controller(void)
{
	make_directory("nvme0n1");
	make_directory("nvme0n1/device");
	write_text("nvme0n1/device/serial", "image               \n");
	CHECK(disk_named(list, "nvme0n1", "image", NULL));
}

static void the_host_may_say_where_a_disk_stands(void)
{
	const char *places = "xvda:image,2:0:0:0:disk,naa.6000c29f:far,6000c29a:near,nvme0n1:fast";
	make_directory("xvda");
	make_directory("xvdb");
	CHECK(disk_named(list, "xvda", "image", places) && !disk_named(list, "xvdb", "image", places));
	CHECK(!disk_named(list, "xvda", "image", NULL) && !disk_named(list, "xvda", "disk", places));
	CHECK(disk_named(list, "sda", "disk", places));
	CHECK(!disk_named(list, "vda", "disk", places) && !disk_named(list, "nvme0n1", "disk", places));
	write_text("sda/device/wwid", "naa.6000c29f\n");
	CHECK(disk_named(list, "sda", "far", places) && !disk_named(list, "vda", "far", places));
	write_file("sda/device/vpd_pg80", "\0\x80\0\x08" "6000c29a", 12);
	CHECK(disk_named(list, "sda", "near", places));
	CHECK(disk_named(list, "nvme0n1", "fast", places));
	/* What is told of one disk is believed: its own word counts no more. */
	write_text("vda/serial", "image");
	disks_forget();
	CHECK(!disk_named(list, "vda", "image", places));
	/* Of others nothing was told. */
	write_text("vda/serial", "extra");
	disks_forget();
	CHECK(disk_named(list, "vda", "extra", places));
}

static void what_was_told_may_be_nonsense(void)
{
	static const char *const nonsense[] = {"", ",", ":", ",,", "image", ":image", "xvda", "xvda:", "x:vda:imag,", "ximage,:",
	                                       "xvda:image2,xvda:imageimage"};
	for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++)
		CHECK(!disk_named(list, "xvda", "image", nonsense[i]));
	CHECK(disk_named(list, "xvda", "image", ",,nothing,:,xvda:image,"));
	unsigned long long state = 1;
	for (int i = 0; i < 20000; i++) {
		char text[64];
		size_t length = random_below(&state, sizeof text);
		for (size_t j = 0; j < length; j++)
			text[j] = ":,xvdaimge0"[random_below(&state, 11)];
		text[length] = '\0';
		(void)disk_named(list, "xvda", "image", text);
	}
}

int main(int argc, char **argv)
{
	CHECK(argc == 2 && (list = open(argv[1], O_RDONLY | O_DIRECTORY)) >= 0);
	RUN(a_virtio_disk_says_its_serial);
	RUN(a_disk_that_is_known_is_not_asked_again);
	RUN(scsi_and_sata_have_a_page);
	RUN(nvme_has_a_serial_of_its_controller);
	RUN(the_host_may_say_where_a_disk_stands);
	RUN(what_was_told_may_be_nonsense);
	return 0;
}
