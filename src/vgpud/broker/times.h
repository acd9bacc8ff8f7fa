/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a VM's work waited, ran, and took from end to end.
 *
 *   queue wait   from asking for the device to getting it; by our clock
 *   execution    a unit of work on the device          \ as its executors claim: an executor runs what a guest
 *   latency      from submission to completion         / made, so the figures are bounded, and good for looking at
 *
 * A claim never goes back, no bucket exceeds HIST_COUNT_MAX, and the sum is one that the buckets allow.
 */
#ifndef VGPUD_TIMES_H
#define VGPUD_TIMES_H
#include <jansson.h>
#include "base/histogram.h"
#include "executor/lease_page.h"

struct broker;
struct bexec;
struct vm;

enum vm_time { TIME_QUEUE_WAIT, TIME_EXECUTION, TIME_LATENCY, VM_TIMES };

/* seen: what was believed of this executor so far. */
void times_claim(struct histogram *seen, const struct lease_times *claim);
/* The executor ends: what it claimed is the VM's. */
void times_end(struct bexec *x);
/* Quantiles, "queue_wait_p50_seconds" and so on; null: nothing was counted. */
void times_add_quantiles(json_t *o, const struct vm *vm);
/* The same of the waits of all VMs. */
void times_add_waits(json_t *o, const struct broker *b);
/* Every VM's buckets, cumulated up to the same edges: for Prometheus. */
json_t *times_view(const struct broker *b);
#endif
