/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits that delay: an entry beyond what the VM may launch or copy now stays where it is, and with it all
 * that is ordered after it. The control ring goes on, and the lease goes back as if the ring were empty.
 * Nobody wakes the decoder when there is more; it asks again every VGPU_RECHECK_MS. Decoder only.
 */
#include "executor/call.h"

static uint64_t ask(struct exec *x, enum exec_limit what)
{
	const struct exec_ops *ops = x->env->ops;

	return ops->room ? ops->room(x->env->ops_ctx, what) : UINT64_MAX;
}

/* Once for a batch, so that a new limit holds soon. */
void throttle_ask(struct exec *x)
{
	for (unsigned i = 0; i < EXEC_LIMITS; i++)
		x->throttle.room[i] = ask(x, i);
}

static bool has_room(struct exec *x, enum exec_limit what, uint64_t pending)
{
	if (pending < x->throttle.room[what])
		return true;
	exec_charge(x); /* asking counts from what was charged */
	x->throttle.room[what] = ask(x, what);
	return x->throttle.room[what] > 0;
}

bool throttle_allows(struct exec *x, const struct call *c)
{
	bool ok = true;

	if (c->op->flags & VGPU_OP_GATED)
		ok = has_room(x, EXEC_LAUNCHES, x->charged_launches);
	else if (c->op->flags & VGPU_OP_UNIT)
		ok = has_room(x, EXEC_BYTES, x->charged_bytes);
	x->throttle.waits |= !ok;
	return ok;
}

static void spend(uint64_t *room, uint64_t n)
{
	if (*room != UINT64_MAX)
		*room -= n < *room ? n : *room;
}

void throttle_charged(struct exec *x)
{
	spend(&x->throttle.room[EXEC_LAUNCHES], x->charged_launches);
	spend(&x->throttle.room[EXEC_BYTES], x->charged_bytes);
}

uint32_t throttle_window(struct exec *x)
{
	uint32_t window = atomic_load(&x->window);

	return x->throttle.room[EXEC_DEPTH] < window ? (uint32_t)x->throttle.room[EXEC_DEPTH] : window;
}
