#include "tar.h"

#include <stdio.h>
#include <string.h>

#define NAME 0
#define MODE 100
#define UID 108
#define GID 116
#define SIZE 124
#define MTIME 136
#define CHECKSUM 148
#define LINK 157
#define MAGIC 257
#define MAJOR 329
#define MINOR 337
#define PREFIX 345
#define OLD_MAP 386 /* GNU's sparse header: four extents, and after that the real size */
#define OLD_REAL_SIZE 483
#define MORE_EXTENTS 21
#define OCTAL_MAX 077777777777LL
#define ID_MAX 07777777u
#define XATTR "SCHILY.xattr."

void tar_reset(struct tar_entry *entry)
{
	size_t lists = offsetof(struct tar_entry, extents);
	memset(entry, 0, lists);
	entry->size = entry->real_size = entry->mtime_s = -1;
	entry->uid = entry->gid = UINT32_MAX;
	entry->name[0] = entry->link[0] = '\0';
}

bool tar_is_zero(const unsigned char block[TAR_BLOCK])
{
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		if (block[i])
			return false;
	}
	return true;
}

/* ---- numbers ---- */

/* Octal digits, or GNU's base 256. */
static bool number(const unsigned char *field, size_t length, int64_t *value)
{
	uint64_t found = 0;
	size_t i = 0;
	if (field[0] & 0x80) {
		bool negative = field[0] == 0xff;
		if (!negative && field[0] != 0x80)
			return false;
		for (i = 1; i < length; i++) {
			if (i + 8 < length && field[i] != (negative ? 0xff : 0))
				return false;
			found = found << 8 | field[i];
		}
		if (negative && length < 9)
			found |= ~(uint64_t)0 << (8 * (length - 1));
		*value = (int64_t)found;
		return (*value < 0) == negative;
	}
	while (i < length && field[i] == ' ')
		i++;
	for (; i < length && field[i] >= '0' && field[i] <= '7'; i++) {
		if (found >> 60)
			return false;
		found = found << 3 | (uint64_t)(field[i] - '0');
	}
	*value = (int64_t)found;
	return i == length || field[i] == '\0' || field[i] == ' ';
}

static bool decimal(const char *text, size_t length, int64_t *value)
{
	uint64_t found = 0;
	if (length == 0 || length > 18)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		found = found * 10 + (uint64_t)(text[i] - '0');
	}
	*value = (int64_t)found;
	return true;
}

/* "-12.5": seconds, and nanoseconds that count forwards. */
static bool moment(const char *text, size_t length, struct tar_entry *entry)
{
	bool negative = length > 0 && *text == '-';
	const char *dot;
	int64_t whole, part = 0;
	text += negative;
	length -= negative;
	dot = memchr(text, '.', length);
	if (!decimal(text, dot ? (size_t)(dot - text) : length, &whole))
		return false;
	if (dot) {
		size_t digits = length - (size_t)(dot - text) - 1;
		for (size_t i = 0; i < 9; i++) {
			char digit = i < digits ? dot[1 + i] : '0';
			if (digit < '0' || digit > '9')
				return false;
			part = part * 10 + (digit - '0');
		}
	}
	entry->mtime_s = negative ? -whole : whole;
	if (negative && part) {
		entry->mtime_s--;
		part = 1000000000 - part;
	}
	entry->mtime_ns = (long)part;
	return true;
}

/* ---- reading ---- */

static bool checksum_holds(const unsigned char block[TAR_BLOCK])
{
	int64_t said;
	long sum = 0, signed_sum = 0;
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		unsigned char byte = i >= CHECKSUM && i < CHECKSUM + 8 ? ' ' : block[i];
		sum += byte;
		signed_sum += (signed char)byte;
	}
	return number(block + CHECKSUM, 8, &said) && (said == sum || said == signed_sum);
}

