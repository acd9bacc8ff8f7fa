/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decoder: takes entries, checks them, runs or hands them on. Everything read from the channel
 * is copied once, here, before it is looked at.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "executor/call.h"
#include "wire/ops_dec.h"

#define BIG_COPY (512u << 10) /* bytes copied since the last mark */
#define SERVING (-1)	 /* x->broken while all is well; anything else ends serving */
#define PARKED_MAX VGPU_CH_CPL_ENTRIES

static struct {
	CUdevice dev;
	CUcontext primary;
} prepared;

static _Thread_local uint32_t current_ctx;
static _Thread_local struct exec *current_exec;

/* ---- small services for the other files ---- */

void exec_break(struct exec *x, int error)
{
	int serving = SERVING;

	if (atomic_compare_exchange_strong(&x->broken, &serving, error) && error != VGPU_ERR_NONE &&
	    x->env->ops->broken)
		x->env->ops->broken(x->env->ops_ctx, error);
	exec_wake(x);
}

static bool is_sticky(int rc)
{
	static const int codes[] = {
		CUDA_ERROR_ECC_UNCORRECTABLE, CUDA_ERROR_ILLEGAL_ADDRESS, CUDA_ERROR_LAUNCH_TIMEOUT,
		CUDA_ERROR_ASSERT, CUDA_ERROR_HARDWARE_STACK_ERROR, CUDA_ERROR_ILLEGAL_INSTRUCTION,
		CUDA_ERROR_MISALIGNED_ADDRESS, CUDA_ERROR_INVALID_ADDRESS_SPACE, CUDA_ERROR_INVALID_PC,
		CUDA_ERROR_LAUNCH_FAILED,
	};

	for (unsigned i = 0; i < sizeof(codes) / sizeof(*codes); i++)
		if (rc == codes[i])
			return true;
	return false;
}

/* Perhaps not the program's doing: whoever uses this device next may meet it as well. A check decides. */
static bool is_device_fault(int rc)
{
	static const int codes[] = {
		CUDA_ERROR_DEVICE_UNAVAILABLE, CUDA_ERROR_ECC_UNCORRECTABLE, CUDA_ERROR_NVLINK_UNCORRECTABLE, CUDA_ERROR_NO_DEVICE,
		CUDA_ERROR_SYSTEM_NOT_READY, CUDA_ERROR_UNKNOWN};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (rc == codes[i])
			return true;
	return false;
}

void exec_sticky(struct exec *x, int rc)
{
	uint32_t none = 0;

	if (rc && is_device_fault(rc) && x->env->ops->sick && !atomic_flag_test_and_set(&x->told_sick))
		x->env->ops->sick(x->env->ops_ctx, rc);

	if (rc && is_sticky(rc) && atomic_compare_exchange_strong(&x->sticky, &none, (uint32_t)rc))
		vgpu_store32(&x->host->sticky_error, (uint32_t)rc);
}

void exec_wake(struct exec *x)
{
	uint64_t one = 1;

	if (atomic_load(&x->asleep) && write(x->wake_fd, &one, sizeof(one)) < 0)
		atomic_store(&x->nudge, true); /* counter full: it is readable anyway */
}

struct obj *exec_use_ctx(struct exec *x, uint32_t ctx)
{
	struct obj *o = obj_get(&x->handles, OBJ_CTX, ctx, 0); /* another thread may have destroyed it */

	if (o && ctx == current_ctx && current_exec == x)
		return o;
	if (!o || x->drv->cuCtxSetCurrent(o->real))
		return NULL;
	current_ctx = ctx;
	current_exec = x;
	return o;
}

void exec_grace(struct exec *x)
{
	uint32_t turn = atomic_load(&x->turn);

	while (atomic_load(&x->turn) == turn && !atomic_load(&x->asleep) && atomic_load(&x->broken) == SERVING)
		sched_yield();
}

void exec_ctx_ending(struct exec *x)
{
	atomic_fetch_add(&x->ending, 1);
}

/* The first turn to begin may have looked at `ending` too early. */
void exec_ctx_settle(struct exec *x)
{
	exec_grace(x);
	exec_grace(x);
	atomic_fetch_sub(&x->ending, 1);
}

int exec_use_live(struct exec *x, struct obj *ctx)
{
	if (exec_use_ctx(x, obj_handle(ctx)))
		return CUDA_SUCCESS;
	current_ctx = 0;
	return x->drv->cuCtxSetCurrent(ctx->real);
}

