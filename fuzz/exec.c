/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The executor's call half against a hostile guest: sequences of ring entries with payload, through
 * every generated decoder, to the pretended driver.
 *
 * The input is a program of guest steps, STEP bytes each. A step names an opcode and says for each
 * field of its body (ops_fields.h has them all) where the value comes from: an answer to an earlier
 * call, so that calls work on live and on destroyed objects alike; a bound of its rule; or raw bytes.
 * Other steps write whole descriptors of noise, move the indexes, take answers or let the lease be due.
 * The mutator works on whole steps, and knows some sequences that blind chance would not find.
 *
 * This thread is guest and decoder in turn (serve.c is part of this file), so that an input means the
 * same each time; helpers and the reaper are the executor's own threads. While the driver works, the
 * guest overwrites the descriptor and payload it sent (nulldriver_called): what is used was copied.
 *
 * Beyond the sanitizers and the strict driver: a well-formed call never breaks the protocol, each that
 * asked for an answer gets exactly one, with its tag, and what was taken from the quota is given back.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <linux/falloc.h>
#include <time.h>
#include "executor/serve.c"
#include "wire/ops_fields.h"
#include "../tests/executor/nulldriver.h"
#include "fuzz.h"

#define STEP 48u /* bytes of input a step has to choose from */
#define STEPS_MAX 96u
#define POOL 12u
#define QUOTA (8ull << 20)
#define ANSWER_S 5u /* of this process's own time: it may be stopped, or one of many */
#define OPEN_MAX 256u

struct guest {
	struct exec *x;
	struct choices in;
	uint64_t work, ctl, cpl;     /* indexes we wrote */
	uint64_t pool[VGPU_FIELD_KINDS][POOL];
	unsigned pooled[VGPU_FIELD_KINDS];
	uint8_t open[OPEN_MAX]; /* by tag: opcode + 1 of the call that waits for an answer */
	unsigned waiting;
	uint64_t behind[OPEN_MAX], ran[OPEN_MAX]; /* work indexes behind host functions; of those that ran, not yet said */
	unsigned n_ran;
	bool may_break; /* something malformed was sent */
	bool faulted;
	struct vgpu_entry *slot; /* of the last call; scribbled over while the driver works */
	uint32_t pay_off, pay_len;
	bool scribble;
};

static struct cuda_driver driver;
static struct guest guest;
static _Atomic int64_t taken;
static atomic_bool due;
static pthread_t decoder;

/* ---- the host's side ---- */

static bool lease_held(void *ctx)
{
	return true;
}
static bool lease_over(void *ctx)
{
	return atomic_exchange(&due, false);
}
static uint64_t kept_idle(void *ctx)
{
	return 0;
}

static void nothing(void *ctx)
{
}
static int take_quota(void *ctx, uint64_t n)
{
	if (n > QUOTA || atomic_fetch_add(&taken, (int64_t)n) + (int64_t)n > (int64_t)QUOTA) {
		if (n <= QUOTA)
			atomic_fetch_sub(&taken, (int64_t)n);
		return -EDQUOT;
	}
	return 0;
}
static void give_quota(void *ctx, uint64_t n)
{
	MUST(atomic_fetch_sub(&taken, (int64_t)n) >= (int64_t)n);
}
static void say_quota(void *ctx, uint64_t *f, uint64_t *t)
{
	*t = QUOTA;
	*f = QUOTA - (uint64_t)atomic_load(&taken);
}
static void count_bytes(void *ctx, uint64_t n)
{
}
static void count_launches(void *ctx, uint32_t n)
{
}
static int extents_yes(void *ctx, uint32_t first, uint32_t n)
{
	return first % 7 == 6 ? -EPERM : 0;
}
static void count_unsupported(void *ctx, uint16_t op)
{
	MUST(op < VGPU_OP_COUNT);
}

static const struct exec_ops ops = {
	.lease_try = lease_held, .lease_ask = nothing, .lease_due = lease_over, .lease_release = nothing,
	.lease_idle = kept_idle, .unit_begin = nothing, .units_end = count_launches, .quota_take = take_quota,
	.quota_give = give_quota, .quota_info = say_quota, .charge_bytes = count_bytes,
	.charge_launches = count_launches, .extents_check = extents_yes, .count_unsupported = count_unsupported,
};