static bool set_name(char *name, const char *from, size_t length)
{
	if (length >= TAR_NAME_BYTES || memchr(from, '\0', length))
		return false;
	memcpy(name, from, length);
	name[length] = '\0';
	return true;
}

static void header_name(struct tar_entry *entry, const unsigned char *block)
{
	size_t length = strnlen((const char *)block + NAME, 100), prefix = 0;
	if (memcmp(block + MAGIC, "ustar\0", 6) == 0)
		prefix = strnlen((const char *)block + PREFIX, 155);
	(void)snprintf(entry->name, TAR_NAME_BYTES, "%.*s%s%.*s", (int)prefix, block + PREFIX, prefix ? "/" : "", (int)length,
	               block + NAME);
}

static bool add_extent(struct tar_entry *entry, int64_t offset, int64_t length)
{
	if (entry->extent_count == TAR_EXTENTS)
		return false;
	entry->extents[entry->extent_count++] = (struct tar_extent){offset, length};
	return true;
}

static const char *old_extents(struct tar_entry *entry, const unsigned char *at, unsigned count)
{
	for (unsigned i = 0; i < count && at[24 * i]; i++) {
		int64_t offset, length;
		if (!number(at + 24 * i, 12, &offset) || !number(at + 24 * i + 12, 12, &length))
			return "a sparse map that is none";
		if (!add_extent(entry, offset, length))
			return "a file in too many parts";
	}
	return NULL;
}

const char *tar_parse_old_map(struct tar_entry *entry, const unsigned char block[TAR_BLOCK], bool *more)
{
	*more = block[24 * MORE_EXTENTS] != 0;
	return old_extents(entry, block, MORE_EXTENTS);
}

const char *tar_parse_header(struct tar_entry *entry, const unsigned char block[TAR_BLOCK])
{
	int64_t mode, uid, gid, size, mtime, major = 0, minor = 0;
	if (!checksum_holds(block))
		return "no tar archive, or a damaged one: the checksum of a header is wrong";
	if (!number(block + MODE, 8, &mode) || !number(block + UID, 8, &uid) || !number(block + GID, 8, &gid) ||
	    !number(block + SIZE, 12, &size) || !number(block + MTIME, 12, &mtime) || size < 0)
		return "a header with a field that is no number";
	entry->type = block[TAR_TYPE_AT] ? (char)block[TAR_TYPE_AT] : TAR_FILE;
	bool device = entry->type == TAR_CHARACTER || entry->type == TAR_BLOCK_DEVICE;
	if (device && (!number(block + MAJOR, 8, &major) || !number(block + MINOR, 8, &minor)))
		return "a device without a number";
	entry->mode = (mode_t)mode & 07777;
	entry->major = (unsigned)major;
	entry->minor = (unsigned)minor;
	entry->uid = entry->uid == UINT32_MAX ? (uint32_t)uid : entry->uid;
	entry->gid = entry->gid == UINT32_MAX ? (uint32_t)gid : entry->gid;
	entry->size = entry->size < 0 ? size : entry->size;
	if (strchr("123456", entry->type)) /* whatever the field says, nothing follows */
		entry->size = 0;
	if (entry->mtime_s == -1 && entry->mtime_ns == 0)
		entry->mtime_s = mtime;
	if (!entry->name[0])
		header_name(entry, block);
	if (!entry->link[0] && !set_name(entry->link, (const char *)block + LINK, strnlen((const char *)block + LINK, 100)))
		return "a link's name that is none";
	size_t length = strlen(entry->name);
	/* Before there were directories in headers they ended like this. */
	if (entry->type == TAR_FILE && length && entry->name[length - 1] == '/')
		entry->type = TAR_DIRECTORY;
	if (entry->type == TAR_GNU_SPARSE) {
		entry->sparse = true;
		if (!number(block + OLD_REAL_SIZE, 12, &entry->real_size))
			return "a sparse file without a size";
		return old_extents(entry, block + OLD_MAP, 4);
	}
	if (entry->real_size < 0)
		entry->real_size = entry->size;
	return NULL;
}