static void interrupt_guest(struct exec *x)
{
	uint64_t one = 1;

	if (vgpu_peer_sleeps(&x->guest->sleeping) && write(x->env->irq_fd, &one, sizeof(one)) < 0)
		return; /* full counter = pending interrupt */
}

void exec_post(struct exec *x, uint32_t tag, int rc, const struct call *c)
{
	struct vgpu_completion *slot;
	uint64_t tail;

	pthread_mutex_lock(&x->cpl_lock);
	tail = vgpu_load64(&x->guest->cpl_tail);
	if (x->cpl_head - tail >= VGPU_CH_CPL_ENTRIES) {
		pthread_mutex_unlock(&x->cpl_lock);
		exec_break(x, VGPU_ERR_PROTOCOL); /* more calls open than completions fit, or a bad tail */
		return;
	}
	slot = vgpu_cpl_slot(x->channel, x->cpl_head);
	slot->tag = tag;
	slot->result = rc;
	slot->reply_len = c ? c->reply_len : 0;
	slot->reserved = 0;
	if (c)
		memcpy(slot->body, c->out, sizeof(slot->body));
	vgpu_store64(&x->host->cpl_head, ++x->cpl_head);
	pthread_mutex_unlock(&x->cpl_lock);
	interrupt_guest(x);
}

/* The reply's place was checked when the call was taken. */
static void send_reply(struct exec *x, struct call *c)
{
	uint32_t where[2]; /* reply_off, reply_cap are the last fields of every body that has them */
	uint32_t at = c->op->in_size - sizeof(where);

	if (!c->reply)
		return;
	memcpy(where, c->body + at, sizeof(where));
	if (where[1])
		memcpy((char *)x->channel + where[0], c->reply, c->reply_len < where[1] ? c->reply_len : where[1]);
	free(c->reply);
	c->reply = NULL;
}

/* ---- taking an entry ---- */

static bool reply_ok(const struct call *c)
{
	uint32_t where[2];

	memcpy(where, c->body + c->op->in_size - sizeof(where), sizeof(where));
	return !where[1] || (where[1] <= c->op->reply_max && where[0] >= VGPU_CH_PARAM_OFF &&
	       where[0] <= VGPU_CH_BOUNCE_OFF && where[1] <= VGPU_CH_BOUNCE_OFF - where[0]);
}

/* Copies body and payload. `room` takes the payload; false = the protocol is broken. */
static bool take_payload(struct exec *x, struct call *c, uint8_t *room)
{
	const struct vgpu_op_info *op = c->op;
	uint32_t spilled = op->in_size > VGPU_INLINE_IN ? op->in_size : 0;
	uint32_t len = c->e.pay_len;

	if (len < spilled + op->payload_min || len > spilled + op->payload_max)
		return false;
	if (len && (c->e.pay_off < VGPU_CH_PARAM_OFF || c->e.pay_off > VGPU_CH_BOUNCE_OFF ||
		    len > VGPU_CH_BOUNCE_OFF - c->e.pay_off))
		return false;
	vgpu_copy_once(room, (char *)x->channel + c->e.pay_off, len);
	if (spilled)
		memcpy(c->body, room, spilled);
	else
		memcpy(c->body, c->e.body, VGPU_INLINE_IN);
	c->payload = room + spilled;
	c->payload_len = len - spilled;
	return !op->reply_max || reply_ok(c);
}

/* Looks at the head of c->e, which the caller has copied. */
static bool take_head(struct call *c, bool work)
{
	c->context = NULL;
	c->reply = NULL;
	c->reply_len = 0;
	c->stream = NULL;
	c->enqueued = c->running = false;
	if (c->e.opcode >= VGPU_OP_COUNT || !vgpu_op_info[c->e.opcode].name)
		return false;
	c->op = &vgpu_op_info[c->e.opcode];
	c->ctx = c->e.ctx;
	if (work != !!(c->op->flags & VGPU_OP_WORK) || (c->e.flags & ~(VGPU_E_REPLY | VGPU_E_FOLLOWS)))
		return false;
	if ((c->e.flags & VGPU_E_FOLLOWS) && !(c->op->flags & VGPU_OP_FOLLOWS))
		return false;
	return !(c->op->flags & VGPU_OP_SYNC) || (c->e.flags & VGPU_E_REPLY);
}

