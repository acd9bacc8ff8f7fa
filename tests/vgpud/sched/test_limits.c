/* SPDX-License-Identifier: Apache-2.0 */
/* Shares, caps, reservations, places and bounds of waiting over whole populations, in simulated time. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "sim.h"

#define QUANTUM (2 * MS)

static double part(const struct sim *m, const struct sim_vm *vm)
{
	return (double)vm->t.charged / (double)m->now;
}

static void add_vms(struct sim *m, struct sim_vm *vm, unsigned n, const uint32_t *share)
{
	for (unsigned i = 0; i < n; i++) {
		sim_vm_init(&vm[i], share[i]);
		sim_add(m, &vm[i]);
	}
}

/* Breaks: a reservation is a word. Fair shares would give the first 1/31, it has reserved 40 %; what is left is
 * divided as if it were not there. */
static void a_reservation_is_kept(void **state)
{
	struct sim *m = sim_new(QUANTUM, 1);
	struct sim_vm vm[3];

	add_vms(m, vm, 3, (uint32_t[]){10, 100, 200});
	sched_tenant_set_limits(&m->s, &vm[0].t, 0, 40, 0);
	sim_run(m, 20000 * MS);
	assert_in_range(1000 * part(m, &vm[0]), 395, 405);
	assert_in_range(1000 * part(m, &vm[1]), 195, 205);
	assert_in_range(1000 * part(m, &vm[2]), 395, 405);
	assert_int_equal(m->idle_wrongly, 0);
	free(m);
}

/* Breaks: a reservation below the fair share adds to it, or is a cap. */
static void a_small_reservation_changes_nothing(void **state)
{
	struct sim *m = sim_new(QUANTUM, 2);
	struct sim_vm vm[2];

	add_vms(m, vm, 2, (uint32_t[]){300, 100});
	sched_tenant_set_limits(&m->s, &vm[0].t, 0, 20, 0);
	sim_run(m, 20000 * MS);
	assert_in_range(1000 * part(m, &vm[0]), 745, 755);
	free(m);
}

/* Breaks: reservations that fill the device are not all kept; or who has none still gets something then. */
static void reservations_of_all(void **state)
{
	struct sim *m = sim_new(QUANTUM, 3);
	struct sim_vm vm[4];

	add_vms(m, vm, 4, (uint32_t[]){1, 400, 50, 400});
	for (unsigned i = 0; i < 3; i++)
		sched_tenant_set_limits(&m->s, &vm[i].t, 0, 20 + 10 * i, 0);
	sim_run(m, 30000 * MS);
	for (unsigned i = 0; i < 3; i++)
		assert_true(part(m, &vm[i]) > 0.01 * (20 + 10 * i) - 0.005);
	free(m);
}

/* Breaks: having been reserved for long is paid for afterwards. */
static void the_end_of_a_reservation_is_no_debt(void **state)
{
	struct sim *m = sim_new(QUANTUM, 4);
	struct sim_vm vm[2];
	uint64_t before;

	add_vms(m, vm, 2, (uint32_t[]){10, 90});
	sched_tenant_set_limits(&m->s, &vm[0].t, 0, 80, 0);
	sim_run(m, 20000 * MS);
	sched_tenant_set_limits(&m->s, &vm[0].t, 0, 0, m->now);
	sim_run(m, 1000 * MS);
	before = vm[0].t.charged;
	sim_run(m, 5000 * MS);
	assert_in_range(vm[0].t.charged - before, 475 * MS, 525 * MS);
	free(m);
}

/* Breaks: what is overrun in a reserved turn is forgiven, at once or by a pause, so that long kernels and a small
 * reservation take the device; or share and reservation add up. */
static void an_overrun_reservation_is_paid_back(void **state)
{
	for (unsigned pauses = 0; pauses < 2; pauses++) {
		struct sim *m = sim_new(QUANTUM, 12);
		struct sim_vm vm[2];

		add_vms(m, vm, 2, (uint32_t[]){10, 90});
		vm[0].kernel_min = vm[0].kernel_max = 200 * MS;
		vm[0].batch = pauses;
		vm[0].think = 40 * MS;
		sched_tenant_set_limits(&m->s, &vm[0].t, 0, 5, 0);
		sim_run(m, 60000 * MS);
		assert_in_range(1000 * part(m, &vm[0]), 95, 108);
		free(m);
	}
}