/* "0,512,4096,512": offsets and lengths. */
static const char *map_of_text(struct tar_entry *entry, const char *text, size_t length)
{
	int64_t offset = -1, value;
	entry->extent_count = 0;
	for (const char *end = text + length; text <= end;) {
		const char *comma = memchr(text, ',', (size_t)(end - text));
		size_t digits = (size_t)((comma ? comma : end) - text);
		if (!decimal(text, digits, &value))
			return "a sparse map that is none";
		if (offset < 0)
			offset = value;
		else if (!add_extent(entry, offset, value))
			return "a file in too many parts";
		else
			offset = -1;
		text += digits + 1;
	}
	return offset < 0 ? NULL : "a sparse map that is none";
}

const char *tar_parse_map(struct tar_entry *entry, const char *text, size_t length, size_t *used)
{
	int64_t count = -1, offset = -1, value;
	const char *at = text, *end = text + length;
	*used = 0;
	entry->extent_count = 0;
	while (count != 0 || offset >= 0) {
		const char *line = memchr(at, '\n', (size_t)(end - at));
		if (!line)
			return end - at > 20 ? "a sparse map that is none" : NULL;
		if (!decimal(at, (size_t)(line - at), &value))
			return "a sparse map that is none";
		at = line + 1;
		if (count < 0) {
			count = value;
		} else if (offset < 0) {
			offset = value;
			count--;
		} else if (!add_extent(entry, offset, value)) {
			return "a file in too many parts";
		} else {
			offset = -1;
		}
	}
	*used = (size_t)(at - text);
	return NULL;
}

const char *tar_check_map(const struct tar_entry *entry)
{
	int64_t end = 0, data = 0;
	for (unsigned i = 0; i < entry->extent_count; i++) {
		const struct tar_extent *each = &entry->extents[i];
		if (each->offset < end || each->length < 0 || each->length > entry->real_size - each->offset)
			return "a sparse map whose parts do not follow one another";
		end = each->offset + each->length;
		data += each->length;
	}
	return data <= entry->size ? NULL : "a sparse map of more than there is";
}

static bool is(const char *key, size_t length, const char *wanted)
{
	return length == strlen(wanted) && memcmp(key, wanted, length) == 0;
}

static const char *record(struct tar_entry *entry, char *key, size_t key_length, char *value, size_t length)
{
	int64_t said;
	bool apart = is(key, key_length, "GNU.sparse.name");
	if (is(key, key_length, "path") && entry->named_apart)
		return NULL;
	entry->named_apart = entry->named_apart || apart;
	if (is(key, key_length, "path") || apart)
		return set_name(entry->name, value, length) ? NULL : "a path that is too long, or has a zero in it";
	if (is(key, key_length, "linkpath"))
		return set_name(entry->link, value, length) ? NULL : "a link that is too long, or has a zero in it";
	if (is(key, key_length, "mtime"))
		return moment(value, length, entry) ? NULL : "a time that is none";
	if (key_length > strlen(XATTR) && memcmp(key, XATTR, strlen(XATTR)) == 0) {
		if (entry->attribute_count == TAR_ATTRIBUTES || memchr(key, '\0', key_length))
			return "more extended attributes than a file can have here";
		key[key_length] = '\0';
		entry->attributes[entry->attribute_count++] = (struct tar_attribute){key + strlen(XATTR), value, length};
		return NULL;
	}
	if (is(key, key_length, "GNU.sparse.map")) {
		entry->sparse = true;
		return map_of_text(entry, value, length);
	}
	if (is(key, key_length, "GNU.sparse.major")) {
		entry->sparse = entry->map_in_data = is(value, length, "1");
		return NULL;
	}
	bool of_size = is(key, key_length, "size"), of_uid = is(key, key_length, "uid"), of_gid = is(key, key_length, "gid");
	bool real = is(key, key_length, "GNU.sparse.realsize") || is(key, key_length, "GNU.sparse.size");
	bool offset = is(key, key_length, "GNU.sparse.offset"), part = is(key, key_length, "GNU.sparse.numbytes");
	if (!of_size && !of_uid && !of_gid && !real && !offset && !part)
		return NULL;
	if (!decimal(value, length, &said) || ((of_uid || of_gid) && said >= UINT32_MAX))
		return "a record that is no number";
	if (of_size)
		entry->size = said;
	if (of_uid)
		entry->uid = (uint32_t)said;
	if (of_gid)
		entry->gid = (uint32_t)said;
	if (real)
		entry->real_size = said;
	/* GNU's 0.0 has a record for each number. */
	if (offset && !add_extent(entry, said, -1))
		return "a file in too many parts";
	if (part && (entry->extent_count == 0 || entry->extents[entry->extent_count - 1].length >= 0))
		return "a sparse map that is none";
	if (part)
		entry->extents[entry->extent_count - 1].length = said;
	entry->sparse = entry->sparse || offset;
	return NULL;
}

