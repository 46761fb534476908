/*
 * What fields each operation takes, as tables (rules.c): checked once, completely, before anything reads them.
 * After `schema_check` every field has its type and length, text has no NUL, and required ones are there.
 */
#ifndef SCHEMA_H
#define SCHEMA_H

#include "wire.h"

enum field_kind { FLAG, U32, U64, TEXT, BYTES, NESTED };

#define MANY 1
#define REQUIRED 2

struct rule {
	uint16_t tag;
	uint8_t kind;
	uint8_t flags;
	uint32_t max; /* bytes, of TEXT and BYTES; 0: no limit but the message's */
	const struct rule *nested;
};

/* What is asked of its fields; NULL for an operation that is not known. */
const struct rule *schema_of(uint16_t operation);

/* 0 or EINVAL; `why` then names the field. */
int schema_check(const struct rule *rules, struct span fields, char *why, size_t why_size);

/* Whether it is a container's name by the contract. */
bool container_name_ok(struct span name);

/* Whether it is such a name and one that a file can have: a volume's, a directory's of a disk. */
bool file_name_ok(struct span name);

#endif
