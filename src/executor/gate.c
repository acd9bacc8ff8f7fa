/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lease as the decoder sees it.
 *
 *   NONE      no right to compute. A kernel asks -> HELD if held anyway, else WANTED
 *   WANTED    asked for; the doorbell rings when it is granted -> HELD
 *   HELD      kernels are issued. Due -> DRAINING; ring empty and device drained -> NONE, kept by the
 *             other half as long as nobody waits
 *   DRAINING  no kernel is issued; GATE_LEAD_NS before the last one ends that is said; none on the device ->
 *             released, NONE
 *
 * The decoder changes it, but for the last step, which whoever sees the last kernel end takes at once: the device
 * idles until then.
 */
#include "executor/call.h"

/* Four threads wake one after the other until the next tenant's first kernel runs: our reaper or decoder, the
 * broker, its decoder, its worker. */
#define GATE_LEAD_NS 250000u

bool gate_drained(struct exec *x)
{
	int from = GATE_DRAINING;

	if (!atomic_compare_exchange_strong(&x->gate, &from, GATE_NONE))
		return false;
	x->env->ops->lease_release(x->env->ops_ctx);
	return true;
}

void gate_step(struct exec *x)
{
	if (atomic_load(&x->gate) == GATE_HELD && x->env->ops->lease_due(x->env->ops_ctx)) {
		marks_close(x);
		x->ending_said = false;
		atomic_store(&x->gate, GATE_DRAINING);
	}
	if (atomic_load(&x->gate) == GATE_DRAINING && marks_no_kernels(x))
		gate_drained(x);
}

bool gate_open(struct exec *x)
{
	const struct exec_ops *ops = x->env->ops;
	int state;

	gate_step(x);
	state = atomic_load(&x->gate);
	if (state == GATE_NONE || state == GATE_WANTED) {
		if (ops->lease_try(x->env->ops_ctx)) {
			state = GATE_HELD;
		} else if (state == GATE_NONE) {
			ops->lease_ask(x->env->ops_ctx);
			state = GATE_WANTED;
		}
		atomic_store(&x->gate, state);
	}
	return state == GATE_HELD;
}

uint64_t gate_ending(struct exec *x)
{
	uint64_t left;

	if (atomic_load(&x->gate) != GATE_DRAINING || x->ending_said || !x->env->ops->lease_ending || !marks_left(x, &left))
		return 0;
	if (left > GATE_LEAD_NS)
		return left - GATE_LEAD_NS;
	x->ending_said = true;
	x->env->ops->lease_ending(x->env->ops_ctx);
	return 0;
}

uint64_t gate_idle(struct exec *x)
{
	if (atomic_load(&x->gate) == GATE_DRAINING || !marks_idle(x))
		return 0;
	atomic_store(&x->gate, GATE_NONE);
	return x->env->ops->lease_idle(x->env->ops_ctx);
}

void gate_stop(struct exec *x)
{
	int state = atomic_load(&x->gate);

	if (state == GATE_HELD || state == GATE_DRAINING)
		x->env->ops->lease_release(x->env->ops_ctx);
}
