/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings with free-running 64-bit indexes: one producer, one consumer, no read-modify-write.
 *
 * Both sides follow the same steps, and these are what makes a lost wake-up impossible:
 *   producer: write the slot; publish the index (release); full fence; peer's `sleeping`? ring.
 *   sleeper:  sleeping = 1; full fence; look once more; sleep at most VGPU_RECHECK_MS; sleeping = 0.
 *
 * Several threads of one side take turns under that side's own lock; nothing here locks.
 */
#ifndef VGPU_WIRE_RING_H
#define VGPU_WIRE_RING_H
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include "wire/entry.h"

#define VGPU_SPIN_MAX_NS 40000u /* about what two eventfd hops cost on a busy machine */
#define VGPU_SPIN_MIN_NS 1000u
#define VGPU_SPIN_PROBE 16u
/* A wait this long, wake-ups of both sides included, would have been short with both awake. */
#define VGPU_SPIN_WORTH_NS 100000u

static inline uint64_t vgpu_load64(const vg_u64 *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void vgpu_store64(vg_u64 *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline uint32_t vgpu_load32(const vg_u32 *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void vgpu_store32(vg_u32 *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline void vgpu_fence(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}

/* Copies what the peer wrote. Without the barrier the compiler might read a field from the source once more
 * after it was checked, when the peer has changed it. */
static inline void vgpu_copy_once(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
	__asm__ volatile("" ::: "memory");
}

static inline void vgpu_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static inline uint64_t vgpu_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* After publishing: 0, or the peer sleeps and may have to be woken. */
static inline uint32_t vgpu_peer_sleeps(const vg_u32 *sleeping)
{
	vgpu_fence();
	return vgpu_load32(sleeping);
}

/*
 * How long it pays to spin before sleeping: the whole budget after spinning was enough, half as long
 * after each time it was not, so that a machine with no core to spare soon stops burning one. Every
 * VGPU_SPIN_PROBE-th time the whole budget is tried again; otherwise two sides that both sleep, and
 * so see long waits, would never find out that neither has to.
 */
struct vgpu_spin {
	uint32_t budget_ns, failures;
	bool retried; /* vgpu_spin_waited() has had its one try since spinning last was enough */
};

static inline void vgpu_spin_init(struct vgpu_spin *s)
{
	s->budget_ns = VGPU_SPIN_MAX_NS;
	s->failures = 0;
	s->retried = false;
}

static inline void vgpu_spin_learn(struct vgpu_spin *s, bool enough)
{
	s->failures = enough ? 0 : s->failures + 1;
	s->retried &= !enough;
	if (enough || s->failures % VGPU_SPIN_PROBE == 0)
		s->budget_ns = VGPU_SPIN_MAX_NS;
	else
		s->budget_ns = s->budget_ns / 2 > VGPU_SPIN_MIN_NS ? s->budget_ns / 2 : VGPU_SPIN_MIN_NS;
}

/* A wait that outlasted the budget took `ns` until it was answered: two sides that have both learned to
 * sleep wait that long for each other's wake-ups only, so spin again. Once: where both share a core
 * it fails again, and the waits are just as short. */
static inline void vgpu_spin_waited(struct vgpu_spin *s, uint64_t ns)
{
	if (ns >= VGPU_SPIN_WORTH_NS || s->retried)
		return;
	s->budget_ns = VGPU_SPIN_MAX_NS;
	s->retried = true;
}

static inline void *vgpu_ch(void *channel, uint32_t off)
{
	return (char *)channel + off;
}

static inline struct vgpu_ch_host *vgpu_ch_host(void *channel)
{
	return (struct vgpu_ch_host *)vgpu_ch(channel, VGPU_CH_HOST_OFF);
}

static inline struct vgpu_ch_guest *vgpu_ch_guest(void *channel)
{
	return (struct vgpu_ch_guest *)vgpu_ch(channel, VGPU_CH_GUEST_OFF);
}

static inline struct vgpu_entry *vgpu_work_slot(void *channel, uint64_t index)
{
	return (struct vgpu_entry *)vgpu_ch(channel, VGPU_CH_WORK_OFF) + (index & (VGPU_CH_WORK_ENTRIES - 1));
}

static inline struct vgpu_entry *vgpu_ctl_slot(void *channel, uint64_t index)
{
	return (struct vgpu_entry *)vgpu_ch(channel, VGPU_CH_CTL_OFF) + (index & (VGPU_CH_CTL_ENTRIES - 1));
}

static inline struct vgpu_completion *vgpu_cpl_slot(void *channel, uint64_t index)
{
	return (struct vgpu_completion *)vgpu_ch(channel, VGPU_CH_CPL_OFF) +
	       (index & (VGPU_CH_CPL_ENTRIES - 1));
}

/*
 * A byte ring whose pieces are freed in the order of an index ring: param payload by work_tail,
 * bounce bytes by work_done. Positions run freely; a piece never wraps. `end[]` remembers, per slot
 * of the index ring, how far this ring had been used when that entry was published.
 */
struct vgpu_bytes {
	uint64_t head, tail; /* positions, bytes */
	uint32_t size;	     /* power of two */
	uint64_t end[VGPU_CH_WORK_ENTRIES];
};

/* Room for len bytes, aligned to 64; offset in the ring or -1 when it has to wait. */
static inline int64_t vgpu_bytes_take(struct vgpu_bytes *b, uint32_t len)
{
	uint64_t need = (len + 63u) & ~63ull, at = b->head & (b->size - 1), skip = 0;

	if (at + need > b->size)
		skip = b->size - at;
	if (b->head + skip + need - b->tail > b->size)
		return -1;
	b->head += skip + need;
	return (int64_t)((b->head - need) & (b->size - 1));
}

/* At publishing entry `index`. */
static inline void vgpu_bytes_mark(struct vgpu_bytes *b, uint64_t index)
{
	b->end[index & (VGPU_CH_WORK_ENTRIES - 1)] = b->head;
}

/* Every entry below `done` of those below `head` is through. With a whole ring of entries between the
 * two, end[] of the last finished one is overwritten already: then nothing is freed yet. */
static inline void vgpu_bytes_free(struct vgpu_bytes *b, uint64_t done, uint64_t head)
{
	if (done && head - done < VGPU_CH_WORK_ENTRIES)
		b->tail = b->end[(done - 1) & (VGPU_CH_WORK_ENTRIES - 1)];
}
#endif