/* Property, over random shares, reservations and lengths of kernels up to a hundred quanta: the larger of share and
 * reservation, within half a point and, in an interval of 50,000 quanta, a tenth of one for each quantum of a kernel. */
static void the_larger_of_share_and_reservation(void **state)
{
	for (unsigned round = 0; round < 40; round++) {
		struct sim *m = sim_new(QUANTUM, 400 + round);
		uint32_t share = 5 + 5 * (uint32_t)sim_random(m, 18), reserved = 5 + (uint32_t)sim_random(m, 80);
		uint32_t most = share > reserved ? share : reserved;
		uint64_t length = QUANTUM / 10 << sim_random(m, 10);
		struct sim_vm vm[2];
		double got;

		add_vms(m, vm, 2, (uint32_t[]){share, 100 - share});
		vm[0].kernel_min = vm[0].kernel_max = length;
		sched_tenant_set_limits(&m->s, &vm[0].t, 0, reserved, 0);
		sim_run(m, 100000 * MS);
		got = 100 * part(m, &vm[0]);
		assert_true(fabs(got - most) < 0.5 + 0.1 * (double)length / QUANTUM);
		free(m);
	}
}

/* Breaks: once reserved far above its share, a tenant does not get its share when the others leave. */
static void a_reservation_leaves_no_debt_when_others_leave(void **state)
{
	struct sim *m = sim_new(QUANTUM, 13);
	struct sim_vm vm[3];
	uint64_t before;

	add_vms(m, vm, 3, (uint32_t[]){10, 10, 180});
	sched_tenant_set_limits(&m->s, &vm[0].t, 0, 40, 0);
	sim_run(m, 20000 * MS);
	sched_client_remove(&m->s, &m->client[2].c, m->now);
	before = vm[0].t.charged;
	sim_run(m, 1000 * MS);
	assert_in_range(vm[0].t.charged - before, 450 * MS, 550 * MS);
	free(m);
}

/* Breaks: one that is away for a moment, again and again, loses a whole quantum each time to one with a hundredth of
 * its share. What it leaves is 1 ms in 21. */
static void what_is_lent_is_given_back_at_once(void **state)
{
	struct sim *m = sim_new(QUANTUM, 14);
	struct sim_vm vm[2];

	add_vms(m, vm, 2, (uint32_t[]){1, 100});
	vm[0].kernel_min = vm[0].kernel_max = MS / 10;
	vm[1].kernel_min = vm[1].kernel_max = MS / 10;
	vm[1].batch = 200;
	vm[1].think = MS;
	sim_run(m, 20000 * MS);
	assert_in_range(1000 * part(m, &vm[0]), 47, 68);
	assert_int_equal(m->idle_wrongly, 0);
	free(m);
}

/* Breaks: a cap holds only under contention. Alone on the device, it idles the rest. */
static void a_cap_holds_alone(void **state)
{
	struct sim *m = sim_new(QUANTUM, 5);
	struct sim_vm vm[1];

	add_vms(m, vm, 1, (uint32_t[]){50});
	sched_tenant_set_limits(&m->s, &vm[0].t, 25, 0, 0);
	sim_run(m, 10000 * MS);
	assert_in_range(1000 * part(m, &vm[0]), 240, 250);
	free(m);
}

/* Breaks: kernels longer than what a cap allows at once slip through it, or what a cap leaves idles. */
static void a_cap_holds_for_long_kernels_and_leaves_the_rest(void **state)
{
	struct sim *m = sim_new(QUANTUM, 6);
	struct sim_vm vm[2];

	add_vms(m, vm, 2, (uint32_t[]){400, 50});
	vm[0].kernel_min = vm[0].kernel_max = 30 * MS;
	sched_tenant_set_limits(&m->s, &vm[0].t, 10, 0, 0);
	sim_run(m, 30000 * MS);
	assert_true(part(m, &vm[0]) < 0.102 && part(m, &vm[0]) > 0.09);
	assert_true(part(m, &vm[0]) + part(m, &vm[1]) > 0.999);
	free(m);
}

