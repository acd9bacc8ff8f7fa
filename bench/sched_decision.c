/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one decision of the scheduler costs with TENANTS runnable tenants: release and charge the
 * holder, queue it again, pick the next. Prints ns per decision, one line per repetition.
 *
 * usage: bench_sched_decision REPETITIONS
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "vgpud/broker/sched.h"

#define TENANTS 1000
#define DECISIONS 200000

static struct sched s;
static struct sched_tenant tenant[TENANTS];
static struct sched_slot heap[TENANTS];
static struct sched_client client[TENANTS];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double decide(uint64_t *clock, struct sched_client **holder)
{
	double t = now();

	for (int i = 0; i < DECISIONS; i++) {
		*clock += SCHED_QUANTUM_NS;
		sched_release(&s, *holder, *clock, *clock);
		sched_ask(&s, *holder, *clock);
		*holder = sched_pick(&s, *clock);
		if (!*holder) {
			fputs("bench_sched_decision: nobody picked\n", stderr);
			exit(1);
		}
	}
	return (now() - t) / DECISIONS;
}

int main(int argc, char **argv)
{
	int n = argc == 2 ? atoi(argv[1]) : 1;
	struct sched_client *holder;
	uint64_t clock = 1;

	sched_init(&s, SCHED_QUANTUM_NS, heap, TENANTS);
	for (int i = 0; i < TENANTS; i++) {
		sched_tenant_init(&tenant[i], 50 * (1u << (i % 3)) + (uint32_t)i % 7, NULL);
		sched_client_init(&client[i], &tenant[i]);
		sched_ask(&s, &client[i], clock);
	}
	holder = sched_pick(&s, clock);
	decide(&clock, &holder); /* warm */
	for (int i = 0; i < n; i++)
		printf("%.1f\n", decide(&clock, &holder));
	return 0;
}