/* ---- running ---- */

void call_complete(struct exec *x, struct call *c, int rc)
{
	exec_sticky(x, rc);
	if (rc == CUDA_ERROR_NOT_SUPPORTED)
		x->env->ops->count_unsupported(x->env->ops_ctx, c->e.opcode);
	if (c->e.flags & VGPU_E_REPLY) {
		send_reply(x, c);
		exec_post(x, c->e.tag, rc, c);
	} else if (rc) {
		struct vgpu_host_words *w = vgpu_host_words(x->host);

		vgpu_store32(&w->late_error, (uint32_t)rc);
		vgpu_store64(&x->host->late_errors, ++x->late_errors);
	}
	free(c->reply);
	c->reply = NULL;
}

/* Calls without a context of their own still run after a fault: they touch no device. */
static int execute(struct exec *x, struct call *c)
{
	uint32_t sticky = atomic_load_explicit(&x->sticky, memory_order_relaxed);

	if (c->op->flags & VGPU_OP_CTX) {
		if (sticky)
			return (int)sticky;
		c->context = exec_use_ctx(x, c->ctx);
		if (!c->context)
			return CUDA_ERROR_INVALID_CONTEXT;
	}
	return exec_decoders[c->e.opcode](x, c);
}

void exec_run(struct exec *x, struct call *c)
{
	call_complete(x, c, execute(x, c));
}

static void run_control(struct exec *x, struct call *c)
{
	struct call *h;
	int rc;

	if (!(c->op->flags & VGPU_OP_HELPER)) {
		exec_run(x, c);
		return;
	}
	if (call_try(x, c, &rc)) {
		call_complete(x, c, rc);
		return;
	}
	h = malloc(sizeof(*h) + c->payload_len);
	if (!h) {
		call_complete(x, c, CUDA_ERROR_OUT_OF_MEMORY);
		return;
	}
	*h = *c;
	if (c->payload_len)
		memcpy(h + 1, c->payload, c->payload_len);
	h->payload = (uint8_t *)(h + 1);
	if (!helpers_submit(x, h)) {
		free(h);
		exec_break(x, VGPU_ERR_PROTOCOL);
	}
}

/* ---- control ring ---- */

/* Distance from the issued work to what the entry follows; 32 bits suffice as both lie in one ring. */
static int32_t follows_ahead(struct exec *x, const struct call *c)
{
	if (!(c->e.flags & VGPU_E_FOLLOWS))
		return 0;
	return (int32_t)(c->e.follows - (uint32_t)x->work_tail);
}

enum when { NOW, LATER, NOT_YET /* a query: answered that it is not ready */ };

static enum when control_when(struct exec *x, const struct call *c)
{
	if (follows_ahead(x, c) > 0)
		return LATER;
	if (!(c->e.flags & VGPU_E_FOLLOWS) || !x->held.head || !held_before(x, c))
		return NOW;
	return c->op->flags & VGPU_OP_QUERY ? NOT_YET : LATER;
}

static void run_when(struct exec *x, struct call *c, enum when when)
{
	if (when == NOW)
		run_control(x, c);
	else
		call_complete(x, c, CUDA_ERROR_NOT_READY);
}

static bool park(struct exec *x, const struct call *c)
{
	struct call *p;

	if (x->nparked >= PARKED_MAX || follows_ahead(x, c) > (int32_t)VGPU_CH_WORK_ENTRIES)
		return false;
	p = malloc(sizeof(*p) + c->payload_len);
	if (!p)
		return false;
	*p = *c;
	if (c->payload_len)
		memcpy(p + 1, c->payload, c->payload_len);
	p->payload = (uint8_t *)(p + 1);
	p->next = NULL;
	x->nparked++;
	for (struct call **at = &x->parked;; at = &(*at)->next)
		if (!*at) {
			*at = p;
			return true;
		}
}

static void unpark(struct exec *x)
{
	for (struct call **at = &x->parked; *at;) {
		struct call *c = *at;
		enum when when = control_when(x, c);

		if (when == LATER) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		x->nparked--;
		run_when(x, c, when);
		free(c);
	}
}

