/* What archives of the VM's trees are made of: entries, one after the other, on standard output. */
#ifndef EMIT_H
#define EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "tar.h"

#define EMIT_DEPTH_MAX 2048 /* what a path of PATH_MAX bytes can have */

/* The path of what goes out next, in the archive.  TAR_NAME_BYTES. */
extern char *const emit_path;

/* All extended attributes, but those that overlayfs keeps for itself; or a file's capabilities and what users wrote. */
void emit_all_attributes(void);

/* Whatever goes wrong here ends the process and says of which path.  `fd` is open for reading. */
void emit_file(int fd, const struct stat *info);
void emit_directory(int fd, const struct stat *info);

/* Links, devices and FIFOs; sockets are nothing to an archive. */
void emit_other(int parent, const char *name, const struct stat *info);

/* A file without content, whose name says something of others. */
void emit_mark(void);

/* The archive is whole; the process ends. */
__attribute__((noreturn)) void emit_end(void);

/*
 * Opens what was seen there as `info`, a file or directory, to be read: -1 where it is gone or is something else by now.
 * What is neither is not opened: opening a FIFO or a device does something.
 */
int emit_open(int parent, const char *name, struct stat *info);

/* Appends a name to `emit_path`; what it had before is its beginning, of the length that is returned. */
size_t emit_descend(const char *name);

/* Names of a directory, sorted, in memory of their own. */
char **emit_names(int directory, size_t *count);

#endif
