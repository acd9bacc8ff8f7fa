/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When work was submitted, as far as can be known: when the decoder first saw it in the ring. The guest's own
 * word, or clock, would be nothing to rely on. While the decoder sleeps for a lease it looks every
 * VGPU_RECHECK_MS, so what comes meanwhile may look that much younger.
 */
#include "executor/call.h"

void seen_note(struct exec *x, uint64_t head)
{
	struct exec_seen *s = &x->seen;
	uint64_t issued = held_issued(x);

	if (head == s->head)
		return;
	while (s->n && s->at[s->first].head <= issued) {
		s->first = (s->first + 1) % EXEC_SEEN;
		s->n--;
	}
	s->head = head;
	if (s->n == EXEC_SEEN) { /* counted as old as those before: too long rather than too short */
		s->at[(s->first + s->n - 1) % EXEC_SEEN].head = head;
		return;
	}
	s->at[(s->first + s->n) % EXEC_SEEN].head = head;
	s->at[(s->first + s->n) % EXEC_SEEN].ns = vgpu_now_ns();
	s->n++;
}

uint64_t seen_at(const struct exec *x, uint64_t index)
{
	const struct exec_seen *s = &x->seen;
	uint32_t i;

	for (i = 0; i + 1 < s->n && s->at[(s->first + i) % EXEC_SEEN].head <= index; i++)
		;
	return s->at[(s->first + i) % EXEC_SEEN].ns;
}
