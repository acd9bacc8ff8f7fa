/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/broker/times.h"
#include "vgpud/broker/broker.h"
#include <stdio.h>

#define LONGEST_NS 1e15 /* what the last bucket, which has no edge, may stand for: 11 days */
/* log2 of the edges shown, ns: 66 us, 0.26 ms, ... 4.3 s. One more is 22 KiB of a page with 64 VMs of the longest
 * names, which may have 400; shorter than the first is no wait to anybody, longer than the last is an alert. */
#define SHOWN_FIRST 16u
#define SHOWN_LAST 32u
#define SHOWN_STEP 2u

static const char *const names[VM_TIMES] = {"queue_wait", "execution", "latency"};

void times_claim(struct histogram *seen, const struct lease_times *claim)
{
	double least = 0, most = 0, sum;

	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		uint64_t n = atomic_load_explicit(&claim->count[i], memory_order_relaxed);

		n = n < HIST_COUNT_MAX ? n : HIST_COUNT_MAX;
		if (n > seen->count[i])
			seen->count[i] = n;
		least += i ? (double)hist_edge(i - 1) * (double)seen->count[i] : 0;
		most += (i < HIST_BUCKETS - 1 ? (double)hist_edge(i) : LONGEST_NS) * (double)seen->count[i];
	}
	sum = (double)atomic_load_explicit(&claim->sum, memory_order_relaxed);
	sum = sum < least ? least : sum > most ? most : sum;
	if (sum > seen->sum)
		seen->sum = sum;
}

static void look(struct bexec *x)
{
	for (unsigned k = 0; k < LEASE_TIMES; k++)
		times_claim(&x->claimed[k], &x->page->times[k]);
}

void times_end(struct bexec *x)
{
	look(x);
	for (unsigned k = 0; k < LEASE_TIMES; k++)
		hist_merge(&x->vm->times[TIME_EXECUTION + k], &x->claimed[k]);
}

/* Of ended executors and live ones. */
static void collect(const struct vm *vm, struct histogram out[VM_TIMES])
{
	for (unsigned k = 0; k < VM_TIMES; k++)
		out[k] = vm->times[k];
	list_for_each(n, &vm->broker->execs) {
		struct bexec *x = list_entry(n, struct bexec, node);

		if (x->vm != vm || !x->page)
			continue;
		look(x);
		for (unsigned k = 0; k < LEASE_TIMES; k++)
			hist_merge(&out[TIME_EXECUTION + k], &x->claimed[k]);
	}
}

static void add_quantiles(json_t *o, const char *name, const struct histogram *h)
{
	static const unsigned percent[] = {50, 95, 99};

	for (unsigned i = 0; i < sizeof(percent) / sizeof(*percent); i++) {
		double ns = hist_quantile(h, percent[i] / 100.0);
		char key[48];

		snprintf(key, sizeof(key), "%s_p%u_seconds", name, percent[i]);
		json_object_set_new(o, key, ns < 0 ? json_null() : json_real(ns / 1e9));
	}
}

void times_add_quantiles(json_t *o, const struct vm *vm)
{
	struct histogram h[VM_TIMES];

	collect(vm, h);
	for (unsigned k = 0; k < VM_TIMES; k++)
		add_quantiles(o, names[k], &h[k]);
}

void times_add_waits(json_t *o, const struct broker *b)
{
	struct histogram sum = {0};

	list_for_each(n, &b->vms)
		hist_merge(&sum, &list_entry(n, struct vm, node)->times[TIME_QUEUE_WAIT]);
	add_quantiles(o, names[TIME_QUEUE_WAIT], &sum);
}

/* Without "buckets" when there is nothing in them: most of many VMs. */
static json_t *buckets(const struct histogram *h)
{
	uint64_t n = hist_count(h);
	json_t *o = json_pack("{s:I, s:f}", "count", (json_int_t)n, "sum_seconds", h->sum / 1e9), *a;

	if (!n)
		return o;
	a = json_array();
	for (unsigned e = SHOWN_FIRST; e <= SHOWN_LAST; e += SHOWN_STEP)
		json_array_append_new(a, json_integer((json_int_t)hist_until(h, e)));
	json_object_set_new(o, "buckets", a);
	return o;
}

json_t *times_view(const struct broker *b)
{
	json_t *vms = json_array(), *edges = json_array();

	for (unsigned e = SHOWN_FIRST; e <= SHOWN_LAST; e += SHOWN_STEP)
		json_array_append_new(edges, json_real((double)(1ull << e) / 1e9));
	list_for_each(n, &b->vms) {
		const struct vm *vm = list_entry(n, struct vm, node);
		struct histogram h[VM_TIMES];
		json_t *o = json_pack("{s:s, s:s}", "name", vm->set.name, "device", vm->device->name);

		collect(vm, h);
		for (unsigned k = 0; k < VM_TIMES; k++)
			json_object_set_new(o, names[k], buckets(&h[k]));
		json_array_append_new(vms, o);
	}
	return json_pack("{s:o, s:o}", "edges_seconds", edges, "vms", vms);
}
