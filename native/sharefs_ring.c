/* The VM's memory, and the two rings in it: requests come, answers go. */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sharefs.h"

enum { REGIONS_MAX = 8, RING_MAX = 32768, ROUND_MAX = 256 };

static struct region {
	uint64_t guest, size, user;
	char *at;
} regions[REGIONS_MAX];
static int region_count;

struct ring {
	unsigned size;
	uint64_t where[3];
	struct vring_desc *descriptors;
	struct vring_avail *available;
	struct vring_used *used;
	uint16_t next, done;
	int kick, call;
	bool enabled, stands;
};
static struct ring rings[QUEUES] = { { .kick = -1, .call = -1 }, { .kick = -1, .call = -1 } };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of what is used of rings: answers come from threads too */

/* The part of [at, at + *bytes) that lies in one region, as many bytes as that has; NULL where none does. */
static char *found(uint64_t at, size_t *bytes, bool users)
{
	for (int i = 0; i < region_count; i++) {
		uint64_t from = users ? regions[i].user : regions[i].guest;
		if (at < from || at - from >= regions[i].size)
			continue;
		if (*bytes > regions[i].size - (at - from))
			*bytes = (size_t)(regions[i].size - (at - from));
		return regions[i].at + (at - from);
	}
	return NULL;
}

static void *whole(uint64_t at, size_t bytes, bool users)
{
	size_t there = bytes;
	char *place = found(at, &there, users);
	if (place == NULL || there != bytes)
		fail("a ring lies outside the VM's memory");
	return place;
}

static void stand(struct ring *ring)
{
	if (ring->size == 0)
		fail("a ring without a size");
	ring->stands = true;
	ring->descriptors = whole(ring->where[0], sizeof *ring->descriptors * ring->size, true);
	ring->available = whole(ring->where[1], sizeof *ring->available + sizeof(uint16_t) * ring->size, true);
	ring->used = whole(ring->where[2], sizeof *ring->used + sizeof(struct vring_used_elem) * ring->size, true);
	if ((ring->where[0] & 15) != 0 || (ring->where[1] & 1) != 0 || (ring->where[2] & 3) != 0)
		fail("a ring is not aligned");
	ring->done = ring->used->idx;
}

/* What was mapped stays so: an answer that is on its way may still be written. */
void memory_clear(void)
{
	region_count = 0;
}

void memory_add(uint64_t guest, uint64_t size, uint64_t user, int fd, uint64_t offset)
{
	uint64_t sum;
	if (size == 0 || __builtin_add_overflow(offset, size, &sum) || sum > SIZE_MAX / 2)
		fail("a part of the VM's memory of %llu bytes", (unsigned long long)size);
	void *at = mmap(NULL, (size_t)sum, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (at == MAP_FAILED)
		fail("the VM's memory: %s", strerror(errno));
	pthread_mutex_lock(&lock);
	regions[region_count++] = (struct region){ guest, size, user, (char *)at + offset };
	pthread_mutex_unlock(&lock);
}

/* Rings that stand lie elsewhere now. */
void memory_done(void)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < QUEUES; i++)
		if (rings[i].stands)
			stand(&rings[i]);
	pthread_mutex_unlock(&lock);
}

void ring_set_size(unsigned index, unsigned size)
{
	if (size == 0 || size > RING_MAX || (size & (size - 1)) != 0)
		fail("a ring of %u", size);
	rings[index].stands = false;
	rings[index].size = size;
}

void ring_set_base(unsigned index, unsigned base)
{
	rings[index].next = (uint16_t)base;
}

void ring_set_addresses(unsigned index, uint64_t descriptors, uint64_t available, uint64_t used)
{
	pthread_mutex_lock(&lock);
	rings[index].where[0] = descriptors;
	rings[index].where[1] = available;
	rings[index].where[2] = used;
	stand(&rings[index]);
	pthread_mutex_unlock(&lock);
}

static void replace(int *old, int fd)
{
	if (*old >= 0)
		close(*old);
	*old = fd;
}

void ring_set_kick(unsigned index, int fd)
{
	replace(&rings[index].kick, fd);
}

void ring_set_call(unsigned index, int fd)
{
	pthread_mutex_lock(&lock);
	replace(&rings[index].call, fd);
	pthread_mutex_unlock(&lock);
}

void ring_enable(unsigned index, bool on)
{
	rings[index].enabled = on;
}

unsigned ring_stop(unsigned index)
{
	pthread_mutex_lock(&lock);
	rings[index].stands = false;
	replace(&rings[index].kick, -1);
	pthread_mutex_unlock(&lock);
	return rings[index].next;
}

static bool serves(const struct ring *ring)
{
	return ring->enabled && ring->kick >= 0 && ring->stands;
}

int ring_kick(unsigned index)
{
	return serves(&rings[index]) ? rings[index].kick : -1;
}

static bool add_piece(struct iovec *to, int *count, size_t *sum, uint64_t at, uint32_t bytes)
{
	while (bytes > 0) {
		size_t there = bytes;
		char *place = found(at, &there, false);
		if (place == NULL || *count == PIECES_MAX)
			return false;
		to[(*count)++] = (struct iovec){ place, there };
		*sum += there;
		at += there;
		bytes -= (uint32_t)there;
	}
	return true;
}