/* Breaks: several programs of a VM each have the cap for themselves; or a cap is not live. */
static void a_cap_is_the_vms_and_live(void **state)
{
	struct sim *m = sim_new(QUANTUM, 7);
	struct sim_vm vm[1];
	uint64_t before;

	add_vms(m, vm, 1, (uint32_t[]){50});
	for (int i = 0; i < 5; i++)
		sim_add(m, &vm[0]);
	sched_tenant_set_limits(&m->s, &vm[0].t, 30, 0, 0);
	sim_run(m, 5000 * MS);
	assert_in_range(1000 * part(m, &vm[0]), 290, 305);
	sched_tenant_set_limits(&m->s, &vm[0].t, 0, 0, m->now);
	before = vm[0].t.charged;
	sim_run(m, 100 * MS);
	assert_in_range(vm[0].t.charged - before, 99 * MS, 100 * MS);
	free(m);
}

/* Breaks: a changed weight takes effect late. Within 100 ms, at a quantum of 2 ms, the split is the new one. */
static void a_changed_weight_counts_within_100_ms(void **state)
{
	struct sim *m = sim_new(QUANTUM, 8);
	struct sim_vm vm[2];
	uint64_t before;

	add_vms(m, vm, 2, (uint32_t[]){50, 50});
	sim_run(m, 3000 * MS);
	sched_tenant_set_share(&vm[0].t, 200);
	before = vm[0].t.charged;
	sim_run(m, 100 * MS);
	assert_in_range(vm[0].t.charged - before, 74 * MS, 86 * MS);
	free(m);
}

/* Breaks: one VM's endless kernels fill all places, and everybody waits for the job timeout. */
static void endless_kernels_take_one_place(void **state)
{
	struct sim *m = sim_new(QUANTUM, 9);
	struct sim_vm vm[3];

	add_vms(m, vm, 3, (uint32_t[]){50, 50, 50});
	for (int i = 0; i < 20; i++)
		sim_add(m, &vm[0]);
	vm[0].kernel_max = SIM_ENDLESS;
	sim_run(m, 30000 * MS);
	assert_int_equal(vm[0].t.holding, 1);
	/* Beside an endless kernel half of the time is theirs, two thirds while one of them ends, and it is no more than
	 * their due. */
	assert_in_range(1000 * part(m, &vm[1]), 200, 275);
	assert_in_range(1000 * part(m, &vm[2]), 200, 275);
	assert_true(vm[1].longest_wait < 40 * MS);
	free(m);
}

/* Breaks: a flooder gains by its depth. One VM with 200 programs against seven with one. */
static void a_flooder_gains_nothing(void **state)
{
	struct sim *m = sim_new(QUANTUM, 10);
	struct sim_vm vm[8];

	add_vms(m, vm, 8, (uint32_t[]){50, 50, 50, 50, 50, 50, 50, 50});
	for (int i = 0; i < 200; i++)
		sim_add(m, &vm[0]);
	sim_run(m, 10000 * MS);
	for (unsigned i = 0; i < 8; i++)
		assert_in_range(1000 * part(m, &vm[i]), 123, 127);
	free(m);
}

/* Breaks: who says at once that it is ending, and goes on for 8 ms each time, gains by it: the time beside the next is
 * split, and counts. */
static void a_liar_gains_nothing(void **state)
{
	struct sim *m = sim_new(QUANTUM, 16);
	struct sim_vm vm[4];

	add_vms(m, vm, 4, (uint32_t[]){50, 50, 50, 50});
	vm[0].lies = true;
	vm[0].kernel_min = vm[0].kernel_max = 8 * MS;
	sim_run(m, 20000 * MS);
	for (unsigned i = 0; i < 4; i++)
		assert_in_range(1000 * part(m, &vm[i]), 247, 253);
	assert_int_equal(m->idle_wrongly, 0);
	free(m);
}

