/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler against a simulated device: no clock, so the figures are exact and repeatable.
 *
 * sim_run() is a device on which whoever holds the lease runs kernels of random length; a holder
 * hands over at the first kernel boundary after its deadline.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vgpud/broker/sched.h"

#define MS 1000000ull
#define TENANTS_MAX 1000

struct sim_tenant {
	struct sched_tenant t;
	struct sched_client c;
	uint64_t kernel_min, kernel_max; /* ns */
	uint64_t think;			 /* ns of pause after each kernel; 0 = always backlogged */
	uint64_t wake;			 /* asks again at this instant; 0 = not pausing */
};

struct sim {
	struct sched s;
	struct sched_slot heap[TENANTS_MAX];
	struct sim_tenant tenant[TENANTS_MAX];
	unsigned n;
	uint64_t now, end; /* end of the run: nobody holds beyond it */
	uint32_t rng;
};

static uint32_t rnd(struct sim *m)
{
	m->rng = m->rng * 1664525u + 1013904223u;
	return m->rng >> 8;
}

static struct sim *sim_new(unsigned n, const uint32_t *share, uint64_t quantum)
{
	struct sim *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->rng = 12345;
	m->n = n;
	sched_init(&m->s, quantum, m->heap, n);
	for (unsigned i = 0; i < n; i++) {
		struct sim_tenant *t = &m->tenant[i];

		sched_tenant_init(&t->t, share[i], t);
		sched_client_init(&t->c, &t->t);
		t->kernel_min = MS / 10;
		t->kernel_max = MS;
		assert_true(sched_ask(&m->s, &t->c, 0));
	}
	return m;
}

static void wake_due(struct sim *m)
{
	for (unsigned i = 0; i < m->n; i++) {
		struct sim_tenant *t = &m->tenant[i];

		if (t->wake && t->wake <= m->now) {
			t->wake = 0;
			sched_ask(&m->s, &t->c, m->now);
		}
	}
}

/* One turn of whoever is next. */
static void sim_turn(struct sim *m)
{
	struct sched_client *c = sched_pick(&m->s, m->now);
	struct sim_tenant *t;

	if (!c) {
		m->now += MS / 10; /* everybody pauses */
		wake_due(m);
		return;
	}
	t = c->tenant->owner;
	do {
		m->now += t->kernel_min + rnd(m) % (t->kernel_max - t->kernel_min + 1);
		wake_due(m);
	} while (!t->think && m->now < c->deadline && m->now < m->end);
	sched_release(&m->s, c, m->now, m->now);
	if (t->think)
		t->wake = m->now + t->think;
	else
		sched_ask(&m->s, c, m->now);
}

static void sim_run(struct sim *m, uint64_t ns)
{
	for (m->end = m->now + ns; m->now < m->end;)
		sim_turn(m);
}

/* Largest distance from the asked share over all tenants, in percentage points. */
static double worst_points(const struct sim *m)
{
	double shares = 0, charged = 0, worst = 0;

	for (unsigned i = 0; i < m->n; i++) {
		shares += m->tenant[i].t.share;
		charged += m->tenant[i].t.charged;
	}
	for (unsigned i = 0; i < m->n; i++) {
		double off = 100 * fabs(m->tenant[i].t.charged / charged - m->tenant[i].t.share / shares);

		worst = off > worst ? off : worst;
	}
	return worst;
}

/* Breaks: the product's first promise. The same judgement must reject an equal split. */
static void shares_4_2_1(void **state)
{
	struct sim *m = sim_new(3, (uint32_t[]){200, 100, 50}, 2 * MS);

	(void)state;
	sim_run(m, 20000 * MS);
	assert_true(worst_points(m) < 0.5);
	for (unsigned i = 0; i < 3; i++)
		m->tenant[i].t.charged = 1000;
	assert_true(worst_points(m) > 2);
	free(m);
}

/* Breaks: fairness when kernels of different tenants differ 30-fold in length. */
static void shares_hold_for_unequal_kernels(void **state)
{
	struct sim *m = sim_new(2, (uint32_t[]){50, 50}, 2 * MS);

	(void)state;
	m->tenant[0].kernel_min = m->tenant[0].kernel_max = 9 * MS;
	m->tenant[1].kernel_min = m->tenant[1].kernel_max = 3 * MS / 10;
	sim_run(m, 20000 * MS);
	assert_true(worst_points(m) < 0.5);
	free(m);
}

