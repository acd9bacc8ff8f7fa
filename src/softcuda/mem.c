/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device memory: a first-fit allocator over one reserved range of real address space.
 *
 * Reserved PROT_NONE at SC_VA_BASE; made accessible up to a rising watermark, so the number of
 * kernel mappings stays at two however many allocations there are. Freed pages go back with
 * MADV_DONTNEED, which is also what zeroes them. Between allocations lies a redzone: kernels'
 * accesses are checked against exact sizes, the redzone keeps an overrun from being a neighbour's.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "softcuda/engine.h"
#include "softcuda/engine_err.h"
#include "softcuda/mem.h"

enum {
	GRANULE = 512,		/* sizes and addresses are multiples of it */
	REDZONE = 512,		/* behind every allocation */
	REDZONE_BIG = 64 << 10, /* behind allocations of at least BIG */
	BIG = 2 << 20,		/* aligned for huge pages */
	COMMIT = 64 << 20,	/* step of the watermark */
	PAGE = 4096,
};

struct range { /* a live range: device memory (account set) or registered host memory */
	uint64_t base, size;
	struct sc_mem_account *account;
};
struct gap { /* free address space */
	uint64_t base, size;
};

static struct {
	pthread_rwlock_t lock;
	bool reserved;
	uint64_t committed; /* bytes from SC_VA_BASE that are accessible */
	struct range *range;
	size_t nrange, crange;
	struct gap *gap;
	size_t ngap, cgap;
	struct gap *late; /* freed during a launch, to be returned after it */
	size_t nlate, clate;
	unsigned launches;
} mem = { .lock = PTHREAD_RWLOCK_INITIALIZER };

static bool grow(void **array, size_t *cap, size_t n, size_t elem)
{
	if (n < *cap)
		return true;
	size_t c = *cap ? *cap * 2 : 64;
	void *p = realloc(*array, c * elem);
	if (!p)
		return false;
	*array = p;
	*cap = c;
	return true;
}