/* `concurrent`: nobody waits, caps hold, the device is as busy as it can be. */
static void concurrent_admits_all_and_keeps_caps(void **state)
{
	struct sim *m = sim_new(QUANTUM, 11);
	struct sim_vm vm[40];
	uint32_t share[40];

	for (unsigned i = 0; i < 40; i++)
		share[i] = 50;
	sched_set_concurrent(&m->s, true);
	add_vms(m, vm, 40, share);
	sched_tenant_set_limits(&m->s, &vm[0].t, 1, 0, 0);
	sim_run(m, 20000 * MS);
	assert_true(part(m, &vm[0]) < 0.0105);
	for (unsigned i = 1; i < 40; i++)
		assert_int_equal(vm[i].longest_wait, 0);
	assert_true(m->s.busy == m->now);
	free(m);
}

/* Breaks: the policy is not live. Back to exclusive, one computes at a time and the shares count, also if nobody asks
 * meanwhile. */
static void the_policy_is_live(void **state)
{
	struct sim *m = sim_new(QUANTUM, 15);
	struct sim_vm vm[2];
	uint64_t before;

	sched_set_concurrent(&m->s, true);
	add_vms(m, vm, 2, (uint32_t[]){30, 10});
	sim_run(m, 1000 * MS);
	assert_int_equal(m->s.holders, 2);
	assert_in_range(1000 * part(m, &vm[0]), 499, 501);
	sched_set_concurrent(&m->s, false);
	sim_run(m, 100 * MS);
	assert_int_equal(m->s.holders, 1);
	before = vm[0].t.charged;
	sim_run(m, 1000 * MS);
	assert_in_range(vm[0].t.charged - before, 735 * MS, 765 * MS);
	sched_set_concurrent(&m->s, true);
	sim_run(m, 10 * MS);
	assert_int_equal(m->s.holders, 2);
	free(m);
}

struct mix {
	unsigned n;
	uint32_t sum, least;
	uint64_t longest_kernel;
};

/* Weights 1..100, three priorities, kernels from 20 us to 6 ms. busy: without pauses. */
static void random_mix(struct sim *m, struct sim_vm *vm, unsigned n, uint32_t weight_min, bool busy, struct mix *x)
{
	*x = (struct mix){.n = n, .least = UINT32_MAX};
	for (unsigned i = 0; i < n; i++) {
		uint32_t share = (weight_min + (uint32_t)sim_random(m, 101 - weight_min)) * (1u << sim_random(m, 3));

		sim_vm_init(&vm[i], share);
		vm[i].kernel_min = 20000;
		vm[i].kernel_max = 20001 + sim_random(m, 6 * MS);
		if (!busy && sim_random(m, 2)) {
			vm[i].batch = 1 + (unsigned)sim_random(m, 20);
			vm[i].think = sim_random(m, 20 * MS);
		}
		for (unsigned c = 1 + (unsigned)sim_random(m, 3); c--;)
			sim_add(m, &vm[i]);
		x->sum += share;
		x->least = share < x->least ? share : x->least;
		if (vm[i].kernel_max > x->longest_kernel)
			x->longest_kernel = vm[i].kernel_max;
	}
}

/* The judgement bench/shares makes of real executors: within 1 point and 5 % of what each asked. */
static bool as_asked(const struct sim *m, const struct sim_vm *vm, const struct mix *x, bool equal)
{
	for (unsigned i = 0; i < x->n; i++) {
		double asked = (double)vm[i].t.share / x->sum, got = equal ? 1.0 / x->n : part(m, &vm[i]);

		if (fabs(got - asked) > 0.01 || fabs(got / asked - 1) > 0.05)
			return false;
	}
	return true;
}