/* The guest changes its mind while the executor works with what it sent. */
static void change_mind(void)
{
	if (!guest.scribble || !pthread_equal(pthread_self(), decoder) || !guest.slot)
		return;
	memset(guest.slot, 0xa5, sizeof(*guest.slot));
	if (guest.pay_len)
		memset((char *)guest.x->channel + guest.pay_off, 0xff, guest.pay_len);
}

/* ---- the guest ---- */

static void remember(struct guest *g, unsigned kind, uint64_t v)
{
	g->pool[kind][g->pooled[kind]++ % POOL] = v;
}

static uint64_t recall(struct guest *g, unsigned kind, uint8_t which)
{
	unsigned n = g->pooled[kind] < POOL ? g->pooled[kind] : POOL;

	return n ? g->pool[kind][which % n] : 0;
}

static void take_answers(struct guest *g)
{
	struct vgpu_ch_host *h = g->x->host;

	while (g->cpl != vgpu_load64(&h->cpl_head)) {
		struct vgpu_completion c = *vgpu_cpl_slot(g->x->channel, g->cpl);
		unsigned op;

		vgpu_store64(&g->x->guest->cpl_tail, ++g->cpl);
		if (c.tag >= OPEN_MAX || !g->open[c.tag]) {
			MUST(g->may_break);
			continue;
		}
		op = g->open[c.tag] - 1u;
		g->open[c.tag] = 0;
		g->waiting--;
		g->faulted |= c.result == CUDA_ERROR_ILLEGAL_ADDRESS;
		if (op == VGPU_OP_HOST_FUNC && !c.result)
			g->ran[g->n_ran++] = g->behind[c.tag];
		for (size_t i = 0; !c.result && i < sizeof(vgpu_fields) / sizeof(*vgpu_fields); i++) {
			const struct vgpu_field *f = &vgpu_fields[i];
			uint64_t v = 0;

			if (f->op != op || !f->out || f->kind == VGPU_FIELD_NUMBER)
				continue;
			memcpy(&v, c.body + f->at, f->size);
			remember(g, f->kind, v);
		}
	}
}

/* One turn of the decoder. false: it serves no more. */
static bool turn(struct guest *g)
{
	struct exec *x = g->x;

	if (atomic_load(&x->broken) != SERVING)
		return false;
	if (!serve_turn(x))
		marks_close(x);
	return atomic_load(&x->broken) == SERVING;
}

static void no_answer(const struct guest *g)
{
	for (unsigned t = 0; t < OPEN_MAX; t++)
		if (g->open[t])
			fprintf(stderr, "no answer to %s\n", vgpu_op_info[g->open[t] - 1].name);
	abort();
}

static time_t seconds_used(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec;
}

static void publish(struct guest *g, const struct vgpu_entry *e, bool work)
{
	g->slot = work ? vgpu_work_slot(g->x->channel, g->work) : vgpu_ctl_slot(g->x->channel, g->ctl);
	*g->slot = *e;
	g->pay_off = e->pay_off;
	g->pay_len = e->pay_off >= VGPU_CH_PARAM_OFF && e->pay_off < VGPU_CH_BOUNCE_OFF && e->pay_len < 0x10000 ? e->pay_len : 0;
	if (work)
		vgpu_store64(&g->x->guest->work_head, ++g->work);
	else
		vgpu_store64(&g->x->guest->ctl_head, ++g->ctl);
}

static void say_done(struct guest *g)
{
	while (g->n_ran && g->waiting < OPEN_MAX) {
		struct vgpu_entry e = { .opcode = VGPU_OP_HOST_DONE, .flags = VGPU_E_REPLY };

		while (g->open[e.tag])
			e.tag++;
		g->open[e.tag] = VGPU_OP_HOST_DONE + 1;
		g->waiting++;
		memcpy(e.body, &g->ran[--g->n_ran], sizeof(g->ran[0]));
		publish(g, &e, false);
	}
}