const char *tar_parse_records(struct tar_entry *entry, char *records, size_t length)
{
	while (length > 0) {
		char *space = memchr(records, ' ', length < 8 ? length : 8), *equals;
		int64_t whole;
		if (!space || !decimal(records, (size_t)(space - records), &whole) || whole > (int64_t)length ||
		    records + whole <= space + 1 || records[whole - 1] != '\n')
			return "pax records that are none";
		char *key = space + 1, *end = records + whole - 1;
		equals = memchr(key, '=', (size_t)(end - key));
		if (!equals)
			return "pax records that are none";
		const char *why = record(entry, key, (size_t)(equals - key), equals + 1, (size_t)(end - equals - 1));
		if (why)
			return why;
		records += whole;
		length -= (size_t)whole;
	}
	return NULL;
}

/* ---- writing ---- */

/* One record, whose length counts itself. */
static bool put_record(char *out, size_t room, size_t *used, const char *key, const char *value, size_t size)
{
	size_t body = 1 + strlen(key) + 1 + size + 1, digits = 1;
	char length[24];
	for (size_t whole = body + digits; snprintf(length, sizeof length, "%zu", whole) > (int)digits;)
		whole = body + ++digits;
	if (room - *used < body + digits)
		return false;
	int head = snprintf(out + *used, room - *used, "%zu %s=", body + digits, key);
	memcpy(out + *used + head, value, size);
	out[*used + body + digits - 1] = '\n';
	*used += body + digits;
	return true;
}

static bool put_number(char *out, size_t room, size_t *used, const char *key, int64_t value)
{
	char text[24];
	int length = snprintf(text, sizeof text, "%lld", (long long)value);
	return put_record(out, room, used, key, text, (size_t)length);
}

static void put_octal(unsigned char *block, size_t at, int digits, int64_t value)
{
	(void)snprintf((char *)block + at, (size_t)digits + 1, "%0*llo", digits, (unsigned long long)value);
}

/* Where the name is cut in two, for ustar; 0: it is whole, -1: it cannot be. */
static int cut(const char *name)
{
	size_t length = strlen(name);
	if (length <= 100)
		return 0;
	for (size_t i = length > 101 ? length - 101 : 0; i < length - 1 && i <= 155; i++) {
		if (name[i] == '/' && i > 0)
			return (int)i;
	}
	return -1;
}

