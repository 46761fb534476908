/* What the guest knows by number: files, and those that it has open. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sharefs.h"

enum { BUCKETS = 1 << 16 };

static struct inode *buckets[BUCKETS];

/* By number; 0 is none, and what is free is NULL. */
struct table {
	void **items;
	uint64_t size, *free, frees;
};
static struct table inodes, handles;

static uint64_t put(struct table *table, void *item)
{
	if (table->frees > 0) {
		uint64_t number = table->free[--table->frees];
		table->items[number] = item;
		return number;
	}
	if ((table->size & (table->size - 1)) == 0) {
		size_t room = table->size < 64 ? 64 : (size_t)table->size * 2;
		void **items = realloc(table->items, room * sizeof *items);
		if (items != NULL)
			table->items = items;
		uint64_t *list = items == NULL ? NULL : realloc(table->free, room * sizeof *list);
		if (list == NULL)
			return 0;
		table->free = list;
	}
	table->items[table->size] = item;
	return table->size++;
}

static void *at(const struct table *table, uint64_t number)
{
	return number < table->size ? table->items[number] : NULL;
}

static void *taken(struct table *table, uint64_t number)
{
	void *item = at(table, number);
	if (item != NULL) {
		table->items[number] = NULL;
		table->free[table->frees++] = number;
	}
	return item;
}

static struct inode **place_of(dev_t device, ino_t number)
{
	uint64_t hash = ((uint64_t)number ^ (uint64_t)device << 32) * 0x9E3779B97F4A7C15ULL;
	struct inode **place = &buckets[hash >> 48];
	while (*place != NULL && ((*place)->number != number || (*place)->device != device))
		place = &(*place)->next;
	return place;
}

void inodes_begin(void)
{
	struct stat is;
	int fd = fcntl(share_fd, F_DUPFD_CLOEXEC, 0);
	put(&inodes, NULL);
	put(&handles, NULL);
	struct inode *root = fd < 0 || fstat(fd, &is) != 0 ? NULL : inode_found(fd, &is);
	if (root == NULL || root->node != FUSE_ROOT_ID)
		fail("/share: %s", strerror(errno));
}

/* The guest begins anew. */
void inodes_forget_all(void)
{
	for (uint64_t i = 1; i < handles.size; i++)
		if (at(&handles, i) != NULL)
			handle_close(i, ((struct handle *)at(&handles, i))->directory);
	for (uint64_t i = 1; i < inodes.size; i++)
		if (at(&inodes, i) != NULL && i != FUSE_ROOT_ID)
			inode_forget(i, UINT64_MAX);
}

struct inode *inode_of(uint64_t node)
{
	return at(&inodes, node);
}

struct inode *inode_found(int fd, const struct stat *is)
{
	struct inode **place = place_of(is->st_dev, is->st_ino), *inode = *place;
	if (inode != NULL) {
		close(fd);
		inode->lookups++;
		return inode;
	}
	inode = calloc(1, sizeof *inode);
	if (inode != NULL)
		inode->node = put(&inodes, inode);
	if (inode == NULL || (inode->node == 0)) {
		free(inode);
		close(fd);
		errno = ENOMEM;
		return NULL;
	}
	inode->fd = fd;
	inode->kind = is->st_mode & S_IFMT;
	inode->device = is->st_dev;
	inode->number = is->st_ino;
	inode->lookups = 1;
	return *place = inode;
}

void inode_forget(uint64_t node, uint64_t lookups)
{
	struct inode *inode = inode_of(node);
	if (inode == NULL || node == FUSE_ROOT_ID)
		return;
	if (inode->lookups > lookups) {
		inode->lookups -= lookups;
		return;
	}
	*place_of(inode->device, inode->number) = inode->next;
	owners_close(inode);
	close(inode->fd);
	free(taken(&inodes, node));
}

const char *path_of(int fd)
{
	static char path[32];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return path;
}

/* A regular file or a directory: to open anything else might wait for somebody, or follow a link. */
int inode_open(const struct inode *inode, int flags)
{
	if (inode->kind != S_IFREG && inode->kind != S_IFDIR) {
		errno = inode->kind == S_IFLNK ? ELOOP : ENXIO;
		return -1;
	}
	return open(path_of(inode->fd), (flags & ~O_NOFOLLOW) | O_CLOEXEC | O_NOCTTY);
}

uint64_t handle_new(int fd, bool directory)
{
	struct handle *handle = malloc(sizeof *handle);
	uint64_t number = handle == NULL ? 0 : put(&handles, handle);
	if (number == 0) {
		free(handle);
		close(fd);
		errno = ENOMEM;
		return 0;
	}
	*handle = (struct handle){ fd, directory };
	return number;
}

struct handle *handle_of(uint64_t number, bool directory)
{
	struct handle *handle = at(&handles, number);
	return handle != NULL && handle->directory == directory ? handle : NULL;
}

void handle_close(uint64_t number, bool directory)
{
	if (handle_of(number, directory) == NULL)
		return;
	struct handle *handle = taken(&handles, number);
	close(handle->fd);
	free(handle);
}