static bool serve_control(struct exec *x)
{
	uint64_t head = vgpu_load64(&x->guest->ctl_head);
	bool did = head != x->ctl_tail;
	struct call c;

	if (head - x->ctl_tail > VGPU_CH_CTL_ENTRIES) {
		exec_break(x, VGPU_ERR_PROTOCOL);
		return false;
	}
	while (x->ctl_tail != head && atomic_load(&x->broken) == SERVING) {
		enum when when = NOW;
		bool ok;

		vgpu_copy_once(&c.e, vgpu_ctl_slot(x->channel, x->ctl_tail), sizeof(c.e));
		ok = take_head(&c, false) && take_payload(x, &c, x->payload);
		if (ok)
			when = control_when(x, &c);
		if (ok && when == LATER)
			ok = park(x, &c);
		else if (ok)
			run_when(x, &c, when);
		if (!ok) {
			exec_break(x, VGPU_ERR_PROTOCOL);
			return false;
		}
		vgpu_store64(&x->host->calls, ++x->calls);
		vgpu_store64(&x->host->ctl_tail, ++x->ctl_tail);
	}
	return did;
}

/* ---- work ring ---- */

/* May the entry be issued now? Otherwise it waits in x->taken. */
bool exec_may_issue(struct exec *x, const struct call *c)
{
	if (!marks_room(x))
		return false;
	if (!throttle_allows(x, c)) {
		marks_close(x);
		return false;
	}
	if ((c->op->flags & VGPU_OP_GATED) && exec_in_flight(x) >= throttle_window(x)) {
		marks_close(x);
		return false;
	}
	return !(c->op->flags & VGPU_OP_GATED) || atomic_load(&x->sticky) || gate_open(x);
}

int exec_issue(struct exec *x, struct call *c)
{
	int rc;

	marks_begin(x, c);
	rc = execute(x, c);
	if (c->enqueued && !rc) {
		if (marks_touch(x, c)) /* posts the completion when the device is through */
			c->e.flags &= ~VGPU_E_REPLY;
		else
			rc = CUDA_ERROR_CONTEXT_IS_DESTROYED;
	}
	call_complete(x, c, rc);
	return rc;
}

void exec_charge(struct exec *x)
{
	const struct exec_ops *ops = x->env->ops;

	if (x->charged_launches)
		ops->charge_launches(x->env->ops_ctx, x->charged_launches);
	if (x->charged_bytes)
		ops->charge_bytes(x->env->ops_ctx, x->charged_bytes);
	throttle_charged(x);
	x->charged_launches = 0;
	x->charged_bytes = 0;
}

/* Copies what the guest has published, once. false: the protocol is broken. */
static bool take_work(struct exec *x)
{
	uint64_t head = vgpu_load64(&x->guest->work_head);

	if (head - x->work_tail > VGPU_CH_WORK_ENTRIES)
		return false;
	seen_note(x, head);
	for (; (int64_t)(head - x->work_taken) > 0 && x->work_taken - x->work_tail < EXEC_TAKEN; x->work_taken++) {
		struct vgpu_entry *e = &x->taken[x->work_taken % EXEC_TAKEN];

		vgpu_copy_once(e, vgpu_work_slot(x->channel, x->work_taken), sizeof(*e));
		if (e->pay_len && e->pay_off < VGPU_CHANNEL_STRIDE)
			__builtin_prefetch((char *)x->channel + e->pay_off);
	}
	return true;
}

/* What the guest may reuse now. */
static void publish_tail(struct exec *x)
{
	vgpu_store64(&x->host->work_tail, x->work_tail);
	vgpu_store64(&x->host->calls, x->calls);
	exec_charge(x);
}

/* Somebody waits for what was issued, or for its staging memory. */
static void hurry(struct exec *x)
{
	if (!x->marks.open.calls && x->charged_bytes <= BIG_COPY)
		return;
	marks_close(x);
	publish_tail(x);
	marks_poll(x);
}

/* Issues the first entry taken or sets it aside; false: it stays where it is, or the protocol is broken. */
static bool serve_entry(struct exec *x)
{
	struct call c;

	c.e = x->taken[x->work_tail % EXEC_TAKEN];
	c.index = x->work_tail;
	if (!take_head(&c, true) || !take_payload(x, &c, x->payload)) {
		exec_break(x, VGPU_ERR_PROTOCOL);
		return false;
	}
	if (held_wants(x, &c))
		return held_add(x, &c);
	if (!exec_may_issue(x, &c))
		return false;
	exec_issue(x, &c);
	return true;
}