/* The pieces of memory of a request.  A table of descriptors may lie in the memory, and is copied one by one. */
static bool gather(const struct ring *ring, struct request *request)
{
	const struct vring_desc *table = ring->descriptors;
	uint32_t count = ring->size, at = request->asker.head;
	for (uint32_t steps = 0; steps < PIECES_MAX; steps++) {
		if (at >= count)
			return false;
		struct vring_desc piece;
		memcpy(&piece, &table[at], sizeof piece);
		if (piece.flags & VRING_DESC_F_INDIRECT) {
			size_t bytes = piece.len, there = bytes;
			char *inner = found(piece.addr, &there, false);
			if (table != ring->descriptors || inner == NULL || there != bytes || bytes < sizeof piece)
				return false;
			table = (const struct vring_desc *)(void *)inner;
			count = (uint32_t)(bytes / sizeof piece);
			at = 0;
			continue;
		}
		bool good = piece.flags & VRING_DESC_F_WRITE
			? add_piece(request->out, &request->outs, &request->out_bytes, piece.addr, piece.len)
			: add_piece(request->in, &request->ins, &request->in_bytes, piece.addr, piece.len);
		if (!good)
			return false;
		if (!(piece.flags & VRING_DESC_F_NEXT))
			return true;
		at = piece.next;
	}
	return false;
}

void ring_serve(unsigned index, void (*serve_one)(struct request *))
{
	static struct request request;
	struct ring *ring = &rings[index];
	uint64_t kicks;
	if (!serves(ring) || (read(ring->kick, &kicks, sizeof kicks) < 0 && errno != EAGAIN && errno != EINTR))
		return;
	while (ring->next != __atomic_load_n(&ring->available->idx, __ATOMIC_ACQUIRE)) {
		request.asker = (struct asker){ .ring = ring, .head = ring->available->ring[ring->next % ring->size] };
		ring->next++;
		request.ins = request.outs = 0;
		request.in_bytes = request.out_bytes = request.answer_bytes = 0;
		if (request.asker.head >= ring->size || !gather(ring, &request))
			fail("the guest's request is none");
		serve_one(&request);
	}
}

size_t request_copy(struct request *request, size_t at, void *to, size_t bytes)
{
	size_t done = 0;
	for (int i = 0; i < request->ins && done < bytes; i++) {
		size_t length = request->in[i].iov_len;
		if (at >= length) {
			at -= length;
			continue;
		}
		size_t part = length - at < bytes - done ? length - at : bytes - done;
		memcpy((char *)to + done, (char *)request->in[i].iov_base + at, part);
		done += part;
		at = 0;
	}
	return done;
}

/* Leaves of the pieces what lies in [skip, skip + bytes), at their beginning; how many. */
int slice(struct iovec *pieces, int count, size_t skip, size_t bytes)
{
	int kept = 0;
	for (int i = 0; i < count && bytes > 0; i++) {
		struct iovec piece = pieces[i];
		if (skip >= piece.iov_len) {
			skip -= piece.iov_len;
			continue;
		}
		piece.iov_base = (char *)piece.iov_base + skip;
		piece.iov_len -= skip;
		skip = 0;
		if (piece.iov_len > bytes)
			piece.iov_len = bytes;
		bytes -= piece.iov_len;
		pieces[kept++] = piece;
	}
	return kept;
}

static void done(const struct asker *asker, size_t bytes)
{
	struct ring *ring = asker->ring;
	pthread_mutex_lock(&lock);
	if (ring->stands) {
		struct vring_used_elem *place = &ring->used->ring[ring->done % ring->size];
		place->id = asker->head;
		place->len = (uint32_t)bytes;
		__atomic_store_n(&ring->used->idx, ++ring->done, __ATOMIC_RELEASE);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		uint64_t one = 1;
		if (ring->call >= 0 && !(ring->available->flags & VRING_AVAIL_F_NO_INTERRUPT))
			while (write(ring->call, &one, sizeof one) < 0 && errno == EINTR)
				;
	}
	pthread_mutex_unlock(&lock);
}

/* No more than a header; from any thread. */
void answer(struct asker *asker, int error)
{
	struct fuse_out_header header = { sizeof header, -error, asker->unique };
	if (asker->first.iov_len >= sizeof header)
		memcpy(asker->first.iov_base, &header, sizeof header);
	done(asker, asker->first.iov_len >= sizeof header ? sizeof header : 0);
}

static void write_out(struct request *request, size_t at, const void *from, size_t bytes)
{
	const char *next = from;
	for (int i = 0; i < request->outs && bytes > 0; i++) {
		size_t room = request->out[i].iov_len;
		if (at >= room) {
			at -= room;
			continue;
		}
		size_t part = room - at < bytes ? room - at : bytes;
		memcpy((char *)request->out[i].iov_base + at, next, part);
		next += part;
		bytes -= part;
		at = 0;
	}
}

/* With the request's answer, or with so many bytes of data that are there already. */
void answer_all(struct request *request, size_t data_bytes)
{
	size_t bytes = sizeof(struct fuse_out_header) + request->answer_bytes + data_bytes;
	struct fuse_out_header header = { (uint32_t)bytes, 0, request->asker.unique };
	write_out(request, 0, &header, sizeof header);
	write_out(request, sizeof header, request->answer, request->answer_bytes);
	done(&request->asker, bytes);
}
