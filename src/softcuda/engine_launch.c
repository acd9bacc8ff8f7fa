/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running a grid: checks, workers, blocks.
 *
 * The caller begins alone. Only when the grid has kept it busy for a while are the helpers woken,
 * so that a small grid costs no thread switch.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <xmmintrin.h>
#include "softcuda/device.h"
#include "softcuda/engine_module.h"
#include "softcuda/engine_pool.h"

enum {
	ALONE_NS = 20000,      /* a thread's wake-up costs about as much */
	MAX_RESIDENT = 65536,  /* threads of a cooperative grid: what a device this size would hold */
	MXCSR_DEFAULT = 0x1f80 /* all masked, nearest, denormals kept */
};

struct sc_workers { /* one set per device */
	pthread_mutex_t lock;
	struct worker *worker;
	unsigned n;
	uint64_t grids;
};

unsigned sc_device_threads(const struct sc_device *d)
{
	return d->threads;
}

struct sc_workers *sc_workers_new(unsigned n)
{
	struct sc_workers *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->worker = aligned_alloc(64, ((sizeof(struct worker) + 63) & ~(size_t)63) * n);
	if (!s->worker) {
		free(s);
		return NULL;
	}
	memset(s->worker, 0, sizeof(struct worker) * n);
	s->n = n;
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

static void free_arrays(struct worker *k)
{
	if (k->regs)
		munmap(k->regs, k->regs_bytes);
	if (k->local)
		munmap(k->local, k->local_bytes);
	if (k->shared)
		munmap(k->shared, k->shared_bytes);
	free(k->blocks);
	free(k->warps);
}

void sc_workers_free(struct sc_workers *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->n; i++)
		free_arrays(&s->worker[i]);
	pthread_mutex_destroy(&s->lock);
	free(s->worker);
	free(s);
}

/* Grows *p to at least want bytes, zeroed; what it held is lost. */
static bool reserve(uint8_t **p, size_t *have, size_t want)
{
	if (want <= *have)
		return true;
	if (*p)
		munmap(*p, *have);
	*have = 0;
	size_t size = (want + 65535) & ~(size_t)65535;
	*p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (*p == MAP_FAILED) {
		*p = NULL;
		return false;
	}
	*have = size;
	return true;
}

static void set_tids(struct warp *w, const uint32_t block[3])
{
	for (uint32_t i = 0; i < SC_LANES; i++) {
		uint32_t t = w->index * SC_LANES + i;
		w->tid[0][i] = t % block[0];
		w->tid[1][i] = t / block[0] % block[1];
		w->tid[2][i] = t / block[0] / block[1];
	}
}

static uint32_t first_mask(const struct run *run, uint32_t warp)
{
	uint64_t left = run->threads_per_block - (uint64_t)warp * SC_LANES;
	return left >= SC_LANES ? UINT32_MAX : (1u << left) - 1;
}

/* Values that no block changes. */
static void run_prologue(struct warp *w)
{
	const struct insn *in = w->k->run->f->pre;
	w->mask = UINT32_MAX;
	w->partial = 0;
	w->frame = &w->entry;
	w->r = w->entry.regs;
	while (in)
		in = in->fn[0](w, in);
}

static bool make_arrays(struct worker *k, uint32_t blocks, uint32_t warps)
{
	if (k->nblocks < blocks) {
		free(k->blocks);
		k->blocks = calloc(blocks, sizeof(*k->blocks));
		k->nblocks = k->blocks ? blocks : 0;
	}
	if (k->nwarps < warps) {
		free(k->warps);
		size_t size = ((sizeof(struct warp) + 63) & ~(size_t)63) * warps;
		k->warps = aligned_alloc(64, size);
		if (k->warps)
			memset(k->warps, 0, size);
		k->nwarps = k->warps ? warps : 0;
		k->shaped_warps = 0;
	}
	return k->blocks && k->warps;
}

