/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks the table by every sequence of events up to a length, beside a model that knows only whether a
 * process exists and whether the memory is zero. Breaks if FREE is reachable with a process alive or with
 * dirty memory, if a process is left without a kill, if DEAD loses the guest's memory, or if a channel comes
 * back whose memory could not be zeroed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <cmocka.h>
#include "vgpud/broker/channel_states.h"

#define DEPTH 8

struct model {
	enum ch_state state;
	bool process, killed, dirty, scrubbing;
};

static unsigned long walked;

/* Events that can happen: an executor is ready or exits only if there is one. */
static bool possible(const struct model *m, enum ch_event ev)
{
	if (ev == CH_READY)
		return m->process && !m->killed;
	if (ev == CH_EXIT)
		return m->process;
	if (ev == CH_CLEAN || ev == CH_STUCK)
		return m->scrubbing;
	return true;
}

static struct model step(struct model m, enum ch_event ev)
{
	struct ch_step s = ch_table[m.state][ev];

	if (ev == CH_EXIT)
		m.process = m.killed = false;
	if (ev == CH_CLEAN)
		m.dirty = false;
	if (ev == CH_CLEAN || ev == CH_STUCK)
		m.scrubbing = false;
	m.state = s.next;
	switch (s.action) {
	case CH_DO_SPAWN:
		assert_false(m.process);
		m.process = m.dirty = true;
		break;
	case CH_DO_KILL:
		assert_true(m.process);
		m.killed = true;
		break;
	case CH_DO_SCRUB:
		assert_false(m.process || m.scrubbing);
		m.scrubbing = true;
		break;
	default:
		break;
	}
	return m;
}

static void check(const struct model *m, enum ch_state from, enum ch_event ev)
{
	walked++;
	if (m->state == CH_FREE)
		assert_true(!m->process && !m->dirty);
	assert_int_equal(m->state == CH_SCRUBBING, m->scrubbing);
	if (m->state == CH_QUEUED || m->state == CH_DEAD)
		assert_false(m->process);
	if (from == CH_RETIRED)
		assert_int_equal(m->state, CH_RETIRED);
	if (m->state == CH_STARTING || m->state == CH_RUN)
		assert_true(m->process && !m->killed);
	if (m->state == CH_KILLING || m->state == CH_DYING)
		assert_true(m->process && m->killed);
	/* Died by itself: the guest may still read what it left. */
	if (from == CH_RUN && ev == CH_EXIT)
		assert_true(m->state == CH_DEAD && m->dirty);
	assert_int_equal(ch_shown[m->state] == VGPU_CH_FREE, m->state == CH_FREE);
}

static void walk(struct model m, unsigned depth)
{
	if (!depth)
		return;
	for (int ev = 0; ev < CH_EVENTS; ev++) {
		struct model next;

		if (!possible(&m, (enum ch_event)ev))
			continue;
		next = step(m, (enum ch_event)ev);
		check(&next, m.state, (enum ch_event)ev);
		walk(next, depth - 1);
	}
}

static void test_every_sequence(void **state)
{
	walk((struct model){.state = CH_FREE}, DEPTH);
	assert_true(walked > 10000);
}

/* Whatever happened, a guest that closes and a host that reaps and zeroes end in FREE; without zeroing, never. */
static void test_always_back_to_free(void **state)
{
	for (int s = 0; s < CH_RETIRED; s++) {
		struct model m = {.state = (enum ch_state)s};

		m.process = s == CH_STARTING || s == CH_RUN || s == CH_KILLING || s == CH_DYING;
		m.killed = s == CH_KILLING || s == CH_DYING;
		m.dirty = s != CH_FREE && s != CH_QUEUED;
		m.scrubbing = s == CH_SCRUBBING;
		for (int i = 0; i < 3; i++) {
			m = step(m, CH_CLOSE);
			if (m.process)
				m = step(m, CH_EXIT);
			assert_true(m.state != CH_FREE || !m.dirty);
			if (m.scrubbing)
				m = step(m, CH_CLEAN);
		}
		assert_int_equal(m.state, CH_FREE);
		assert_false(m.dirty);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_sequence),
					   cmocka_unit_test(test_always_back_to_free)};

	return cmocka_run_group_tests_name("channel_states", tests, NULL, NULL);
}