/* Until everything sent was taken and every answer is there. */
static void settle(struct guest *g)
{
	time_t until = seconds_used() + ANSWER_S;

	while (turn(g) && (g->waiting || work_waiting(g->x))) {
		take_answers(g);
		say_done(g);
		if (seconds_used() > until)
			no_answer(g);
		if (g->waiting)
			sched_yield();
	}
	take_answers(g);
}

static uint64_t number(struct guest *g, const struct vgpu_field *f)
{
	uint8_t how = choose(&g->in);

	if (how < 96)
		return f->min + how;
	if (how < 128)
		return f->max - (how - 96u);
	if (how < 192)
		return 1ull << (how & 63);
	if (how < 224)
		return f->min + choose_bytes(&g->in, 2);
	if (how < 240)
		return (1ull << (how & 15) << 8) - choose(&g->in);
	return choose_bytes(&g->in, f->size);
}

/* Device memory, pinned memory, or a place in the bounce area: all start from an answer or from 0. */
static uint64_t pointer(struct guest *g)
{
	uint8_t how = choose(&g->in), which = choose(&g->in);

	if (how < 128)
		return recall(g, VGPU_FIELD_POINTER, which) + (how & 64 ? choose(&g->in) * (how & 7u) : 0);
	if (how < 160)
		return (uint64_t)which << (how & 31);
	if (how < 224) {
		uint64_t va = 0x300000000000ull + ((uint64_t)which << 21);

		remember(g, VGPU_FIELD_POINTER, va); /* as good as any for host_map */
		return va;
	}
	if (how < 240)
		return recall(g, VGPU_FIELD_ARRAY, which);
	return choose_bytes(&g->in, 8);
}

static uint64_t field_value(struct guest *g, const struct vgpu_field *f)
{
	uint8_t how;

	if (f->kind == VGPU_FIELD_NUMBER)
		return number(g, f);
	if (f->kind == VGPU_FIELD_POINTER)
		return pointer(g);
	how = choose(&g->in);
	if (how < 240)
		return how % 8 == 7 && f->kind == VGPU_FIELD_STREAM ? 0 : recall(g, f->kind, how);
	return choose_bytes(&g->in, f->size);
}

/* The body, as the table lays it out; replies go to the end of the parameter area. */
static void fill_body(struct guest *g, unsigned op, uint8_t *body, bool honest)
{
	const struct vgpu_op_info *o = &vgpu_op_info[op];

	for (size_t i = 0; i < sizeof(vgpu_fields) / sizeof(*vgpu_fields); i++) {
		const struct vgpu_field *f = &vgpu_fields[i];
		uint64_t v;

		if (f->op != op || f->out || (o->reply_max && f->at + 8u >= o->in_size))
			continue;
		v = field_value(g, f);
		memcpy(body + f->at, &v, f->size);
	}
	if (o->reply_max) {
		uint32_t where[2] = { VGPU_CH_BOUNCE_OFF - VGPU_BLOCK_SIZE, o->reply_max };

		if (!honest)
			choose_into(&g->in, where, sizeof(where));
		g->may_break |= !honest;
		memcpy(body + o->in_size - 8, where, 8);
	}
}

/* Text a driver may know, or bytes. Its length. */
static uint32_t payload(struct guest *g, unsigned op, uint8_t *to, uint32_t min, uint32_t max)
{
	static const char *const words[] = { "echo", "busy", "fault", "none", "echo 8 4 16\nbusy 8\nnone\n",
					     "fault 4\nnone 1 2 4 8 16\n", "bad", "global", "busy 8 8\necho 8\n" };
	uint8_t how = choose(&g->in);
	uint32_t n = 0;

	if (how < 128) {
		const char *w = words[how % (sizeof(words) / sizeof(*words))];

		n = (uint32_t)strlen(w);
		memcpy(to, w, n);
	} else if (how < 192) { /* kernel parameters: a pointer first */
		uint64_t p = pointer(g);

		memcpy(to, &p, 8);
		n = 8 + (how & 31u);
		choose_into(&g->in, to + 8, n - 8);
	} else {
		n = (uint32_t)choose_into(&g->in, to, choose(&g->in));
	}
	if (how % 16 == 15)
		n = max;
	return n < min ? min : n > max ? max : n;
}

