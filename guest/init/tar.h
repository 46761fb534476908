/*
 * Archives as POSIX and GNU write them: a header of one entry to bytes and back, no I/O.  Sources: POSIX.1-2017 pax (ustar
 * and pax formats), GNU tar's manual ("Basic Tar Format", "Sparse Formats").
 */
#ifndef TAR_H
#define TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TAR_BLOCK 512u
#define TAR_NAME_BYTES 65536u     /* with its NUL */
#define TAR_RECORDS_BYTES 1048576u /* of an entry's pax records, and of a sparse file's map */
#define TAR_EXTENTS 65536u
#define TAR_ATTRIBUTES 128u

/* In a header: its type, and whether more of GNU's old sparse map follows in a block of its own. */
#define TAR_TYPE_AT 156
#define TAR_MORE_MAP_AT 482

/* Types of entries, as header bytes have them. */
enum {
	TAR_FILE = '0',
	TAR_LINK = '1',
	TAR_SYMLINK = '2',
	TAR_CHARACTER = '3',
	TAR_BLOCK_DEVICE = '4',
	TAR_DIRECTORY = '5',
	TAR_FIFO = '6',
	TAR_CONTIGUOUS = '7',
	TAR_GNU_DIRECTORY = 'D',
	TAR_GNU_SPARSE = 'S',
	TAR_GNU_LONG_NAME = 'L',
	TAR_GNU_LONG_LINK = 'K',
	TAR_GNU_LABEL = 'V',
	TAR_PAX = 'x',
	TAR_PAX_GLOBAL = 'g'
};

struct tar_extent {
	int64_t offset, length;
};

struct tar_attribute {
	const char *name;
	const char *value;
	size_t size;
};

/*
 * `size`: bytes that follow the header; `real_size`: of the file, which is larger where it is sparse.  `extents` of a sparse
 * file follow one another in these bytes; GNU's 1.0 has them there, before the data.
 */
struct tar_entry {
	char type;
	mode_t mode;
	uint32_t uid, gid;
	int64_t size, real_size, mtime_s;
	long mtime_ns;
	unsigned major, minor;
	bool sparse, map_in_data, named_apart;
	unsigned extent_count, attribute_count;
	struct tar_extent extents[TAR_EXTENTS];
	struct tar_attribute attributes[TAR_ATTRIBUTES]; /* they point into what was parsed */
	char name[TAR_NAME_BYTES], link[TAR_NAME_BYTES];
};

/* A fresh one, for the records that come before a header. */
void tar_reset(struct tar_entry *entry);

bool tar_is_zero(const unsigned char block[TAR_BLOCK]);

/*
 * The header's fields, where no record has said them before.  NULL, or why it is none.  `name` and `link` are NUL-terminated
 * and have no other NUL.
 */
const char *tar_parse_header(struct tar_entry *entry, const unsigned char block[TAR_BLOCK]);

/* pax records, which must stay where they are as long as the entry: its attributes point there. */
const char *tar_parse_records(struct tar_entry *entry, char *records, size_t length);

/* GNU's old sparse map goes on in a block of its own; *more: one more follows. */
const char *tar_parse_old_map(struct tar_entry *entry, const unsigned char block[TAR_BLOCK], bool *more);

/* A map as text, as GNU's 1.0 has it before the data: numbers in lines.  *used: its bytes; 0: it is not all there. */
const char *tar_parse_map(struct tar_entry *entry, const char *text, size_t length, size_t *used);

/* What the parts of a sparse file must be like, once all of it is known. */
const char *tar_check_map(const struct tar_entry *entry);

/*
 * Writes an entry's headers (pax records first, where ustar cannot say it) to `out`; their bytes, 0 where there is no room.
 * Of a sparse file `size` has the map's bytes too.
 */
size_t tar_format(const struct tar_entry *entry, char *out, size_t room);

/* A sparse file's map for 1.0, filled up to whole blocks. */
size_t tar_format_map(const struct tar_entry *entry, char *out, size_t room);

#endif