/* Property, over random mixes: shares as asked while the smallest gets 100 quanta; an equal split is rejected. */
static void mixes_get_their_shares(void **state)
{
	static const unsigned sizes[] = {2, 2, 3, 8, 8, 16, 32, 64};
	static struct sim_vm vm[64];

	for (unsigned round = 0; round < 24; round++) {
		struct sim *m = sim_new(QUANTUM, 100 + round);
		struct mix x;

		random_mix(m, vm, sizes[round % 8], round % 8 == 7 ? 20 : 1, true, &x);
		sim_run(m, QUANTUM * 100 * x.sum / x.least);
		assert_true(as_asked(m, vm, &x, false));
		assert_false(as_asked(m, vm, &x, true));
		assert_int_equal(m->idle_wrongly, 0);
		free(m);
	}
}

/* Property: nobody starves and the device never idles while somebody may compute, with pauses and several
 * programs per VM. The bound is sched.h's, with the credit of everybody that pauses. */
static void mixes_wait_no_longer_than_the_bound(void **state)
{
	static struct sim_vm vm[64];

	for (unsigned round = 0; round < 24; round++) {
		struct sim *m = sim_new(QUANTUM, 200 + round);
		uint64_t turn;
		struct mix x;

		random_mix(m, vm, 2 + (unsigned)sim_random(m, 40), 1, false, &x);
		sim_run(m, 20000 * MS);
		turn = QUANTUM + x.longest_kernel;
		for (unsigned i = 0; i < x.n; i++) {
			double bound = (double)x.sum / vm[i].t.share * (double)turn +
				       x.n * (double)(SCHED_CREDIT_QUANTA * QUANTUM + turn);

			/* several programs of a VM take turns */
			assert_true((double)vm[i].longest_wait < 3 * bound);
			assert_true(vm[i].t.leases > 0);
		}
		assert_int_equal(m->idle_wrongly, 0);
		free(m);
	}
}

/* 1,000 VMs on 64 devices, as they would be placed: round by the least loaded. Every device keeps every promise. */
static void a_thousand_vms_on_64_devices(void **state)
{
	static struct sim_vm vm[64][16];
	double worst = 0;

	for (unsigned d = 0; d < 64; d++) {
		struct sim *m = sim_new(QUANTUM, 300 + d);
		struct mix x;

		random_mix(m, vm[d], d < 40 ? 16 : 15, 10, true, &x);
		sim_run(m, QUANTUM * 100 * x.sum / x.least);
		assert_true(as_asked(m, vm[d], &x, false));
		for (unsigned i = 0; i < x.n; i++)
			worst = fmax(worst, fabs(part(m, &vm[d][i]) - (double)vm[d][i].t.share / x.sum));
		free(m);
	}
	print_message("worst of 1,000 VMs: %.3f points\n", 100 * worst);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reservation_is_kept),
		cmocka_unit_test(a_small_reservation_changes_nothing),
		cmocka_unit_test(reservations_of_all),
		cmocka_unit_test(the_end_of_a_reservation_is_no_debt),
		cmocka_unit_test(an_overrun_reservation_is_paid_back),
		cmocka_unit_test(the_larger_of_share_and_reservation),
		cmocka_unit_test(a_reservation_leaves_no_debt_when_others_leave),
		cmocka_unit_test(what_is_lent_is_given_back_at_once),
		cmocka_unit_test(a_cap_holds_alone),
		cmocka_unit_test(a_cap_holds_for_long_kernels_and_leaves_the_rest),
		cmocka_unit_test(a_cap_is_the_vms_and_live),
		cmocka_unit_test(a_changed_weight_counts_within_100_ms),
		cmocka_unit_test(endless_kernels_take_one_place),
		cmocka_unit_test(a_flooder_gains_nothing),
		cmocka_unit_test(a_liar_gains_nothing),
		cmocka_unit_test(concurrent_admits_all_and_keeps_caps),
		cmocka_unit_test(the_policy_is_live),
		cmocka_unit_test(mixes_get_their_shares),
		cmocka_unit_test(mixes_wait_no_longer_than_the_bound),
		cmocka_unit_test(a_thousand_vms_on_64_devices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