/* Property: over random populations and weights, while the smallest share gets >= 100 quanta. */
static void shares_hold_for_random_mixes(void **state)
{
	(void)state;
	srand(7);
	for (int round = 0; round < 30; round++) {
		unsigned n = 2 + rand() % 63;
		uint32_t share[64], sum = 0, least = UINT32_MAX;
		struct sim *m;

		for (unsigned i = 0; i < n; i++) {
			share[i] = (1 + rand() % 100) * (1u << rand() % 3);
			sum += share[i];
			least = share[i] < least ? share[i] : least;
		}
		m = sim_new(n, share, 2 * MS);
		sim_run(m, 2 * MS * 100 * sum / least);
		assert_true(worst_points(m) < 1.0);
		for (unsigned i = 0; i < n; i++) { /* and relative to what each asked */
			double got = (double)m->tenant[i].t.charged / m->now * sum / share[i];

			assert_true(fabs(got - 1) < 0.05);
		}
		free(m);
	}
}

/* Breaks: a tenant that was idle comes back with a claim on the past and starves the others. */
static void idling_earns_no_credit(void **state)
{
	struct sim *m = sim_new(2, (uint32_t[]){50, 50}, 2 * MS);
	uint64_t before;

	(void)state;
	sched_client_remove(&m->s, &m->tenant[1].c, 0);
	sim_run(m, 10000 * MS);
	assert_true(sched_ask(&m->s, &m->tenant[1].c, m->now));
	before = m->tenant[1].t.charged;
	sim_run(m, 400 * MS);
	assert_in_range(m->tenant[1].t.charged - before, 180 * MS, 220 * MS);
	free(m);
}

/* Breaks: being alone is punished later. */
static void being_alone_costs_nothing(void **state)
{
	struct sim *m = sim_new(2, (uint32_t[]){50, 50}, 2 * MS);
	uint64_t before;

	(void)state;
	sched_client_remove(&m->s, &m->tenant[1].c, 0);
	sim_run(m, 10000 * MS);
	sched_ask(&m->s, &m->tenant[1].c, m->now);
	before = m->tenant[0].t.charged;
	sim_run(m, 400 * MS);
	assert_in_range(m->tenant[0].t.charged - before, 180 * MS, 220 * MS);
	free(m);
}

/* Breaks: work conservation. What a pausing tenant leaves goes to the others. */
static void the_device_does_not_idle(void **state)
{
	struct sim *m = sim_new(3, (uint32_t[]){400, 50, 50}, 2 * MS);

	(void)state;
	m->tenant[0].think = 20 * MS;
	sim_run(m, 5000 * MS);
	assert_true(m->s.busy > m->now * 99 / 100);
	assert_true(m->tenant[1].t.charged > m->now * 45 / 100);
	free(m);
}

/* Breaks: one VM gains by opening many executors. */
static void more_clients_gain_nothing(void **state)
{
	struct sim *m = sim_new(2, (uint32_t[]){50, 50}, 2 * MS);
	struct sched_client extra[20];

	(void)state;
	for (int i = 0; i < 20; i++) {
		sched_client_init(&extra[i], &m->tenant[0].t);
		sched_ask(&m->s, &extra[i], 0);
	}
	sim_run(m, 4000 * MS);
	assert_true(worst_points(m) < 1.0);
	for (int i = 0; i < 20; i++)
		assert_true(extra[i].leases > 0);
	free(m);
}

/* Breaks: a kernel that does not end freezes everybody. */
static void an_overrun_admits_the_next_and_splits_the_charge(void **state)
{
	struct sim *m = sim_new(2, (uint32_t[]){50, 50}, 2 * MS);
	struct sched_client *a = sched_pick(&m->s, 0), *b;

	(void)state;
	assert_non_null(a);
	assert_int_equal(a->deadline, 2 * MS);
	assert_null(sched_pick(&m->s, 3 * MS));
	assert_int_equal(sched_next(&m->s), 4 * MS);
	b = sched_pick(&m->s, 4 * MS);
	assert_non_null(b);
	assert_ptr_not_equal(a, b);
	sched_release(&m->s, b, 6 * MS, 6 * MS);
	assert_int_equal(b->charged, MS);
	assert_int_equal(a->charged, 5 * MS);
	free(m);
}

/* Breaks: the device idles while the next one wakes up; or two are let in for one that ends; or its word counts for its
 * next lease too. */