static unsigned free_tag(struct guest *g)
{
	for (unsigned t = 0; t < OPEN_MAX; t++)
		if (!g->open[t])
			return t;
	settle(g);
	return 0;
}

enum { HOW_WAIT = 3, HOW_NO_REPLY = 4, HOW_FOLLOWS = 8, HOW_OTHER_CTX = 16, HOW_LIE = 32, HOW_SCRIBBLE = 64 };

/* One call. how: bits of HOW_*; without HOW_LIE it is well-formed. */
static void call(struct guest *g, unsigned op, uint8_t how)
{
	const struct vgpu_op_info *o = &vgpu_op_info[op];
	struct vgpu_entry e = { .opcode = (vg_u16)op, .ctx = (vg_u32)recall(g, VGPU_FIELD_CTX, 0) };
	uint32_t spilled = o->in_size > VGPU_INLINE_IN ? o->in_size : 0;
	uint8_t *room = (uint8_t *)g->x->channel + VGPU_CH_PARAM_OFF + (g->work + g->ctl) % 16 * VGPU_BLOCK_SIZE;
	uint8_t body[EXEC_BODY_MAX] = { 0 };
	bool work = o->flags & VGPU_OP_WORK, lie = how & HOW_LIE && choose(&g->in) % 4 == 0;

	if (how & HOW_OTHER_CTX)
		e.ctx = (vg_u32)recall(g, VGPU_FIELD_CTX, choose(&g->in));
	fill_body(g, op, body, !lie);
	if (spilled)
		memcpy(room, body, spilled);
	else
		memcpy(e.body, body, VGPU_INLINE_IN);
	e.pay_len = spilled;
	if (o->payload_max)
		e.pay_len += payload(g, op, room + spilled, o->payload_min, o->payload_max);
	if (e.pay_len)
		e.pay_off = (vg_u32)((char *)room - (char *)g->x->channel);
	if (o->flags & VGPU_OP_SYNC || !(how & HOW_NO_REPLY))
		e.flags |= VGPU_E_REPLY;
	if (o->flags & VGPU_OP_FOLLOWS && how & HOW_FOLLOWS) {
		e.flags |= VGPU_E_FOLLOWS;
		e.follows = (vg_u32)g->work;
	}
	if (lie) { /* one field of the head, any value */
		uint8_t *at = (uint8_t *)&e;

		at[choose(&g->in) % offsetof(struct vgpu_entry, body)] ^= choose(&g->in);
		g->may_break = true;
	}
	e.tag = lie ? e.tag : free_tag(g);
	if (e.flags & VGPU_E_REPLY && !lie) {
		g->open[e.tag] = (uint8_t)(op + 1);
		g->waiting++;
	}
	g->scribble = how & HOW_SCRIBBLE && !(how & HOW_LIE);
	publish(g, &e, work ^ (lie && choose(&g->in) % 8 == 0));
	if (work && !lie)
		g->behind[e.tag] = g->work;
	if (lie || how % HOW_WAIT == 0 || g->work - vgpu_load64(&g->x->host->work_tail) > 900 || g->waiting > 200)
		settle(g);
	else if (g->scribble)
		turn(g);
	g->scribble = false;
}

/* Steps that are no call. */
static void other_step(struct guest *g, uint8_t what)
{
	struct vgpu_ch_guest *w = g->x->guest;

	switch (what % 6) {
	case 0:
		atomic_store(&due, true);
		break;
	case 1: {
		struct vgpu_entry e = { 0 };

		choose_into(&g->in, &e, sizeof(e));
		e.flags &= (vg_u16)~VGPU_E_REPLY; /* an answer nobody waits for would be ours to explain */
		g->may_break = true;
		publish(g, &e, what & 64);
		settle(g);
		break;
	}
	case 2:
		vgpu_store32(&w->sleeping, choose(&g->in));
		break;
	case 3:
		g->may_break = true;
		vgpu_store64(&w->cpl_tail, choose_bytes(&g->in, 2));
		break;
	case 4:
		if (choose(&g->in) % 8)
			break;
		settle(g); /* what is taken back before it was seen gets no answer */
		g->may_break = true;
		vgpu_store64(what & 64 ? &w->work_head : &w->ctl_head, choose_bytes(&g->in, 8));
		break;
	default:
		settle(g);
	}
}