/* Makes the worker's memory fit the launch: resident blocks, each with its warps. */
static bool prepare(struct worker *k, struct run *run, unsigned index, uint32_t resident)
{
	uint32_t warps = resident * run->warps_per_block;
	size_t frame = (run->f->frame_bytes + 63) & ~63u, shared = (run->shared_bytes + 255) & ~255u;
	size_t local = (size_t)run->local_stride * SC_LANES;
	k->run = run;
	k->index = index;
	memset(k->range, 0, sizeof(k->range[0]) * run->f->nranges);
	uint8_t *old = k->regs;
	if (!make_arrays(k, resident, warps) || !reserve(&k->regs, &k->regs_bytes, frame * warps + 64) ||
	    !reserve(&k->shared, &k->shared_bytes, shared * resident + 64) ||
	    !reserve(&k->local, &k->local_bytes, local * warps + 64))
		return false;
	if (k->regs != old || k->prepared != run->f->id)
		k->prepared_warps = 0;
	k->prepared = run->f->id;
	if (memcmp(k->shape, run->launch->block, sizeof(k->shape)) != 0)
		k->shaped_warps = 0;
	memcpy(k->shape, run->launch->block, sizeof(k->shape));
	for (uint32_t i = 0; i < warps; i++) {
		struct warp *w = &k->warps[i];
		w->k = k;
		w->index = i % run->warps_per_block;
		w->b = &k->blocks[i / run->warps_per_block];
		w->local_base = (uint64_t)(uintptr_t)k->local + local * i;
		w->entry = (struct frame){ .f = run->f, .regs = k->regs + frame * i };
		if (i >= k->shaped_warps)
			set_tids(w, run->launch->block);
		if (i >= k->prepared_warps)
			sc_frame_init(run->f, w->entry.regs);
	}
	if (warps > k->prepared_warps)
		k->prepared_warps = warps;
	if (warps > k->shaped_warps)
		k->shaped_warps = warps;
	for (uint32_t i = 0; i < resident; i++) {
		k->blocks[i].warp = &k->warps[i * run->warps_per_block];
		k->blocks[i].shared = k->shared + shared * i;
	}
	for (uint32_t i = 0; i < warps; i++) {
		if (run->f->head.nvalues)
			sc_head_launch(&k->warps[i]);
		if (run->f->pre)
			run_prologue(&k->warps[i]);
	}
	return true;
}

static void start_block(struct worker *k, struct block *b, uint64_t linear)
{
	struct run *run = k->run;
	const uint32_t *grid = run->launch->grid;
	b->linear = linear;
	b->id[0] = (uint32_t)(linear % grid[0]);
	b->id[1] = (uint32_t)(linear / grid[0] % grid[1]);
	b->id[2] = (uint32_t)(linear / grid[0] / grid[1]);
	b->threads = b->alive = (uint32_t)run->threads_per_block;
	b->warps = run->warps_per_block;
	memset(b->bar, 0, sizeof(b->bar));
	b->waiting = 0;
	for (uint32_t i = 0; i < b->warps; i++) {
		struct warp *w = &b->warp[i];
		uint32_t mask = first_mask(run, i);
		w->live = mask;
		w->entry.live = mask;
		w->entry.cc = 0;
		w->mask = 0;
		w->frame = NULL;
		w->budget = SC_BUDGET;
		w->turn = w->rotating = false;
		w->clock = 0;
		w->status = WARP_RUN;
		w->nwait = 1;
		w->clear = NULL;
		if (run->f->head.nroots + run->f->head.n[HEAD_BLOCK])
			sc_head_block(w);
		w->wait[0] = (struct group){ .pc = run->f->code, .frame = &w->entry, .mask = mask };
	}
}