static bool serve_held(struct exec *x)
{
	bool did = held_step(x);

	if (did) {
		hurry(x);
		exec_charge(x);
	}
	if (x->held.moved && x->parked)
		unpark(x);
	x->held.moved = false;
	return did;
}

static bool serve_work(struct exec *x)
{
	unsigned n = 0;

	if (!take_work(x)) {
		exec_break(x, VGPU_ERR_PROTOCOL);
		return false;
	}
	if (x->work_tail != x->work_taken)
		throttle_ask(x);
	while (x->work_tail != x->work_taken && atomic_load_explicit(&x->broken, memory_order_relaxed) == SERVING &&
	       serve_entry(x)) {
		n++;
		x->work_tail++;
		x->calls++;
		hurry(x);
	}
	if (n)
		publish_tail(x);
	if (x->parked && n)
		unpark(x);
	return n != 0;
}

/* ---- idling ---- */

/* Behind a host function with no room to hold more, the ring waits for the control ring. */
static bool ring_waiting(struct exec *x)
{
	return !x->held.full && vgpu_load64(&x->guest->work_head) != x->work_tail;
}

static bool work_waiting(struct exec *x)
{
	return vgpu_load64(&x->guest->ctl_head) != x->ctl_tail || ring_waiting(x);
}

/* A work entry that could not be issued waits for the window or the lease, not for the guest. */
static bool blocked(struct exec *x)
{
	return x->held.stuck || ring_waiting(x);
}

static void drain_fd(int fd)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		return; /* nothing there */
}

/* True when somebody called, false when only time passed. */
static bool sleep_until_called(struct exec *x, bool was_blocked, uint64_t most)
{
	uint64_t recheck = VGPU_RECHECK_MS * 1000000ull;
	struct timespec limit = { .tv_nsec = (long)(most && most < recheck ? most : recheck) };
	struct pollfd p[3] = { { .fd = x->env->bell_fd, .events = POLLIN },
			       { .fd = x->wake_fd, .events = POLLIN },
			       { .fd = x->env->stop_fd, .events = POLLIN } };
	bool again;

	atomic_store(&x->nudge, was_blocked);
	atomic_store(&x->asleep, true);
	x->sleeps += VGPU_SLEEP_NEXT;
	vgpu_store32(&x->host->sleeping, x->sleeps + (was_blocked ? VGPU_SLEEP_CONTROL : VGPU_SLEEP_ANY));
	vgpu_fence();
	again = was_blocked ? vgpu_load64(&x->guest->ctl_head) != x->ctl_tail ||
			      (!x->throttle.waits && atomic_load(&x->gate) == GATE_HELD &&
			       exec_in_flight(x) < throttle_window(x))
			    : work_waiting(x);
	if (!again && atomic_load(&x->broken) == SERVING) {
		marks_delegate(x);
		ppoll(p, 3, &limit, NULL);
	}
	vgpu_store32(&x->host->sleeping, 0);
	atomic_store(&x->asleep, false);
	if (p[0].revents)
		drain_fd(x->env->bell_fd);
	if (p[1].revents)
		drain_fd(x->wake_fd);
	return p[0].revents || p[1].revents;
}

/* Looks for work a while before it sleeps. Blocked by a full window or the lease it need not, nor beside a
 * long copy: the device, or another tenant, has work for longer than a wake-up takes. */
static bool spin_for_work(struct exec *x, uint64_t until)
{
	bool found = false;

	while (!found && vgpu_now_ns() < until) {
		for (int i = 0; i < 8; i++)
			vgpu_pause();
		marks_poll(x);
		atomic_fetch_add(&x->turn, 1);
		found = work_waiting(x);
	}
	vgpu_spin_learn(&x->spin, found);
	return found;
}

static void idle(struct exec *x)
{
	uint64_t since = vgpu_now_ns();
	bool was_blocked = blocked(x);
	uint64_t keeps = 0;

	marks_close(x);
	if (!was_blocked && !atomic_load(&x->marks.long_copies) && spin_for_work(x, since + x->spin.budget_ns))
		return;
	gate_step(x);
	if (!was_blocked || x->throttle.waits)
		keeps = gate_idle(x);
	if (!keeps)
		keeps = gate_ending(x);
	if (sleep_until_called(x, was_blocked, keeps) && !was_blocked)
		vgpu_spin_waited(&x->spin, vgpu_now_ns() - since);
}