static void who_is_ending_lets_the_next_in(void **state)
{
	struct sim *m = sim_new(3, (uint32_t[]){50, 50, 50}, 2 * MS);
	struct sched_client *a = sched_pick(&m->s, 0), *b, *c;

	(void)state;
	assert_false(sched_renew(&m->s, a, 2 * MS));
	assert_null(sched_pick(&m->s, 2 * MS));
	sched_ending(a);
	b = sched_pick(&m->s, 2 * MS);
	assert_non_null(b);
	assert_ptr_not_equal(a, b);
	assert_null(sched_pick(&m->s, 2 * MS));
	sched_release(&m->s, a, 3 * MS, 3 * MS);
	assert_int_equal(a->charged, 5 * MS / 2);
	assert_int_equal(b->charged, MS / 2);
	sched_ask(&m->s, a, 3 * MS);
	assert_null(sched_pick(&m->s, 3 * MS));
	sched_release(&m->s, b, 4 * MS, 4 * MS);
	c = sched_pick(&m->s, 4 * MS);
	sched_release(&m->s, c, 6 * MS, 6 * MS);
	assert_ptr_equal(sched_pick(&m->s, 6 * MS), a);
	sched_ask(&m->s, b, 6 * MS);
	assert_null(sched_pick(&m->s, 6 * MS));
	sched_ending(c); /* holds nothing: not said */
	assert_false(c->ending);
	free(m);
}

/* Breaks: an uncontended holder is bothered, or a contended one never told. */
static void deadlines_appear_with_the_first_waiter(void **state)
{
	struct sched_slot heap[2];
	struct sched_tenant t[2];
	struct sched_client c[2];
	struct sched s;

	(void)state;
	sched_init(&s, 2 * MS, heap, 2);
	for (int i = 0; i < 2; i++) {
		sched_tenant_init(&t[i], 50, NULL);
		sched_client_init(&c[i], &t[i]);
	}
	sched_ask(&s, &c[0], 0);
	assert_ptr_equal(sched_pick(&s, 0), &c[0]);
	assert_int_equal(c[0].deadline, SCHED_NEVER);
	assert_int_equal(sched_next(&s), SCHED_NEVER);
	sched_ask(&s, &c[1], 50 * MS);
	assert_int_equal(c[0].deadline, 50 * MS);
	sched_release(&s, &c[0], 51 * MS, 51 * MS);
	assert_int_equal(c[0].charged, 51 * MS);
	assert_ptr_equal(sched_pick(&s, 51 * MS), &c[1]);
	sched_release(&s, &c[1], 60 * MS, 70 * MS); /* found idle since 60 ms, before c[0] is asked for */
	assert_int_equal(c[1].charged, 9 * MS);
	sched_ask(&s, &c[0], 70 * MS);
	assert_ptr_equal(sched_pick(&s, 70 * MS), &c[0]);
}

/* Breaks: a quantum of a second that is made 2 ms goes on for its second. */
static void a_changed_quantum_counts_at_once(void **state)
{
	struct sim *m = sim_new(2, (uint32_t[]){50, 50}, 1000 * MS);
	struct sched_client *a = sched_pick(&m->s, 0);

	(void)state;
	assert_int_equal(a->deadline, 1000 * MS);
	sched_set_quantum(&m->s, 2 * MS, m->now);
	assert_int_equal(a->deadline, 2 * MS);
	sched_set_quantum(&m->s, 1000 * MS, m->now);
	assert_int_equal(a->deadline, 2 * MS); /* it ends early once */
	assert_false(sched_renew(&m->s, a, 10 * MS));
	free(m);
}

/* Breaks: a dead executor keeps its place, or the lease. */
static void removal_frees_place_and_lease(void **state)
{
	struct sim *m = sim_new(3, (uint32_t[]){50, 50, 50}, 2 * MS);
	struct sched_client *a = sched_pick(&m->s, 0);

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		if (&m->tenant[i].c != a)
			sched_client_remove(&m->s, &m->tenant[i].c, MS);
	assert_false(sched_contended(&m->s));
	sched_client_remove(&m->s, a, MS);
	assert_int_equal(m->s.holders, 0);
	assert_null(sched_pick(&m->s, 2 * MS));
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares_4_2_1),
		cmocka_unit_test(shares_hold_for_unequal_kernels),
		cmocka_unit_test(shares_hold_for_random_mixes),
		cmocka_unit_test(idling_earns_no_credit),
		cmocka_unit_test(being_alone_costs_nothing),
		cmocka_unit_test(the_device_does_not_idle),
		cmocka_unit_test(more_clients_gain_nothing),
		cmocka_unit_test(an_overrun_admits_the_next_and_splits_the_charge),
		cmocka_unit_test(who_is_ending_lets_the_next_in),
		cmocka_unit_test(deadlines_appear_with_the_first_waiter),
		cmocka_unit_test(a_changed_quantum_counts_at_once),
		cmocka_unit_test(removal_frees_place_and_lease),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
