/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OF(c_) ((struct sim_client *)(c_)) /* c is its first member */

uint64_t sim_random(struct sim *m, uint64_t below)
{
	m->rng = m->rng * 6364136223846793005u + 1442695040888963407u;
	return (m->rng >> 33) % below;
}

static double uniform(struct sim *m)
{
	return (double)sim_random(m, 1u << 30) / (1u << 30);
}

struct sim *sim_new(uint64_t quantum, uint64_t seed)
{
	struct sim *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	m->rng = seed;
	sched_init(&m->s, quantum, m->heap, SIM_CLIENTS_MAX);
	return m;
}

void sim_vm_init(struct sim_vm *vm, uint32_t share)
{
	memset(vm, 0, sizeof(*vm));
	sched_tenant_init(&vm->t, share, vm);
	vm->kernel_min = MS / 10;
	vm->kernel_max = MS;
}

static void next_kernel(struct sim *m, struct sim_client *x)
{
	const struct sim_vm *vm = x->vm;

	x->left = vm->kernel_max == SIM_ENDLESS
			  ? INFINITY
			  : exp(log((double)vm->kernel_min) +
				uniform(m) * (log((double)vm->kernel_max) - log((double)vm->kernel_min)));
}

void sim_add(struct sim *m, struct sim_vm *vm)
{
	struct sim_client *x = &m->client[m->n++];

	x->vm = vm;
	sched_client_init(&x->c, &vm->t);
	next_kernel(m, x);
	sched_ask(&m->s, &x->c, m->now);
}

/* ns of its kernel left when it says that it is ending. */
static double lead(const struct sim_client *x)
{
	return x->vm->lies ? INFINITY : SIM_LEAD_NS;
}

static uint64_t next_event(const struct sim *m, uint64_t end)
{
	uint64_t at = sched_next(&m->s);

	at = at < end ? at : end;
	for (unsigned i = 0; i < m->s.holders; i++) {
		const struct sim_client *x = OF(m->s.holder[i]);
		bool says = x->revoked && !x->c.ending && x->left > lead(x);
		double over = (says ? x->left - lead(x) : x->left) * m->s.holders;

		if (over < (double)(at - m->now))
			at = m->now + (uint64_t)ceil(over);
		if (!x->revoked && x->c.deadline < at)
			at = x->c.deadline;
	}
	for (unsigned i = 0; i < m->n; i++)
		if (m->client[i].wake && m->client[i].wake < at)
			at = m->client[i].wake;
	return at > m->now ? at : m->now + 1;
}

static void run_until(struct sim *m, uint64_t at)
{
	if (!m->s.holders && sched_contended(&m->s))
		m->idle_wrongly += at - m->now;
	for (unsigned i = 0; i < m->s.holders; i++)
		OF(m->s.holder[i])->left -= (double)(at - m->now) / m->s.holders;
	m->now = at;
}

/* A kernel ended: the next one, a pause, or the lease goes to another. */
static void kernel_ended(struct sim *m, struct sim_client *x)
{
	struct sim_vm *vm = x->vm;

	next_kernel(m, x);
	if (vm->batch && ++x->done >= vm->batch) {
		x->done = 0;
		x->wake = m->now + 1 + (uint64_t)(2 * uniform(m) * (double)vm->think);
		sched_release(&m->s, &x->c, m->now, m->now);
	} else if (x->revoked) {
		sched_release(&m->s, &x->c, m->now, m->now);
		sched_ask(&m->s, &x->c, m->now);
	}
}

static void look_at_holders(struct sim *m)
{
	for (unsigned i = 0; i < m->s.holders; i++) {
		struct sim_client *x = OF(m->s.holder[i]);

		if (!x->revoked && (m->now >= x->c.deadline || !sched_contended(&m->s)))
			x->revoked = !sched_renew(&m->s, &x->c, m->now);
	}
	for (unsigned i = 0; i < m->s.holders;) {
		struct sim_client *x = OF(m->s.holder[i]);

		if (x->revoked && x->left <= lead(x))
			sched_ending(&x->c);
		if (x->left <= 0.5)
			kernel_ended(m, x);
		i += i < m->s.holders && m->s.holder[i] == &x->c;
	}
}

static void grant(struct sim *m)
{
	struct sched_client *c;

	while ((c = sched_pick(&m->s, m->now))) {
		struct sim_vm *vm = OF(c)->vm;

		OF(c)->revoked = false;
		if (m->now - c->asked_at > vm->longest_wait)
			vm->longest_wait = m->now - c->asked_at;
	}
}

static void wake(struct sim *m)
{
	for (unsigned i = 0; i < m->n; i++) {
		struct sim_client *x = &m->client[i];

		if (x->wake && x->wake <= m->now) {
			x->wake = 0;
			sched_ask(&m->s, &x->c, m->now);
		}
	}
}

void sim_run(struct sim *m, uint64_t ns)
{
	uint64_t end = m->now + ns;

	grant(m);
	while (m->now < end) {
		run_until(m, next_event(m, end));
		sched_account(&m->s, m->now);
		wake(m);
		look_at_holders(m);
		grant(m);
	}
}