static void put_header(unsigned char *block, const struct tar_entry *entry, char type, const char *name, int64_t size)
{
	long sum = 0;
	int at = cut(name);
	memset(block, 0, TAR_BLOCK);
	if (at > 0)
		memcpy(block + PREFIX, name, (size_t)at);
	const char *last = name + (at > 0 ? at + 1 : 0);
	memcpy(block + NAME, last, strnlen(last, 100));
	put_octal(block, MODE, 7, entry->mode & 07777);
	put_octal(block, UID, 7, entry->uid <= ID_MAX ? entry->uid : 0);
	put_octal(block, GID, 7, entry->gid <= ID_MAX ? entry->gid : 0);
	put_octal(block, SIZE, 11, size <= OCTAL_MAX ? size : 0);
	put_octal(block, MTIME, 11, entry->mtime_s >= 0 && entry->mtime_s <= OCTAL_MAX ? entry->mtime_s : 0);
	block[TAR_TYPE_AT] = (unsigned char)type;
	if (type != TAR_PAX)
		memcpy(block + LINK, entry->link, strnlen(entry->link, 100));
	memcpy(block + MAGIC, "ustar\00000", 8);
	put_octal(block, MAJOR, 7, entry->major);
	put_octal(block, MINOR, 7, entry->minor);
	memset(block + CHECKSUM, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += block[i];
	put_octal(block, CHECKSUM, 6, sum);
}

size_t tar_format(const struct tar_entry *entry, char *out, size_t room)
{
	static const char carrier[] = "PaxHeaders/entry", sparse[] = "GNUSparseFile.0/entry";
	char key[sizeof XATTR + 256];
	size_t used = 0;
	bool fits = room > 2 * TAR_BLOCK;
	char *records = out + TAR_BLOCK;
	size_t left = fits ? room - 2 * TAR_BLOCK : 0;
	if (!entry->sparse && cut(entry->name) < 0)
		fits = fits && put_record(records, left, &used, "path", entry->name, strlen(entry->name));
	if (strlen(entry->link) > 100)
		fits = fits && put_record(records, left, &used, "linkpath", entry->link, strlen(entry->link));
	if (entry->size > OCTAL_MAX)
		fits = fits && put_number(records, left, &used, "size", entry->size);
	if (entry->uid > ID_MAX)
		fits = fits && put_number(records, left, &used, "uid", entry->uid);
	if (entry->gid > ID_MAX)
		fits = fits && put_number(records, left, &used, "gid", entry->gid);
	if (entry->mtime_s < 0 || entry->mtime_s > OCTAL_MAX)
		fits = fits && put_number(records, left, &used, "mtime", entry->mtime_s);
	if (entry->sparse) {
		fits = fits && put_record(records, left, &used, "GNU.sparse.major", "1", 1) &&
		       put_record(records, left, &used, "GNU.sparse.minor", "0", 1) &&
		       put_record(records, left, &used, "GNU.sparse.name", entry->name, strlen(entry->name)) &&
		       put_number(records, left, &used, "GNU.sparse.realsize", entry->real_size);
	}
	for (unsigned i = 0; i < entry->attribute_count; i++) {
		const struct tar_attribute *each = &entry->attributes[i];
		fits = fits && snprintf(key, sizeof key, XATTR "%s", each->name) < (int)sizeof key &&
		       put_record(records, left, &used, key, each->value, each->size);
	}
	size_t filled = (used + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	if (!fits || filled > left)
		return 0;
	unsigned char *header = (unsigned char *)out;
	if (used > 0) {
		memset(records + used, 0, filled - used);
		put_header(header, entry, TAR_PAX, carrier, (int64_t)used);
		header += TAR_BLOCK + filled;
	}
	put_header(header, entry, entry->type, entry->sparse ? sparse : entry->name, entry->size);
	return (size_t)(header - (unsigned char *)out) + TAR_BLOCK;
}

size_t tar_format_map(const struct tar_entry *entry, char *out, size_t room)
{
	size_t used = (size_t)snprintf(out, room, "%u\n", entry->extent_count);
	for (unsigned i = 0; i < entry->extent_count && used < room; i++)
		used += (size_t)snprintf(out + used, room - used, "%lld\n%lld\n", (long long)entry->extents[i].offset,
		                         (long long)entry->extents[i].length);
	size_t filled = (used + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	if (filled > room)
		return 0;
	memset(out + used, 0, filled - used);
	return filled;
}
