/* SPDX-License-Identifier: Apache-2.0 */
/* If these fail, entries are lost, seen twice or torn, or payload is overwritten while still in use. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sched.h>
#include <sys/mman.h>
#include <cmocka.h>
#include "wire/ring.h"

#define ROUNDS 300000u

static void *channel_new(void)
{
	void *p = mmap(NULL, VGPU_CHANNEL_STRIDE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

/* Writes a 4-word payload into the byte ring for every entry; the consumer checks both. */
static void *producer(void *channel)
{
	struct vgpu_ch_host *h = vgpu_ch_host(channel);
	struct vgpu_ch_guest *g = vgpu_ch_guest(channel);
	struct vgpu_bytes *bytes = calloc(1, sizeof(*bytes));

	bytes->size = 4096;
	for (uint64_t i = 0; i < ROUNDS;) {
		uint64_t tail = vgpu_load64(&h->work_tail);
		struct vgpu_entry *e = vgpu_work_slot(channel, i);
		uint32_t len = 16 + (i * 2654435761u >> 20) % 300;
		int64_t at;

		vgpu_bytes_free(bytes, tail, i);
		at = i - tail < VGPU_CH_WORK_ENTRIES ? vgpu_bytes_take(bytes, len) : -1;
		if (at < 0) {
			sched_yield();
			continue;
		}
		memset((char *)vgpu_ch(channel, VGPU_CH_PARAM_OFF) + at, (int)i, len);
		e->tag = (uint32_t)i;
		e->pay_off = (uint32_t)at;
		e->pay_len = len;
		vgpu_bytes_mark(bytes, i);
		vgpu_store64(&g->work_head, ++i);
	}
	free(bytes);
	return NULL;
}

static void two_threads(void **state)
{
	void *channel = channel_new();
	struct vgpu_ch_host *h = vgpu_ch_host(channel);
	struct vgpu_ch_guest *g = vgpu_ch_guest(channel);
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, producer, channel), 0);
	for (uint64_t i = 0; i < ROUNDS;) {
		struct vgpu_entry e;
		const unsigned char *pay;

		if (vgpu_load64(&g->work_head) == i) {
			sched_yield();
			continue;
		}
		e = *vgpu_work_slot(channel, i);
		assert_int_equal(e.tag, (uint32_t)i);
		assert_true(e.pay_off + e.pay_len <= 4096);
		pay = (unsigned char *)vgpu_ch(channel, VGPU_CH_PARAM_OFF) + e.pay_off;
		for (uint32_t k = 0; k < e.pay_len; k++)
			if (pay[k] != (i & 0xff))
				fail_msg("entry %llu byte %u", (unsigned long long)i, k);
		vgpu_store64(&h->work_tail, ++i);
	}
	pthread_join(t, NULL);
	munmap(channel, VGPU_CHANNEL_STRIDE);
}

static void bytes_never_wrap_nor_overlap(void **state)
{
	struct vgpu_bytes *b = calloc(1, sizeof(*b));

	b->size = 1024;
	assert_int_equal(vgpu_bytes_take(b, 1000), 0);
	vgpu_bytes_mark(b, 0);
	assert_int_equal(vgpu_bytes_take(b, 64), -1);
	vgpu_bytes_free(b, 1, 1);
	assert_int_equal(vgpu_bytes_take(b, 600), 0);
	vgpu_bytes_mark(b, 1);
	assert_int_equal(vgpu_bytes_take(b, 500), -1); /* would wrap, and 640 of 1024 are taken */
	assert_int_equal(vgpu_bytes_take(b, 300), 640);
	vgpu_bytes_mark(b, 2);
	vgpu_bytes_free(b, 2, 3);
	assert_int_equal(vgpu_bytes_take(b, 500), 0); /* skips the last 64 */
	free(b);
}

static void a_full_ring_frees_nothing_early(void **state)
{
	struct vgpu_bytes *b = calloc(1, sizeof(*b));
	uint64_t head = 0;

	b->size = 1u << 20;
	for (; head < VGPU_CH_WORK_ENTRIES + 1; head++) {
		assert_true(vgpu_bytes_take(b, 64) >= 0);
		vgpu_bytes_mark(b, head);
	}
	vgpu_bytes_free(b, 1, head); /* entry 0's end is overwritten by entry 1024's */
	assert_int_equal(b->tail, 0);
	vgpu_bytes_free(b, 2, head);
	assert_int_equal(b->tail, 128);
	free(b);
}

static void spin_adapts_within_bounds(void **state)
{
	struct vgpu_spin s;

	vgpu_spin_init(&s);
	vgpu_spin_learn(&s, false);
	assert_int_equal(s.budget_ns, VGPU_SPIN_MAX_NS / 2);
	for (unsigned i = 2; i < VGPU_SPIN_PROBE; i++)
		vgpu_spin_learn(&s, false);
	assert_int_equal(s.budget_ns, VGPU_SPIN_MIN_NS);
	vgpu_spin_learn(&s, false); /* the probe */
	assert_int_equal(s.budget_ns, VGPU_SPIN_MAX_NS);
	vgpu_spin_learn(&s, false);
	vgpu_spin_learn(&s, true);
	assert_int_equal(s.budget_ns, VGPU_SPIN_MAX_NS);
	vgpu_spin_learn(&s, false);
	vgpu_spin_waited(&s, VGPU_SPIN_WORTH_NS); /* a long wait: sleeping was right */
	assert_int_equal(s.budget_ns, VGPU_SPIN_MAX_NS / 2);
	vgpu_spin_waited(&s, VGPU_SPIN_WORTH_NS - 1);
	assert_int_equal(s.budget_ns, VGPU_SPIN_MAX_NS);
	vgpu_spin_learn(&s, false);
	vgpu_spin_waited(&s, VGPU_SPIN_WORTH_NS - 1); /* spinning for the whole budget did not help either */
	assert_int_equal(s.budget_ns, VGPU_SPIN_MAX_NS / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_threads),
		cmocka_unit_test(bytes_never_wrap_nor_overlap),
		cmocka_unit_test(a_full_ring_frees_nothing_early),
		cmocka_unit_test(spin_adapts_within_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