static unsigned opcodes[VGPU_OP_COUNT], n_opcodes;

static void list_opcodes(void)
{
	if (n_opcodes)
		return;
	for (unsigned op = 0; op < VGPU_OP_COUNT; op++)
		if (vgpu_op_info[op].name)
			opcodes[n_opcodes++] = op;
}

/* A step's first byte below this is a call. */
static unsigned calls_end(void)
{
	return 256 / n_opcodes * n_opcodes - n_opcodes;
}

static void play(struct guest *g, const uint8_t *data, size_t len)
{
	call(g, VGPU_OP_CTX_PRIMARY, 0);
	for (unsigned i = 0; i < STEPS_MAX && len && atomic_load(&g->x->broken) == SERVING; i++) {
		size_t n = len < STEP ? len : STEP;
		uint8_t what;

		g->in = (struct choices){ data, n };
		data += n;
		len -= n;
		what = choose(&g->in);
		if (what >= calls_end())
			other_step(g, what);
		else
			call(g, opcodes[what % n_opcodes], choose(&g->in));
	}
	if (atomic_load(&g->x->broken) == SERVING && !g->may_break)
		settle(g);
}

#ifdef VGPU_LIBFUZZER
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

/* opcode, how, and the first choices; the rest is 0: least values and the oldest objects. */
static const struct recipe {
	uint8_t steps;
	struct {
		uint8_t op, how, choice[14];
	} step[5];
} recipes[] = {
	{ 5, { { VGPU_OP_IMAGE_NEW, 0, { 95 } },
	       { VGPU_OP_IMAGE_WRITE, 0, { 0, 0, 4 } },
	       { VGPU_OP_MODULE_LOAD, 0, { 0 } },
	       { VGPU_OP_MODULE_FUNCTION, 0, { 0, 0 } },
	       { VGPU_OP_LAUNCH, 0, { 0, 7, 0, 0, 0, 0, 152 } } } },
	{ 3, { { VGPU_OP_IMAGE_NEW, 0, { 95 } },
	       { VGPU_OP_IMAGE_WRITE, 0, { 0, 0, 5 } },
	       { VGPU_OP_MODULE_LOAD, 0, { 0, 60, 60 } } } },
	{ 2, { { VGPU_OP_MODULE_FUNCTION, 0, { 0, 1 } }, { VGPU_OP_LAUNCH, 0, { 1, 7, 0, 0, 0, 0, 144 } } } },
	{ 2, { { VGPU_OP_MODULE_GLOBAL, 0, { 0, 7 } }, { VGPU_OP_MODULE_NAMES, 0, { 0 } } } },
	{ 2, { { VGPU_OP_MEM_ALLOC, 0, { 213, 0, 4 } }, { VGPU_OP_MEMSET, 0, { 0, 0, 0, 213, 0, 1, 0, 7 } } } },
	{ 2, { { VGPU_OP_HOST_MAP, 0, { 161, 1, 0 } }, { VGPU_OP_COPY, 0, { 0, 0, 0, 1, 64, 7 } } } },
	{ 3, { { VGPU_OP_EVENT_CREATE, 0, { 0 } },
	       { VGPU_OP_EVENT_RECORD, 0, { 0, 7 } },
	       { VGPU_OP_EVENT_SYNC, 0, { 0 } } } },
	{ 2, { { VGPU_OP_ARRAY_CREATE, 0, { 64, 8, 0, 1 } }, { VGPU_OP_TEXTURE_CREATE, 0, { 0 } } } },
	{ 2, { { VGPU_OP_CTX_CREATE, 0, { 0 } }, { VGPU_OP_STREAM_CREATE, HOW_OTHER_CTX, { 1 } } } },
};

static size_t insert(uint8_t *data, size_t size, size_t max, size_t at, const uint8_t *step)
{
	if (size + STEP > max)
		return size;
	memmove(data + at + STEP, data + at, size - at);
	memcpy(data + at, step, STEP);
	return size + STEP;
}