/* Index of the first range whose base is above va. */
static size_t above(uint64_t va)
{
	size_t lo = 0, hi = mem.nrange;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (mem.range[mid].base > va)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static const struct range *holding(uint64_t va)
{
	size_t i = above(va);
	if (i == 0)
		return NULL;
	const struct range *r = &mem.range[i - 1];
	return va - r->base < r->size ? r : NULL;
}

static bool insert_range(uint64_t base, uint64_t size, struct sc_mem_account *a)
{
	if (!grow((void **)&mem.range, &mem.crange, mem.nrange, sizeof(*mem.range)))
		return false;
	size_t i = above(base);
	memmove(&mem.range[i + 1], &mem.range[i], (mem.nrange - i) * sizeof(*mem.range));
	mem.range[i] = (struct range){ base, size, a };
	mem.nrange++;
	return true;
}

static void remove_range(size_t i)
{
	memmove(&mem.range[i], &mem.range[i + 1], (mem.nrange - i - 1) * sizeof(*mem.range));
	mem.nrange--;
}

/* Address space a device allocation occupies, redzone included. */
static uint64_t footprint(uint64_t bytes)
{
	uint64_t size = (bytes + GRANULE - 1) & ~(uint64_t)(GRANULE - 1);
	return size + (bytes >= BIG ? REDZONE_BIG : REDZONE);
}

static bool insert_gap(uint64_t base, uint64_t size)
{
	size_t i = 0;
	while (i < mem.ngap && mem.gap[i].base < base)
		i++;
	bool joins_left = i > 0 && mem.gap[i - 1].base + mem.gap[i - 1].size == base;
	bool joins_right = i < mem.ngap && base + size == mem.gap[i].base;
	if (joins_left && joins_right) {
		mem.gap[i - 1].size += size + mem.gap[i].size;
		memmove(&mem.gap[i], &mem.gap[i + 1], (mem.ngap - i - 1) * sizeof(*mem.gap));
		mem.ngap--;
	} else if (joins_left) {
		mem.gap[i - 1].size += size;
	} else if (joins_right) {
		mem.gap[i].base = base;
		mem.gap[i].size += size;
	} else {
		if (!grow((void **)&mem.gap, &mem.cgap, mem.ngap, sizeof(*mem.gap)))
			return false;
		memmove(&mem.gap[i + 1], &mem.gap[i], (mem.ngap - i) * sizeof(*mem.gap));
		mem.gap[i] = (struct gap){ base, size };
		mem.ngap++;
	}
	return true;
}

/* Cuts [at, at + size) out of gap i. */
static bool cut_gap(size_t i, uint64_t at, uint64_t size)
{
	struct gap g = mem.gap[i];
	uint64_t left = at - g.base, right = g.base + g.size - (at + size);
	if (left && right) {
		if (!grow((void **)&mem.gap, &mem.cgap, mem.ngap, sizeof(*mem.gap)))
			return false;
		memmove(&mem.gap[i + 1], &mem.gap[i], (mem.ngap - i) * sizeof(*mem.gap));
		mem.ngap++;
		mem.gap[i].size = left;
		mem.gap[i + 1] = (struct gap){ at + size, right };
	} else if (left) {
		mem.gap[i].size = left;
	} else if (right) {
		mem.gap[i] = (struct gap){ at + size, right };
	} else {
		memmove(&mem.gap[i], &mem.gap[i + 1], (mem.ngap - i - 1) * sizeof(*mem.gap));
		mem.ngap--;
	}
	return true;
}

static bool commit_to(uint64_t end)
{
	uint64_t want = end - SC_VA_BASE;
	if (want <= mem.committed)
		return true;
	want = (want + COMMIT - 1) & ~(uint64_t)(COMMIT - 1);
	if (want > SC_VA_SIZE)
		want = SC_VA_SIZE;
	if (mprotect((void *)(SC_VA_BASE + mem.committed), want - mem.committed,
		     PROT_READ | PROT_WRITE))
		return false;
	mem.committed = want;
	return true;
}

static void zero(uint64_t base, uint64_t size)
{
	uint64_t first = (base + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	uint64_t last = (base + size) & ~(uint64_t)(PAGE - 1);
	if (first >= last) {
		memset((void *)base, 0, size);
		return;
	}
	memset((void *)base, 0, first - base);
	memset((void *)last, 0, base + size - last);
	if (madvise((void *)first, last - first, MADV_DONTNEED))
		memset((void *)first, 0, last - first);
}

static void release(uint64_t base, uint64_t size)
{
	zero(base, size);
	insert_gap(base, size); /* on failure the address space is lost, nothing else */
}

static int reserve_locked(void)
{
	if (mem.reserved)
		return SC_OK;
	void *want = (void *)SC_VA_BASE;
	void *p = mmap(want, SC_VA_SIZE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (p != want) {
		if (p != MAP_FAILED)
			munmap(p, SC_VA_SIZE);
		return SC_OUT_OF_MEMORY;
	}
	madvise(p, SC_VA_SIZE, MADV_DONTDUMP);
	if (!insert_gap(SC_VA_BASE, SC_VA_SIZE))
		return SC_OUT_OF_MEMORY;
	mem.reserved = true;
	return SC_OK;
}

int sc_mem_start(void)
{
	pthread_rwlock_wrlock(&mem.lock);
	int rc = reserve_locked();
	pthread_rwlock_unlock(&mem.lock);
	return rc;
}

/* First fit: the lowest gap that holds need bytes at the alignment. */
static bool take(uint64_t need, uint64_t align, uint64_t *at)
{
	for (size_t i = 0; i < mem.ngap; i++) {
		uint64_t a = (mem.gap[i].base + align - 1) & ~(align - 1);
		uint64_t skip = a - mem.gap[i].base;
		if (skip > mem.gap[i].size || mem.gap[i].size - skip < need)
			continue;
		if (!commit_to(a + need) || !cut_gap(i, a, need))
			return false;
		*at = a;
		return true;
	}
	return false;
}

static int alloc_locked(struct sc_mem_account *a, uint64_t bytes, uint64_t align, uint64_t *va)
{
	int rc = reserve_locked();
	if (rc)
		return rc;
	uint64_t need = footprint(bytes), charge = (bytes + GRANULE - 1) & ~(uint64_t)(GRANULE - 1);
	if (charge > a->total - a->used)
		return SC_OUT_OF_MEMORY;
	uint64_t at;
	if (!take(need, align, &at))
		return SC_OUT_OF_MEMORY;
	if (!insert_range(at, bytes, a)) {
		insert_gap(at, need);
		return SC_OUT_OF_MEMORY;
	}
	if (bytes >= BIG)
		madvise((void *)at, bytes & ~(uint64_t)(BIG - 1), MADV_HUGEPAGE);
	a->used += charge;
	*va = at;
	return SC_OK;
}

int sc_mem_alloc_account(struct sc_mem_account *a, uint64_t bytes, uint64_t align, uint64_t *va)
{
	if (bytes == 0 || (align & (align - 1)) || align > SC_VA_SIZE / 4)
		return SC_INVALID_VALUE;
	if (bytes > SC_VA_SIZE / 2)
		return SC_OUT_OF_MEMORY;
	if (align < GRANULE)
		align = GRANULE;
	if (bytes >= BIG && align < BIG)
		align = BIG;
	pthread_rwlock_wrlock(&mem.lock);
	int rc = alloc_locked(a, bytes, align, va);
	pthread_rwlock_unlock(&mem.lock);
	return rc;
}

static void free_range_locked(size_t i)
{
	struct range r = mem.range[i];
	remove_range(i);
	r.account->used -= (r.size + GRANULE - 1) & ~(uint64_t)(GRANULE - 1);
	uint64_t size = footprint(r.size);
	if (mem.launches == 0)
		release(r.base, size);
	else if (grow((void **)&mem.late, &mem.clate, mem.nlate, sizeof(*mem.late)))
		mem.late[mem.nlate++] = (struct gap){ r.base, size };
}

int sc_mem_free_account(struct sc_mem_account *a, uint64_t va)
{
	int rc = SC_INVALID_VALUE;
	pthread_rwlock_wrlock(&mem.lock);
	size_t i = above(va);
	if (i > 0 && mem.range[i - 1].base == va && mem.range[i - 1].account == a) {
		free_range_locked(i - 1);
		rc = SC_OK;
	}
	pthread_rwlock_unlock(&mem.lock);
	return rc;
}

void sc_mem_account_info(const struct sc_mem_account *a, uint64_t *free_bytes, uint64_t *total)
{
	pthread_rwlock_rdlock(&mem.lock);
	if (free_bytes)
		*free_bytes = a->total - a->used;
	if (total)
		*total = a->total;
	pthread_rwlock_unlock(&mem.lock);
}

void sc_mem_account_close(struct sc_mem_account *a)
{
	pthread_rwlock_wrlock(&mem.lock);
	for (size_t i = mem.nrange; i-- > 0;)
		if (mem.range[i].account == a)
			free_range_locked(i);
	pthread_rwlock_unlock(&mem.lock);
}

void sc_mem_launch_begin(void)
{
	pthread_rwlock_wrlock(&mem.lock);
	mem.launches++;
	pthread_rwlock_unlock(&mem.lock);
}

void sc_mem_launch_end(void)
{
	pthread_rwlock_wrlock(&mem.lock);
	if (--mem.launches == 0) {
		for (size_t i = 0; i < mem.nlate; i++)
			release(mem.late[i].base, mem.late[i].size);
		mem.nlate = 0;
	}
	pthread_rwlock_unlock(&mem.lock);
}

int sc_mem_register_host(void *p, uint64_t bytes)
{
	uint64_t va = (uint64_t)(uintptr_t)p;
	if (!p || bytes == 0 || va + bytes < va)
		return SC_INVALID_VALUE;
	if (va < SC_VA_BASE + SC_VA_SIZE && va + bytes > SC_VA_BASE)
		return SC_INVALID_VALUE;
	int rc = SC_OK;
	pthread_rwlock_wrlock(&mem.lock);
	size_t i = above(va);
	if ((i > 0 && va - mem.range[i - 1].base < mem.range[i - 1].size) ||
	    (i < mem.nrange && mem.range[i].base - va < bytes))
		rc = SC_ALREADY_REGISTERED;
	else if (!insert_range(va, bytes, NULL))
		rc = SC_OUT_OF_MEMORY;
	pthread_rwlock_unlock(&mem.lock);
	return rc;
}

int sc_mem_unregister_host(void *p)
{
	int rc = SC_NOT_REGISTERED;
	uint64_t va = (uint64_t)(uintptr_t)p;
	pthread_rwlock_wrlock(&mem.lock);
	size_t i = above(va);
	if (i > 0 && mem.range[i - 1].base == va && !mem.range[i - 1].account) {
		remove_range(i - 1);
		rc = SC_OK;
	}
	pthread_rwlock_unlock(&mem.lock);
	return rc;
}

bool sc_mem_lookup(uint64_t va, uint64_t *base, uint64_t *size, bool *host)
{
	pthread_rwlock_rdlock(&mem.lock);
	const struct range *r = holding(va);
	if (r) {
		*base = r->base;
		*size = r->size;
		*host = !r->account;
	}
	pthread_rwlock_unlock(&mem.lock);
	return r != NULL;
}

bool sc_mem_range(uint64_t va, uint64_t *base, uint64_t *size)
{
	uint64_t b, s;
	bool host;
	if (!sc_mem_lookup(va, &b, &s, &host))
		return false;
	if (base)
		*base = b;
	if (size)
		*size = s;
	return true;
}

bool sc_mem_ok(uint64_t va, uint64_t len)
{
	uint64_t base, size;
	bool host;
	return sc_mem_lookup(va, &base, &size, &host) && len <= size - (va - base);
}
