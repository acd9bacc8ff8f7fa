/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that writes nonsense, opcode by opcode, against exec_serve() in this process. A broken
 * protocol ends serving with VGPU_ERR_PROTOCOL; well-formed nonsense gets its CUresult; nothing
 * crashes, nothing outside is touched.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "cuda/fatbin.h"
#include "cuda/loader.h"
#include "harness.h"
#include "wire/geometry.h"
#include "wire/ops.h"
#include "wire/ring.h"

/* The pretended device keeps what a guest never destroyed until its process ends, as a GPU does. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:nulldriver.so";
}

static struct cuda_driver drv, plain; /* plain: as it was loaded */
static struct harness_counters counters;
static atomic_int stop, broken;
static struct exec_ops ops; /* the harness's, and one that says how serving ended */

static void note_broken(void *ctx, int error)
{
	broken = error;
}

struct run {
	struct exec_env env;
	pthread_t thread;
	int result;
	void *channel;
	uint64_t work, ctl, cpl;
};

static void *serve(void *arg)
{
	struct run *r = arg;

	exec_prepare(&r->env);
	r->result = exec_serve(&r->env);
	return NULL;
}

static void begin(struct run *r)
{
	int fd = memfd_create("bar", 0);

	memset(r, 0, sizeof(*r));
	r->env = (struct exec_env){ .driver = &drv, .memfd = fd, .bar_size = VGPU_BAR_MIN, .ops = &ops,
				    .ops_ctx = &counters, .stop = &stop, .bell_fd = eventfd(0, EFD_NONBLOCK),
				    .irq_fd = eventfd(0, EFD_NONBLOCK), .stop_fd = eventfd(0, EFD_NONBLOCK) };
	assert_int_equal(ftruncate(fd, (off_t)VGPU_BAR_MIN), 0);
	r->env.bar = mmap(NULL, VGPU_BAR_MIN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(r->env.bar != MAP_FAILED);
	r->channel = (char *)r->env.bar + VGPU_CHANNEL_OFF;
	r->result = -1;
	atomic_store(&stop, 0);
	atomic_store(&broken, 0);
	assert_int_equal(pthread_create(&r->thread, NULL, serve, r), 0);
}

static void bell(struct run *r, int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void put(struct run *r, const struct vgpu_entry *e, bool work)
{
	struct vgpu_ch_guest *g = vgpu_ch_guest(r->channel);

	if (work) {
		*vgpu_work_slot(r->channel, r->work) = *e;
		vgpu_store64(&g->work_head, ++r->work);
	} else {
		*vgpu_ctl_slot(r->channel, r->ctl) = *e;
		vgpu_store64(&g->ctl_head, ++r->ctl);
	}
	bell(r, r->env.bell_fd);
}

static int unmap(struct run *r)
{
	munmap(r->env.bar, VGPU_BAR_MIN);
	close(r->env.memfd);
	close(r->env.bell_fd);
	close(r->env.irq_fd);
	close(r->env.stop_fd);
	return r->result;
}

static int end(struct run *r, bool tell)
{
	if (tell) {
		atomic_store(&stop, 1);
		bell(r, r->env.stop_fd);
	}
	pthread_join(r->thread, NULL);
	return unmap(r);
}

/* Waits for the completion of a call that is not to break anything. */
static int completion(struct run *r, uint32_t tag)
{
	struct vgpu_ch_host *h = vgpu_ch_host(r->channel);
	uint64_t until = vgpu_now_ns() + 10000000000ull;

	while (vgpu_load64(&h->cpl_head) == r->cpl) {
		assert_true(vgpu_now_ns() < until);
		sched_yield();
	}
	assert_int_equal(vgpu_cpl_slot(r->channel, r->cpl)->tag, tag);
	vgpu_store64(&vgpu_ch_guest(r->channel)->cpl_tail, r->cpl + 1);
	return vgpu_cpl_slot(r->channel, r->cpl++)->result;
}

static int breaks(const struct vgpu_entry *e, bool work)
{
	struct run r;

	begin(&r);
	put(&r, e, work);
	return end(&r, false);
}

static struct vgpu_entry well_formed(unsigned op, bool *work)
{
	const struct vgpu_op_info *o = &vgpu_op_info[op];
	struct vgpu_entry e = { .opcode = (vg_u16)op, .flags = VGPU_E_REPLY, .tag = 5 };
	uint32_t spilled = o->in_size > VGPU_INLINE_IN ? o->in_size : 0;

	*work = o->flags & VGPU_OP_WORK;
	e.pay_len = spilled + o->payload_min;
	e.pay_off = VGPU_CH_PARAM_OFF;
	return e;
}

#define MARKS 64 /* EXEC_MARKS of executor/call.h */
#define EACH(op) for (unsigned op = 0; op < VGPU_OP_COUNT; op++) if (vgpu_op_info[op].name)

static void unknown_opcodes(void **state)
{
	struct vgpu_entry e = { .opcode = VGPU_OP_COUNT, .flags = VGPU_E_REPLY };

	assert_int_equal(breaks(&e, true), VGPU_ERR_PROTOCOL);
	e.opcode = 0;
	assert_int_equal(breaks(&e, false), VGPU_ERR_PROTOCOL);
	e.opcode = 0xffff;
	assert_int_equal(breaks(&e, false), VGPU_ERR_PROTOCOL);
}

static void every_opcode_refused_when_malformed(void **state)
{
	EACH(op) {
		const struct vgpu_op_info *o = &vgpu_op_info[op];
		uint32_t spilled = o->in_size > VGPU_INLINE_IN ? o->in_size : 0;
		bool work;
		struct vgpu_entry good = well_formed(op, &work), e = good;

		assert_int_equal(breaks(&e, !work), VGPU_ERR_PROTOCOL); /* the other ring */
		e.flags |= 0x8000;
		assert_int_equal(breaks(&e, work), VGPU_ERR_PROTOCOL);
		e = good;
		e.pay_len = spilled + o->payload_max + 1;
		assert_int_equal(breaks(&e, work), VGPU_ERR_PROTOCOL);
		e = good;
		e.pay_len = 0xffffffff;
		assert_int_equal(breaks(&e, work), VGPU_ERR_PROTOCOL);
		if (good.pay_len) {
			static const uint32_t bad[] = { 0, VGPU_CH_PARAM_OFF - 1, VGPU_CH_BOUNCE_OFF, 0xffffffff };

			for (unsigned i = 0; i < 4; i++) {
				e = good;
				e.pay_off = bad[i];
				assert_int_equal(breaks(&e, work), VGPU_ERR_PROTOCOL);
			}
			e = good;
			e.pay_len = 0;
			assert_int_equal(breaks(&e, work), VGPU_ERR_PROTOCOL);
		}
		if (o->flags & VGPU_OP_SYNC) {
			e = good;
			e.flags = 0; /* a call whose answer nobody wants */
			assert_int_equal(breaks(&e, work), VGPU_ERR_PROTOCOL);
		}
		if (!(o->flags & VGPU_OP_FOLLOWS)) {
			e = good;
			e.flags |= VGPU_E_FOLLOWS;
			assert_int_equal(breaks(&e, work), VGPU_ERR_PROTOCOL);
		}
	}
}

static void replies_only_into_the_parameter_area(void **state)
{
	struct vgpu_in_module_names in = { .reply_off = VGPU_CH_BOUNCE_OFF - 8, .reply_cap = 16 };
	struct vgpu_entry e = { .opcode = VGPU_OP_MODULE_NAMES, .flags = VGPU_E_REPLY };

	memcpy(e.body, &in, sizeof(in));
	assert_int_equal(breaks(&e, false), VGPU_ERR_PROTOCOL);
	in.reply_off = 0; /* the host's own words */
	memcpy(e.body, &in, sizeof(in));
	assert_int_equal(breaks(&e, false), VGPU_ERR_PROTOCOL);
	in.reply_off = 0xfffffff8;
	memcpy(e.body, &in, sizeof(in));
	assert_int_equal(breaks(&e, false), VGPU_ERR_PROTOCOL);
}

static void absurd_indexes(void **state)
{
	struct run r;

	begin(&r);
	vgpu_store64(&vgpu_ch_guest(r.channel)->work_head, VGPU_CH_WORK_ENTRIES + 1);
	bell(&r, r.env.bell_fd);
	assert_int_equal(end(&r, false), VGPU_ERR_PROTOCOL);
	begin(&r);
	vgpu_store64(&vgpu_ch_guest(r.channel)->ctl_head, UINT64_MAX);
	bell(&r, r.env.bell_fd);
	assert_int_equal(end(&r, false), VGPU_ERR_PROTOCOL);
	begin(&r);
	vgpu_store64(&vgpu_ch_guest(r.channel)->cpl_tail, 5); /* ahead of the head */
	put(&r, &(struct vgpu_entry){ .opcode = VGPU_OP_CTX_PRIMARY, .flags = VGPU_E_REPLY }, false);
	assert_int_equal(end(&r, false), VGPU_ERR_PROTOCOL);
}

static void a_guest_that_never_reads_completions(void **state)
{
	struct vgpu_entry e = { .opcode = VGPU_OP_CTX_GET_LIMIT, .flags = VGPU_E_REPLY };
	struct vgpu_ch_host *h;
	struct run r;

	begin(&r);
	h = vgpu_ch_host(r.channel);
	for (unsigned i = 0; i <= VGPU_CH_CPL_ENTRIES; i++) {
		uint64_t until = vgpu_now_ns() + 10000000000ull;

		while (r.ctl - vgpu_load64(&h->ctl_tail) >= VGPU_CH_CTL_ENTRIES && vgpu_now_ns() < until)
			sched_yield();
		put(&r, &e, false);
	}
	assert_int_equal(end(&r, false), VGPU_ERR_PROTOCOL);
}

static void a_future_that_never_comes(void **state)
{
	struct vgpu_entry e = { .opcode = VGPU_OP_CTX_SYNC, .flags = VGPU_E_REPLY | VGPU_E_FOLLOWS, .follows = 1u << 30 };

	assert_int_equal(breaks(&e, false), VGPU_ERR_PROTOCOL);
}

/* Well-formed entries with random bodies and handles, including live ones: answered or refused. */
static void random_bodies(void **state)
{
	struct run r;
	struct vgpu_entry e = { .opcode = VGPU_OP_CTX_PRIMARY, .flags = VGPU_E_REPLY, .tag = 1 };
	uint32_t ctx;
	uint64_t issued = 0;

	srand(11);
	begin(&r);
	put(&r, &e, false);
	assert_int_equal(completion(&r, 1), 0);
	memcpy(&ctx, vgpu_cpl_slot(r.channel, r.cpl - 1)->body, 4);
	for (int i = 0; i < 20000; i++) {
		unsigned op = (unsigned)rand() % VGPU_OP_COUNT;
		unsigned char body[200];
		bool work;

		if (!vgpu_op_info[op].name || op == VGPU_OP_CTX_PRIMARY_RELEASE || op == VGPU_OP_IMAGE_NEW)
			continue;
		e = well_formed(op, &work);
		e.ctx = rand() % 4 ? ctx : (vg_u32)rand();
		e.tag = 2;
		for (unsigned k = 0; k < sizeof(body); k++) /* small numbers hit more than noise does */
			body[k] = rand() % 3 ? 0 : (unsigned char)(rand() % 5 ? rand() % 4 : rand());
		if (vgpu_op_info[op].reply_max)
			memset(body + vgpu_op_info[op].in_size - 8, 0, 8);
		memcpy(e.body, body, sizeof(e.body));
		memcpy(vgpu_ch(r.channel, VGPU_CH_PARAM_OFF), body, sizeof(body));
		if (op == VGPU_OP_MEM_ALLOC || op == VGPU_OP_MEM_ALLOC_PITCH)
			memset(e.body + 6, 0, 2);
		put(&r, &e, work);
		if (!completion(&r, 2) && op == VGPU_OP_HOST_FUNC) { /* nothing behind it would be answered */
			e = well_formed(VGPU_OP_HOST_DONE, &work);
			memcpy(e.body, &r.work, sizeof(r.work));
			put(&r, &e, work);
			assert_int_equal(completion(&r, 5), 0);
		}
		issued++;
	}
	assert_true(issued > 5000);
	assert_int_equal(end(&r, true), VGPU_ERR_NONE);
}

/* One call with a small body; its result. out: the first word of the answer. */
static int call(struct run *r, unsigned op, uint32_t ctx, const void *body, size_t size, uint32_t *out)
{
	bool work;
	struct vgpu_entry e = well_formed(op, &work);
	int rc;

	e.ctx = ctx;
	if (size)
		memcpy(e.body, body, size);
	put(r, &e, work);
	rc = completion(r, 5);
	if (out)
		memcpy(out, vgpu_cpl_slot(r->channel, r->cpl - 1)->body, sizeof(*out));
	return rc;
}

/* The decoder has the context at hand when a helper destroys it; an event of another one is still there. */
static void work_in_a_destroyed_context(void **state)
{
	struct vgpu_in_ctx_create none = { 0 };
	struct vgpu_in_event_record rec = { 0 };
	uint32_t primary, ctx, event;
	struct run r;

	begin(&r);
	assert_int_equal(call(&r, VGPU_OP_CTX_PRIMARY, 0, NULL, 0, &primary), 0);
	assert_int_equal(call(&r, VGPU_OP_EVENT_CREATE, primary, &none, sizeof(none), &event), 0);
	assert_int_equal(call(&r, VGPU_OP_CTX_CREATE, 0, &none, sizeof(none), &ctx), 0);
	rec.event = event;
	assert_int_equal(call(&r, VGPU_OP_EVENT_RECORD, ctx, &rec, sizeof(rec), NULL), 0);
	assert_int_equal(call(&r, VGPU_OP_CTX_DESTROY, 0, &ctx, sizeof(ctx), NULL), 0);
	assert_int_equal(call(&r, VGPU_OP_EVENT_RECORD, ctx, &rec, sizeof(rec), NULL), CUDA_ERROR_INVALID_CONTEXT);
	assert_int_not_equal(call(&r, VGPU_OP_CTX_DESTROY, 0, &ctx, sizeof(ctx), NULL), 0);
	assert_int_equal(end(&r, true), VGPU_ERR_NONE);
}

/* Two helpers are told to load one image; both would free it. */
static void one_image_loaded_twice(void **state)
{
	static const char text[] = "none\n";
	uint32_t ctx;
	struct run r;

	begin(&r);
	assert_int_equal(call(&r, VGPU_OP_CTX_PRIMARY, 0, NULL, 0, &ctx), 0);
	for (int i = 0; i < 300; i++) {
		struct vgpu_in_image_new new = { .size = sizeof(text) };
		struct vgpu_in_module_load in = { 0 };
		bool work;
		struct vgpu_entry w = well_formed(VGPU_OP_IMAGE_WRITE, &work), e;
		int first, second;

		assert_int_equal(call(&r, VGPU_OP_IMAGE_NEW, ctx, &new, sizeof(new), &in.image), 0);
		memcpy(w.body, &(struct vgpu_in_image_write){ .image = in.image }, sizeof(struct vgpu_in_image_write));
		memcpy(vgpu_ch(r.channel, VGPU_CH_PARAM_OFF), text, sizeof(text));
		w.pay_len = sizeof(text);
		put(&r, &w, false);
		assert_int_equal(completion(&r, 5), 0);
		e = well_formed(VGPU_OP_MODULE_LOAD, &work);
		e.ctx = ctx;
		memcpy(e.body, &in, sizeof(in));
		put(&r, &e, false);
		put(&r, &e, false);
		first = completion(&r, 5);
		second = completion(&r, 5);
		assert_true((first == 0) != (second == 0));
		assert_int_equal(first + second, CUDA_ERROR_INVALID_HANDLE);
	}
	assert_int_equal(end(&r, true), VGPU_ERR_NONE);
}

/* True: the device is not through with anything. */
static _Atomic bool kept;

static int restore(void **state)
{
	kept = false;
	drv = plain;
	return 0;
}

static CUresult slow_get_limit(size_t *v, CUlimit l)
{
	CUresult rc = plain.cuCtxGetLimit(v, l);

	for (int i = 0; i < 20; i++)
		sched_yield();
	return rc;
}

/* Two helpers set one limit: what the quota lacks is what is set. */
static void one_limit_set_twice(void **state)
{
	struct vgpu_in_ctx_set_limit in = { .value = 1 << 20, .limit = CU_LIMIT_MALLOC_HEAP_SIZE };
	struct vgpu_entry e = { .opcode = VGPU_OP_CTX_SET_LIMIT, .flags = VGPU_E_REPLY, .tag = 5 };
	uint64_t taken;
	struct run r;

	begin(&r);
	assert_int_equal(call(&r, VGPU_OP_CTX_PRIMARY, 0, NULL, 0, &e.ctx), 0);
	assert_int_equal(call(&r, VGPU_OP_CTX_SET_LIMIT, e.ctx, &in, sizeof(in), NULL), 0);
	taken = counters.taken;
	drv.cuCtxGetLimit = slow_get_limit;
	for (int i = 0; i < 1000; i++) {
		in.value = (2u << 20) - ((uint64_t)(i & 1) << 20);
		memcpy(e.body, &in, sizeof(in));
		put(&r, &e, false);
		if (i & 1)
			assert_int_equal(completion(&r, 5) + completion(&r, 5), 0);
	}
	assert_int_equal(call(&r, VGPU_OP_CTX_SET_LIMIT, e.ctx, &in, sizeof(in), NULL), 0);
	assert_int_equal(counters.taken, taken);
	assert_int_equal(end(&r, true), VGPU_ERR_NONE);
}

static unsigned inputs;

static CUresult fake_link_create(unsigned int n, CUjit_option *o, void **v, CUlinkState *s)
{
	*s = (CUlinkState)&inputs;
	return CUDA_SUCCESS;
}
static CUresult fake_link_add(CUlinkState s, CUjitInputType t, void *p, size_t size, const char *name, unsigned int n,
			      CUjit_option *o, void **v)
{
	inputs++;
	return CUDA_SUCCESS;
}
static CUresult fake_link_complete(CUlinkState s, void **p, size_t *n)
{
	return CUDA_ERROR_UNKNOWN;
}
static CUresult fake_link_destroy(CUlinkState s)
{
	return CUDA_SUCCESS;
}

static int link_one(struct run *r, uint32_t ctx, uint32_t link, const void *image, size_t size)
{
	struct vgpu_in_image_new new = { .size = size };
	struct vgpu_in_link_add in = { .link = link };
	bool work;
	struct vgpu_entry w = well_formed(VGPU_OP_IMAGE_WRITE, &work);

	assert_int_equal(call(r, VGPU_OP_IMAGE_NEW, ctx, &new, sizeof(new), &in.image), 0);
	memcpy(w.body, &(struct vgpu_in_image_write){ .image = in.image }, sizeof(struct vgpu_in_image_write));
	memcpy(vgpu_ch(r->channel, VGPU_CH_PARAM_OFF), image, size);
	w.pay_len = (uint32_t)size;
	put(r, &w, false);
	assert_int_equal(completion(r, 5), 0);
	return call(r, VGPU_OP_LINK_ADD, ctx, &in, sizeof(in), NULL);
}

/* The driver is given nothing that goes beyond what an executor may hold once it is unpacked. */
static void a_link_of_more_than_is_allowed(void **state)
{
	uint8_t fat[FATBIN_HEADER_SIZE + FATBIN_ENTRY_SIZE + 8] = { 0 };
	uint32_t word[4] = { FATBIN_MAGIC, 1 | FATBIN_HEADER_SIZE << 16, FATBIN_ENTRY_SIZE + 8, 0 };
	uint32_t entry[16] = { FATBIN_PTX | FATBIN_ENTRY_VERSION << 16, FATBIN_ENTRY_SIZE, 8, [4] = 8, [7] = 75,
			       [10] = FATBIN_ZSTD, [14] = 300u << 20 };
	uint32_t ctx, link;
	struct run r;

	drv.cuLinkCreate_v2 = fake_link_create;
	drv.cuLinkAddData_v2 = fake_link_add;
	drv.cuLinkComplete = fake_link_complete;
	drv.cuLinkDestroy = fake_link_destroy;
	memcpy(fat, word, sizeof(word));
	memcpy(fat + FATBIN_HEADER_SIZE, entry, sizeof(entry));
	begin(&r);
	assert_int_equal(call(&r, VGPU_OP_CTX_PRIMARY, 0, NULL, 0, &ctx), 0);
	assert_int_equal(call(&r, VGPU_OP_LINK_CREATE, ctx, NULL, 0, &link), 0);
	assert_int_equal(link_one(&r, ctx, link, "text", 5), 0);
	assert_int_equal(link_one(&r, ctx, link, fat, sizeof(fat)), 0); /* 300 of 512 MiB */
	assert_int_equal(link_one(&r, ctx, link, fat, sizeof(fat)), CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(inputs, 2);
	assert_int_equal(call(&r, VGPU_OP_LINK_DESTROY, ctx, &link, sizeof(link), NULL), 0);
	assert_int_equal(call(&r, VGPU_OP_LINK_CREATE, ctx, NULL, 0, &link), 0);
	assert_int_equal(link_one(&r, ctx, link, fat, sizeof(fat)), 0);
	assert_int_equal(end(&r, true), VGPU_ERR_NONE);
}

/* ---- host functions ---- */

struct streams {
	uint32_t ctx, s, t, es, et; /* two non-blocking streams, an event for each */
};

static void two_streams(struct run *r, struct streams *n)
{
	struct vgpu_in_stream_create sc = { .flags = CU_STREAM_NON_BLOCKING };
	struct vgpu_in_event_create ec = { 0 };

	begin(r);
	assert_int_equal(call(r, VGPU_OP_CTX_PRIMARY, 0, NULL, 0, &n->ctx), 0);
	assert_int_equal(call(r, VGPU_OP_STREAM_CREATE, n->ctx, &sc, sizeof(sc), &n->s), 0);
	assert_int_equal(call(r, VGPU_OP_STREAM_CREATE, n->ctx, &sc, sizeof(sc), &n->t), 0);
	assert_int_equal(call(r, VGPU_OP_EVENT_CREATE, n->ctx, &ec, sizeof(ec), &n->es), 0);
	assert_int_equal(call(r, VGPU_OP_EVENT_CREATE, n->ctx, &ec, sizeof(ec), &n->et), 0);
}

static void put_record(struct run *r, const struct streams *n, bool on_s, vg_u16 flags)
{
	struct vgpu_entry e = { .opcode = VGPU_OP_EVENT_RECORD, .flags = flags, .tag = on_s ? 7 : 8, .ctx = n->ctx };
	struct vgpu_in_event_record in = { .event = on_s ? n->es : n->et, .stream = on_s ? n->s : n->t };

	memcpy(e.body, &in, sizeof(in));
	put(r, &e, true);
}

static int query(struct run *r, const struct streams *n, uint32_t event)
{
	struct vgpu_entry e = { .opcode = VGPU_OP_EVENT_QUERY, .flags = VGPU_E_REPLY | VGPU_E_FOLLOWS, .tag = 9,
				.ctx = n->ctx, .follows = (uint32_t)r->work };

	memcpy(e.body, &event, sizeof(event));
	put(r, &e, false);
	return completion(r, 9);
}

/* A guest that leaves a host function running: its stream stands, another goes on, the lease is free. */
static void a_host_function_holds_its_stream_only(void **state)
{
	struct vgpu_in_host_func hf;
	struct vgpu_in_host_done done = { 0 };
	struct streams n;
	uint64_t idled;
	struct run r;

	two_streams(&r, &n);
	hf.stream = n.s;
	assert_int_equal(call(&r, VGPU_OP_HOST_FUNC, n.ctx, &hf, sizeof(hf), NULL), 0);
	done.entry = r.work;
	put_record(&r, &n, true, VGPU_E_REPLY);
	put_record(&r, &n, false, VGPU_E_REPLY);
	assert_int_equal(completion(&r, 8), 0); /* not 7 */
	assert_int_equal(query(&r, &n, n.es), CUDA_ERROR_NOT_READY);
	assert_int_equal(query(&r, &n, n.et), 0);
	assert_true(vgpu_load64(&vgpu_ch_host(r.channel)->work_done) < done.entry);
	idled = counters.idled;
	for (uint64_t until = vgpu_now_ns() + 10000000000ull; counters.idled == idled; sched_yield())
		assert_true(vgpu_now_ns() < until);
	done.entry++;
	assert_int_equal(call(&r, VGPU_OP_HOST_DONE, 0, &done, sizeof(done), NULL), CUDA_ERROR_INVALID_VALUE);
	done.entry--;
	{
		struct vgpu_entry e = { .opcode = VGPU_OP_HOST_DONE, .flags = VGPU_E_REPLY, .tag = 5 };

		memcpy(e.body, &done, sizeof(done));
		put(&r, &e, false);
	}
	assert_int_equal(completion(&r, 5), 0);
	assert_int_equal(completion(&r, 7), 0);
	assert_int_equal(call(&r, VGPU_OP_HOST_DONE, 0, &done, sizeof(done), NULL), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(end(&r, true), VGPU_ERR_NONE);
}

/* Nobody would be told to run it: it is refused, and its stream goes on. */
static void a_host_function_without_a_reply(void **state)
{
	struct vgpu_entry e = { .opcode = VGPU_OP_HOST_FUNC };
	struct vgpu_in_host_func hf;
	struct streams n;
	struct run r;

	two_streams(&r, &n);
	hf.stream = n.s;
	e.ctx = n.ctx;
	memcpy(e.body, &hf, sizeof(hf));
	put(&r, &e, true);
	put_record(&r, &n, true, VGPU_E_REPLY);
	assert_int_equal(completion(&r, 7), 0);
	assert_int_equal(end(&r, true), VGPU_ERR_NONE);
}

/* ... and goes on filling its ring: what is held is bounded, and calls are still answered. */
static void a_host_function_that_never_ends(void **state)
{
	struct vgpu_in_host_func hf;
	struct streams n;
	struct run r;

	two_streams(&r, &n);
	hf.stream = n.s;
	assert_int_equal(call(&r, VGPU_OP_HOST_FUNC, n.ctx, &hf, sizeof(hf), NULL), 0);
	for (unsigned i = 0; i < 2 * VGPU_CH_WORK_ENTRIES - 1; i++) {
		uint64_t until = vgpu_now_ns() + 10000000000ull;

		while (r.work - vgpu_load64(&vgpu_ch_host(r.channel)->work_tail) >= VGPU_CH_WORK_ENTRIES) {
			assert_true(vgpu_now_ns() < until);
			sched_yield();
		}
		put_record(&r, &n, true, 0);
	}
	/* One slot is the host function's own: the ring is full to the last entry. */
	assert_int_equal(r.work - vgpu_load64(&vgpu_ch_host(r.channel)->work_tail), VGPU_CH_WORK_ENTRIES);
	assert_int_equal(call(&r, VGPU_OP_MEM_INFO, n.ctx, NULL, 0, NULL), 0);
	assert_int_equal(end(&r, true), VGPU_ERR_NONE);
}

/* ---- a device that is not through until it is let go ---- */

static CUresult kept_query(CUevent e)
{
	return kept ? CUDA_ERROR_NOT_READY : plain.cuEventQuery(e);
}

static CUresult kept_event(CUevent e)
{
	while (kept)
		sched_yield();
	return plain.cuEventSynchronize(e);
}

static CUresult kept_context(void)
{
	while (kept)
		sched_yield();
	return plain.cuCtxSynchronize();
}

static void keep(void)
{
	drv.cuEventQuery = kept_query;
	drv.cuEventSynchronize = kept_event;
	drv.cuCtxSynchronize = kept_context;
	kept = true;
}

static uint32_t next_tag(struct run *r)
{
	uint64_t until = vgpu_now_ns() + 10000000000ull;

	while (vgpu_load64(&vgpu_ch_host(r->channel)->cpl_head) == r->cpl) {
		assert_true(vgpu_now_ns() < until);
		sched_yield();
	}
	return vgpu_cpl_slot(r->channel, r->cpl)->tag;
}

/* As many marks in flight as there are places; every host_done then moves what has been issued. */
static void no_place_for_another_mark(void **state)
{
	struct vgpu_in_host_func hf;
	uint64_t first, until;
	struct streams n;
	struct run r;

	two_streams(&r, &n);
	hf.stream = n.s;
	first = r.work + 1;
	for (int i = 0; i < 3; i++) {
		struct vgpu_in_stream_create sc = { .flags = CU_STREAM_NON_BLOCKING };

		assert_int_equal(call(&r, VGPU_OP_HOST_FUNC, n.ctx, &hf, sizeof(hf), NULL), 0);
		assert_int_equal(call(&r, VGPU_OP_STREAM_CREATE, n.ctx, &sc, sizeof(sc), &hf.stream), 0);
	}
	keep();
	for (int i = 0; i < MARKS - 1; i++)
		put_record(&r, &n, false, VGPU_E_REPLY);
	until = vgpu_now_ns() + 10000000000ull;
	while (vgpu_load64(&vgpu_ch_host(r.channel)->work_tail) != r.work) {
		assert_true(vgpu_now_ns() < until);
		sched_yield();
	}
	for (uint64_t i = 0; i < 3; i++) {
		struct vgpu_entry sync = { .opcode = VGPU_OP_CTX_SYNC, .flags = VGPU_E_REPLY, .tag = 9, .ctx = n.ctx };
		struct vgpu_in_host_done done = { .entry = first + i };

		assert_int_equal(call(&r, VGPU_OP_HOST_DONE, 0, &done, sizeof(done), NULL), 0);
		put(&r, &sync, false); /* closes a mark */
	}
	assert_int_equal(call(&r, VGPU_OP_MEM_INFO, n.ctx, NULL, 0, NULL), 0);
	kept = false;
	for (int i = 0; i < MARKS - 1 + 3; i++) /* in any order; none is lost */
		assert_int_equal(completion(&r, next_tag(&r)), 0);
	assert_int_equal(end(&r, true), VGPU_ERR_NONE);
}

/* A context ends while its work goes on: not complete before the device says so. */
static void work_of_an_ending_context(void **state)
{
	struct vgpu_entry e = { .opcode = VGPU_OP_CTX_DESTROY, .flags = VGPU_E_REPLY, .tag = 9 };
	struct vgpu_entry work = { .opcode = VGPU_OP_EVENT_RECORD };
	uint64_t until = vgpu_now_ns() + 10000000000ull;
	struct vgpu_in_event_record in = { 0 };
	struct vgpu_in_ctx_create none = { 0 };
	struct vgpu_ch_host *h;
	uint32_t ctx;
	struct run r;

	begin(&r);
	h = vgpu_ch_host(r.channel);
	assert_int_equal(call(&r, VGPU_OP_CTX_CREATE, 0, &none, sizeof(none), &ctx), 0);
	assert_int_equal(call(&r, VGPU_OP_EVENT_CREATE, ctx, &none, sizeof(none), &in.event), 0);
	keep();
	work.ctx = ctx;
	memcpy(work.body, &in, sizeof(in));
	put(&r, &work, true);
	memcpy(e.body, &ctx, sizeof(ctx));
	while (vgpu_load64(&h->work_tail) != r.work)
		assert_true(vgpu_now_ns() < until);
	put(&r, &e, false);
	for (uint32_t naps = 0, was = 0, now; naps < 8; was = now) {
		now = vgpu_load32(&h->sleeping);
		naps += now && now != was;
		assert_true(vgpu_now_ns() < until);
	}
	assert_true(vgpu_load64(&h->work_done) < r.work);
	kept = false;
	assert_int_equal(completion(&r, 9), 0);
	while (vgpu_load64(&h->work_done) < r.work)
		assert_true(vgpu_now_ns() < until);
	assert_int_equal(end(&r, true), VGPU_ERR_NONE);
}

/* Calls that wait for helpers are bounded, as calls without an answer are. */
static void more_waits_than_answers_fit(void **state)
{
	struct vgpu_entry sync = { .opcode = VGPU_OP_CTX_SYNC, .flags = VGPU_E_REPLY, .tag = 9 };
	uint64_t until = vgpu_now_ns() + 10000000000ull, begun;
	struct streams n;
	struct run r;

	two_streams(&r, &n);
	sync.ctx = n.ctx;
	keep();
	put_record(&r, &n, true, 0);
	while (vgpu_load64(&vgpu_ch_host(r.channel)->work_tail) != r.work)
		assert_true(vgpu_now_ns() < until);
	for (begun = r.ctl; !broken && r.ctl - begun < 4 * VGPU_CH_CPL_ENTRIES;) {
		assert_true(vgpu_now_ns() < until);
		if (r.ctl - vgpu_load64(&vgpu_ch_host(r.channel)->ctl_tail) < VGPU_CH_CTL_ENTRIES)
			put(&r, &sync, false);
	}
	assert_int_equal(broken, VGPU_ERR_PROTOCOL);
	assert_true(r.ctl - begun > VGPU_CH_CPL_ENTRIES);
	assert_int_equal(vgpu_load64(&vgpu_ch_host(r.channel)->cpl_head), r.cpl);
	kept = false;
	assert_int_equal(end(&r, false), VGPU_ERR_PROTOCOL);
}

static CUresult no_record(CUevent e, CUstream s)
{
	return CUDA_ERROR_OUT_OF_MEMORY;
}

/* Nobody would know when the device is through: never counted as complete. */
static void a_mark_without_its_event(void **state)
{
	struct vgpu_in_stream_mark in;
	struct vgpu_entry e = { .opcode = VGPU_OP_STREAM_MARK, .flags = VGPU_E_REPLY, .tag = 9 };
	uint64_t until = vgpu_now_ns() + 10000000000ull;
	struct streams n;
	struct run r;

	two_streams(&r, &n);
	e.ctx = n.ctx;
	in.stream = n.s;
	memcpy(e.body, &in, sizeof(in));
	drv.cuEventRecord = no_record;
	put(&r, &e, true);
	while (!broken)
		assert_true(vgpu_now_ns() < until);
	pthread_join(r.thread, NULL);
	assert_int_equal(vgpu_load64(&vgpu_ch_host(r.channel)->cpl_head), r.cpl);
	assert_true(vgpu_load64(&vgpu_ch_host(r.channel)->work_done) < r.work);
	assert_int_equal(unmap(&r), VGPU_ERR_EXECUTOR_CRASHED);
}

static void contexts_end(void **state)
{
	struct vgpu_in_ctx_create none = { 0 };
	struct run r;
	int n = 0;

	begin(&r);
	while (n < 1000 && !call(&r, VGPU_OP_CTX_CREATE, 0, &none, sizeof(none), NULL))
		n++;
	assert_int_equal(n, 64);
	assert_int_equal(end(&r, true), VGPU_ERR_NONE);
}

static int load(void **state)
{
	char err[256];

	if (!cuda_driver_open(&drv, getenv("VGPU_TEST_DRIVER"), err, sizeof(err))) {
		plain = drv;
		ops = harness_ops;
		ops.broken = note_broken;
		return 0;
	}
	fprintf(stderr, "%s\n", err);
	return 1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unknown_opcodes),
		cmocka_unit_test(every_opcode_refused_when_malformed),
		cmocka_unit_test(replies_only_into_the_parameter_area),
		cmocka_unit_test(absurd_indexes),
		cmocka_unit_test(a_guest_that_never_reads_completions),
		cmocka_unit_test(a_future_that_never_comes),
		cmocka_unit_test(random_bodies),
		cmocka_unit_test(work_in_a_destroyed_context),
		cmocka_unit_test(one_image_loaded_twice),
		cmocka_unit_test_teardown(one_limit_set_twice, restore),
		cmocka_unit_test_teardown(a_link_of_more_than_is_allowed, restore),
		cmocka_unit_test(contexts_end),
		cmocka_unit_test(a_host_function_holds_its_stream_only),
		cmocka_unit_test(a_host_function_without_a_reply),
		cmocka_unit_test(a_host_function_that_never_ends),
		cmocka_unit_test_teardown(no_place_for_another_mark, restore),
		cmocka_unit_test_teardown(a_mark_without_its_event, restore),
		cmocka_unit_test_teardown(work_of_an_ending_context, restore),
		cmocka_unit_test_teardown(more_waits_than_answers_fit, restore),
	};

	return cmocka_run_group_tests(tests, load, NULL);
}
