/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lease as the decoder sees it.
 *
 *   NONE      no right to compute. A kernel asks -> HELD if held anyway, else WANTED
 *   WANTED    asked for; the doorbell rings when it is granted -> HELD
 *   HELD      kernels are issued. Due -> DRAINING; ring empty and device drained -> NONE, kept by the
 *             other half as long as nobody waits
 *   DRAINING  no kernel is issued; none on the device -> released, NONE
 *
 * The decoder changes it, but for the last step, which whoever sees the last kernel end takes at once: the device
 * idles until then.
 */
#include "executor/call.h"

void gate_drained(struct exec *x)
{
	int from = GATE_DRAINING;

	if (atomic_compare_exchange_strong(&x->gate, &from, GATE_NONE))
		x->env->ops->lease_release(x->env->ops_ctx);
}

void gate_step(struct exec *x)
{
	if (atomic_load(&x->gate) == GATE_HELD && x->env->ops->lease_due(x->env->ops_ctx)) {
		marks_close(x);
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
