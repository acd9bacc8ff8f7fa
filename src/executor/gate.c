/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lease as the decoder sees it.
 *
 *   NONE      no right to compute. A kernel asks -> HELD if held anyway, else WANTED
 *   WANTED    the lease thread is asking the broker -> HELD
 *   HELD      kernels are issued. Due -> DRAINING; ring empty and device drained -> NONE, kept by the
 *             other half as long as nobody waits
 *   DRAINING  nothing is issued; device empty -> released, NONE
 */
#include "executor/call.h"

static void *lease_thread(void *arg)
{
	struct exec *x = arg;
	struct exec_gate *g = &x->gate;

	pthread_mutex_lock(&g->lock);
	while (!g->stop) {
		if (atomic_load(&g->state) != GATE_WANTED) {
			pthread_cond_wait(&g->want, &g->lock);
			continue;
		}
		pthread_mutex_unlock(&g->lock);
		if (x->env->ops->lease_acquire(x->env->ops_ctx) == 0)
			atomic_store(&g->state, GATE_HELD);
		else
			exec_break(x, VGPU_ERR_NONE);
		exec_wake(x);
		pthread_mutex_lock(&g->lock);
		if (atomic_load(&x->broken) != -1)
			break;
	}
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

void gate_step(struct exec *x)
{
	struct exec_gate *g = &x->gate;
	const struct exec_ops *ops = x->env->ops;

	if (atomic_load(&g->state) == GATE_HELD && ops->lease_due(x->env->ops_ctx)) {
		marks_close(x);
		atomic_store(&g->state, GATE_DRAINING);
	}
	if (atomic_load(&g->state) == GATE_DRAINING && marks_idle(x)) {
		ops->lease_release(x->env->ops_ctx);
		atomic_store(&g->state, GATE_NONE);
	}
}

bool gate_open(struct exec *x)
{
	struct exec_gate *g = &x->gate;
	const struct exec_ops *ops = x->env->ops;

	gate_step(x);
	if (atomic_load(&g->state) == GATE_NONE) {
		if (ops->lease_try && ops->lease_try(x->env->ops_ctx)) {
			atomic_store(&g->state, GATE_HELD);
		} else {
			pthread_mutex_lock(&g->lock);
			atomic_store(&g->state, GATE_WANTED);
			pthread_cond_signal(&g->want);
			pthread_mutex_unlock(&g->lock);
		}
	}
	return atomic_load(&g->state) == GATE_HELD;
}

uint64_t gate_idle(struct exec *x)
{
	int state = atomic_load(&x->gate.state);

	if ((state != GATE_HELD && state != GATE_NONE) || !marks_idle(x))
		return 0;
	atomic_store(&x->gate.state, GATE_NONE);
	return x->env->ops->lease_idle(x->env->ops_ctx);
}

int gate_start(struct exec *x)
{
	struct exec_gate *g = &x->gate;

	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->want, NULL);
	atomic_store(&g->state, GATE_NONE);
	g->started = !pthread_create(&g->thread, NULL, lease_thread, x);
	return g->started ? 0 : -1;
}

void gate_stop(struct exec *x)
{
	struct exec_gate *g = &x->gate;

	pthread_mutex_lock(&g->lock);
	g->stop = true;
	pthread_cond_signal(&g->want);
	pthread_mutex_unlock(&g->lock);
	if (g->started)
		pthread_join(g->thread, NULL);
	if (atomic_load(&g->state) == GATE_HELD || atomic_load(&g->state) == GATE_DRAINING)
		x->env->ops->lease_release(x->env->ops_ctx);
}