/* A look at everything there is to do; false: nothing. */
static bool serve_turn(struct exec *x)
{
	bool did;

	if (atomic_load(&x->ending))
		marks_close(x);
	atomic_fetch_add(&x->turn, 1);
	x->throttle.waits = false;
	did = serve_control(x);
	did |= serve_held(x);
	did |= serve_work(x);
	marks_poll(x);
	gate_step(x);
	return did;
}

static int serve_loop(struct exec *x)
{
	while (atomic_load(&x->broken) == SERVING && !atomic_load(x->env->stop))
		if (!serve_turn(x))
			idle(x);
	return atomic_load(&x->broken) == SERVING ? VGPU_ERR_NONE : atomic_load(&x->broken);
}

/* ---- begin and end ---- */

int exec_prepare(struct exec_env *env)
{
	const struct cuda_driver *d = env->driver;
	int rc = d->cuInit(0);

	if (!rc)
		rc = d->cuDeviceGet(&prepared.dev, env->device);
	if (!rc)
		rc = d->cuDevicePrimaryCtxRetain(&prepared.primary, prepared.dev);
	return rc ? rc : (int)d->cuCtxSetCurrent(prepared.primary);
}

static void map_channel(struct exec *x)
{
	x->channel = (char *)x->env->bar + VGPU_CHANNEL_OFF + (uint64_t)x->env->channel * VGPU_CHANNEL_STRIDE;
	x->host = vgpu_ch_host(x->channel);
	x->guest = vgpu_ch_guest(x->channel);
	x->bounce = (uint8_t *)vgpu_ch(x->channel, VGPU_CH_BOUNCE_OFF);
	/* Unregistered bounce only makes the driver stage once more. */
	x->bounce_registered = !x->drv->cuMemHostRegister_v2(x->bounce, VGPU_CH_BOUNCE_SIZE,
							     CU_MEMHOSTREGISTER_PORTABLE);
}

static struct exec *exec_new(struct exec_env *env)
{
	struct exec *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->env = env;
	x->drv = env->driver;
	x->dev = prepared.dev;
	atomic_store(&x->broken, SERVING);
	pthread_mutex_init(&x->mem_lock, NULL);
	pthread_mutex_init(&x->cpl_lock, NULL);
	pthread_mutex_init(&x->primary_lock, NULL);
	pthread_mutex_init(&x->link_lock, NULL);
	pthread_mutex_init(&x->limit_lock, NULL);
	handles_init(&x->handles);
	vgpu_spin_init(&x->spin);
	x->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	x->drv->cuCtxSetCurrent(prepared.primary);
	current_ctx = 0;
	map_channel(x);
	x->primary = obj_add(&x->handles, OBJ_CTX, 0, prepared.primary);
	return x;
}

static void announce(struct exec *x)
{
	struct vgpu_host_words *w = vgpu_host_words(x->host);

	uint64_t one = 1;

	w->api_hash = VGPU_API_HASH;
	vgpu_store32(&w->ready, 1);
	if (write(x->env->irq_fd, &one, sizeof(one)) < 0)
		return; /* full counter = pending interrupt */
}

static struct exec *serve_begin(struct exec_env *env)
{
	struct exec *x = exec_new(env);

	if (!x || x->wake_fd < 0 || marks_start(x) || helpers_start(x))
		return NULL;
	announce(x);
	return x;
}

static void serve_end(struct exec *x, int error)
{
	exec_break(x, error);
	gate_stop(x);
	marks_stop(x);
	helpers_stop(x);
	while (x->parked) {
		struct call *c = x->parked;

		x->parked = c->next;
		free(c);
	}
	held_free(x);
	exec_release_all(x);
	if (x->bounce_registered)
		x->drv->cuMemHostUnregister(x->bounce);
	close(x->wake_fd);
	handles_free(&x->handles);
	vgpu_ranges_clear(&x->mem);
	vgpu_ranges_clear(&x->textures);
	free(x);
}

int exec_serve(struct exec_env *env)
{
	struct exec *x = serve_begin(env);
	int error;

	if (!x)
		return VGPU_ERR_SPAWN;
	error = serve_loop(x);
	serve_end(x, error);
	return error;
}