static size_t insert_recipe(uint8_t *data, size_t size, size_t max, size_t at, const struct recipe *r)
{
	for (unsigned i = 0; i < r->steps; i++) {
		uint8_t step[STEP] = { 0 };

		while (opcodes[step[0]] != r->step[i].op)
			step[0]++;
		step[1] = r->step[i].how;
		memcpy(step + 2, r->step[i].choice, sizeof(r->step[i].choice));
		size = insert(data, size, max, at + i * STEP <= size ? at + i * STEP : size, step);
	}
	return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	size_t steps = size / STEP, at = steps ? seed / 16 % steps * STEP : 0, from = steps ? seed / 4096 % steps * STEP : 0;
	uint8_t step[STEP] = { 0 };

	list_opcodes();
	size = steps * STEP;
	switch (seed % 16) {
	case 0:
	case 1:
		return insert_recipe(data, size, max, at, &recipes[seed / 65536 % (sizeof(recipes) / sizeof(*recipes))]);
	case 2:
		step[0] = (uint8_t)(seed / 65536);
		return insert(data, size, max, at, step);
	case 3: /* once more, with what it used perhaps gone */
		if (steps)
			memcpy(step, data + from, STEP);
		return insert(data, size, max, at, step);
	case 4:
		if (steps < 2)
			break;
		memmove(data + at, data + at + STEP, size - at - STEP);
		return size - STEP;
	case 5:
		memcpy(step, data + at, steps ? STEP : 0);
		memmove(data + at, data + from, steps ? STEP : 0);
		memcpy(data + from, step, steps ? STEP : 0);
		return size;
	default:
		break;
	}
	if (!steps)
		return insert(data, size, max, 0, step);
	LLVMFuzzerMutate(data + at, STEP, STEP);
	return size;
}
#endif

/* ---- set-up ---- */

static void open_driver(void)
{
	static const struct {
		const char *name;
		size_t at;
	} slots[] = {
#define F(name) { #name, offsetof(struct cuda_driver, name) },
		CUDA_REQUIRED(F) CUDA_OPTIONAL(F)
#undef F
	};

	for (size_t i = 0; i < sizeof(slots) / sizeof(*slots); i++) {
		void *p = dlsym(RTLD_DEFAULT, slots[i].name);

		memcpy((char *)&driver + slots[i].at, &p, sizeof(p));
	}
	MUST(driver.cuInit && driver.cuLaunchKernel);
}

static struct exec_env *environment(void)
{
	static atomic_int stop;
	static struct exec_env env = { .driver = &driver, .ops = &ops, .stop = &stop, .bar_size = VGPU_BAR_MIN, .context_bytes = 4096 };

	if (!env.bar) {
		open_driver();
		list_opcodes();
		env.memfd = memfd_create("bar", MFD_CLOEXEC);
		env.bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		env.irq_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		env.stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		MUST(env.memfd >= 0 && ftruncate(env.memfd, (off_t)VGPU_BAR_MIN) == 0);
		env.bar = mmap(NULL, VGPU_BAR_MIN, PROT_READ | PROT_WRITE, MAP_SHARED, env.memfd, 0);
		MUST(env.bar != MAP_FAILED);
		decoder = pthread_self();
		nulldriver_called = change_mind;
		nulldriver_busy_max = 200000;
	}
	return &env;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct exec_env *env = environment();
	int error;

	nulldriver_reset();
	atomic_store(&taken, 0);
	atomic_store(&due, false);
	drain_fd(env->irq_fd);
	MUST(!fallocate(env->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)VGPU_BAR_MIN));
	MUST(exec_prepare(env) == 0);
	memset(&guest, 0, sizeof(guest));
	guest.x = serve_begin(env);
	MUST(guest.x);
	play(&guest, data, len);
	error = atomic_load(&guest.x->broken);
	MUST(error == SERVING || (error == VGPU_ERR_PROTOCOL && guest.may_break));
	guest.faulted |= atomic_load(&guest.x->sticky) != 0;
	serve_end(guest.x, error == SERVING ? VGPU_ERR_NONE : error);
	MUST(guest.faulted || atomic_load(&taken) == 0);
	return 0;
}