static void abandon(struct block *b)
{
	for (uint32_t i = 0; i < b->warps; i++)
		if (b->warp[i].status != WARP_DONE)
			sc_abandon_warp(&b->warp[i]);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool stopped(struct run *run)
{
	const atomic_int *cancel = run->launch->cancel;
	if (cancel && atomic_load_explicit(cancel, memory_order_relaxed)) {
		int none = 0;
		if (atomic_compare_exchange_strong(&run->result, &none, SC_LAUNCH_TIMEOUT))
			snprintf(run->fault->what, sizeof(run->fault->what), "cancelled");
	}
	return atomic_load_explicit(&run->result, memory_order_relaxed) != 0;
}

static void out_of_memory(struct run *run)
{
	int none = 0;
	if (atomic_compare_exchange_strong(&run->result, &none, SC_OUT_OF_MEMORY))
		snprintf(run->fault->what, sizeof(run->fault->what), "no memory for a worker's registers");
}

static void run_blocks(struct worker *k, uint64_t (*more)(struct worker *k, void *arg), void *arg)
{
	struct run *run = k->run;
	uint64_t i;
	while (!stopped(run) && (i = more(k, arg)) < run->blocks) {
		start_block(k, &k->blocks[0], i);
		if (sc_run_block(k, &k->blocks[0], false) == BLOCK_FAULT)
			abandon(&k->blocks[0]);
	}
}

static uint64_t take_block(struct worker *k, void *arg)
{
	return atomic_fetch_add_explicit(&k->run->next, 1, memory_order_relaxed);
}

struct team {
	struct sc_workers *set;
	struct run *run;
	uint64_t since;
	bool called;
};

static void helper(void *arg, unsigned index)
{
	struct team *t = arg;
	struct worker *k = &t->set->worker[index];
	_mm_setcsr(MXCSR_DEFAULT);
	if (index >= t->set->n || atomic_load(&t->run->next) >= t->run->blocks)
		return;
	if (!prepare(k, t->run, index, 1))
		out_of_memory(t->run);
	else
		run_blocks(k, take_block, NULL);
	sc_free_frames(k);
}

/* Worker 0: calls the helpers once the grid has proved to be work. */
static uint64_t take_or_call(struct worker *k, void *arg)
{
	struct team *t = arg;
	struct run *run = k->run;
	uint64_t next = atomic_load_explicit(&run->next, memory_order_relaxed);
	if (!t->called && t->set->n > 1 && next > 0 && next + 1 < run->blocks && (next & 3) == 1 &&
	    now_ns() - t->since > ALONE_NS) {
		t->called = true;
		sc_pool_start(run->device->pool, helper, t);
	}
	return take_block(k, NULL);
}

/* All blocks resident on this thread, a turn each: a block that waits for another gets it. */
static void run_cooperative(struct worker *k)
{
	struct run *run = k->run;
	uint64_t left = run->blocks;
	for (uint64_t i = 0; i < run->blocks; i++)
		start_block(k, &k->blocks[i], i);
	while (left && !stopped(run)) {
		for (uint64_t i = 0; i < run->blocks && !atomic_load(&run->result); i++) {
			struct block *b = &k->blocks[i];
			if (b->linear == UINT64_MAX)
				continue;
			if (sc_run_block(k, b, true) == BLOCK_DONE) {
				b->linear = UINT64_MAX;
				left--;
			}
		}
	}
	for (uint64_t i = 0; i < run->blocks && left; i++)
		abandon(&k->blocks[i]);
}

static int refuse(struct sc_fault *f, int result, const char *what)
{
	snprintf(f->what, sizeof(f->what), "%.*s", (int)sizeof(f->what) - 1, what);
	return result;
}

static int check_shape(const struct sc_launch *l, struct sc_fault *f)
{
	const struct sc_kernel_info *info = &l->kernel->info;
	uint64_t threads = (uint64_t)l->block[0] * l->block[1];
	for (int i = 0; i < 3; i++)
		if (!l->grid[i] || !l->block[i] || l->grid[i] > (i ? 65535u : INT32_MAX) || l->block[i] > (i == 2 ? 64u : 1024u))
			return refuse(f, SC_INVALID_VALUE, "grid or block dimension out of range");
	threads *= l->block[2];
	if (threads > SC_MAX_THREADS)
		return refuse(f, SC_INVALID_VALUE, "more than 1024 threads in a block");
	if (threads > info->max_threads)
		return refuse(f, SC_OUT_OF_RESOURCES, "more threads in a block than the kernel's .maxntid");
	for (int i = 0; i < 3; i++)
		if (info->reqntid[0] && l->block[i] != (info->reqntid[i] ? info->reqntid[i] : 1))
			return refuse(f, SC_INVALID_VALUE, "block is not what the kernel's .reqntid says");
	return SC_OK;
}

static int check_resources(const struct sc_launch *l, struct run *run, struct sc_fault *f)
{
	uint64_t shared = (uint64_t)l->kernel->tree.shared_bytes + l->dynamic_shared;
	if (shared > SC_MAX_SHARED)
		return refuse(f, SC_OUT_OF_RESOURCES, "more than 64 KiB of shared memory in a block");
	if (l->cooperative && run->blocks * run->threads_per_block > MAX_RESIDENT)
		return refuse(f, SC_OUT_OF_RESOURCES, "cooperative grid too large to be resident");
	run->shared_bytes = (uint32_t)shared;
	/* odd multiple of a cache line: lanes' stacks fall into different sets */
	run->local_stride = ((l->kernel->entry->stack_bytes + 63) & ~63u) | 64;
	return SC_OK;
}

/* Whether lanes are consecutive threads and the grid's indices stay in bounds: see engine_head.h. */
static bool by_warp(const struct run *run)
{
	const struct cfunc *f = run->launch->kernel->by_warp;
	const uint32_t *block = run->launch->block;
	return f && (block[0] % SC_LANES == 0 || (block[1] == 1 && block[2] == 1)) && sc_head_fits(&f->head, run);
}

static void execute(struct sc_workers *set, struct run *run)
{
	struct worker *k = &set->worker[0];
	struct team t = { .set = set, .run = run, .since = run->blocks > 1 ? now_ns() : 0 };
	bool all = run->launch->cooperative && run->blocks > 1;
	uint32_t mxcsr = _mm_getcsr();
	_mm_setcsr(MXCSR_DEFAULT);
	if (!prepare(k, run, 0, all ? (uint32_t)run->blocks : 1))
		out_of_memory(run);
	else if (all)
		run_cooperative(k);
	else
		run_blocks(k, take_or_call, &t);
	if (t.called)
		sc_pool_wait(run->device->pool);
	sc_free_frames(k);
	_mm_setcsr(mxcsr);
}

int sc_launch(struct sc_device *d, const struct sc_launch *l, struct sc_fault *fault)
{
	struct sc_fault unwanted, *f = fault ? fault : &unwanted;
	memset(f, 0, sizeof(*f));
	f->kernel = l->kernel->info.name;
	int rc = check_shape(l, f);
	if (rc)
		return rc;
	rc = sc_kernel_ready(l->kernel);
	if (rc)
		return refuse(f, rc, l->kernel->why);
	struct run run = { .device = d, .launch = l, .f = l->kernel->entry, .module = l->kernel->module, .fault = f };
	run.threads_per_block = (uint64_t)l->block[0] * l->block[1] * l->block[2];
	run.warps_per_block = (uint32_t)((run.threads_per_block + SC_LANES - 1) / SC_LANES);
	run.blocks = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];
	rc = check_resources(l, &run, f);
	if (rc)
		return rc;
	uint64_t params[1024] __attribute__((aligned(64)));
	if (l->kernel->info.param_bytes > sizeof(params))
		return refuse(f, SC_INVALID_VALUE, "more than 8 KiB of parameters");
	if (l->kernel->info.param_bytes)
		memcpy(params, l->params, l->kernel->info.param_bytes);
	run.params = (uint8_t *)params;
	if (by_warp(&run))
		run.f = l->kernel->by_warp;
	if (l->if_free && pthread_mutex_trylock(&d->workers->lock))
		return SC_LAUNCH_BUSY;
	if (!l->if_free)
		pthread_mutex_lock(&d->workers->lock);
	run.grid_id = ++d->workers->grids;
	sc_mem_launch_begin();
	execute(d->workers, &run);
	sc_mem_launch_end();
	pthread_mutex_unlock(&d->workers->lock);
	return atomic_load(&run.result);
}

bool sc_kernel_brief(const struct sc_kernel *k, uint64_t blocks, uint32_t threads)
{
	if (!atomic_load_explicit(&k->compiled, memory_order_acquire) || k->result || blocks > SC_BRIEF)
		return false;
	uint64_t warps = blocks * ((threads + SC_LANES - 1) / SC_LANES);
	return k->entry->steps <= SC_BRIEF && warps * k->entry->steps <= SC_BRIEF;
}
