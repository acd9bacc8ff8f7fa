/* SPDX-License-Identifier: Apache-2.0 */
#define CUDA_EXACT_NAMES
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include "cuda/cuda.h"
#include "guest/client.h"

#define START_TIMEOUT_MS 30000
#define SLOT_BITS 9u
#define COPY_BYTES_PER_NS 8u /* one core's copy, roughly */
#define COPY_SPIN_MAX (4u << 20)
#define ROOM_SPINS 20u /* some microseconds */
#define ROOM_NAP_NS 50000l
#define ROOM_NAPS 4u /* doublings */
/* Who found the work ring full waits for this many free entries: one at a time would wake it for each. The
 * executor has the rest to do meanwhile, three times of what it took for these. */
#define ROOM_ENTRIES (VGPU_CH_WORK_ENTRIES / 4)
_Static_assert(1u << SLOT_BITS == CLIENT_SLOTS, "tag holds the slot number");

/* ---- death ---- */

static const struct {
	int result;
	const char *text;
} deaths[] = {
	[VGPU_ERR_NONE] = { CUDA_ERROR_DEVICE_UNAVAILABLE, "the device is gone: unplugged, or its host side ended" },
	[VGPU_ERR_EXECUTOR_CRASHED] = { CUDA_ERROR_LAUNCH_FAILED, "the executor of this process died" },
	[VGPU_ERR_PROTOCOL] = { CUDA_ERROR_UNKNOWN, "the host refused what this process wrote into its channel" },
	[VGPU_ERR_TIMEOUT] = { CUDA_ERROR_LAUNCH_TIMEOUT, "a kernel ran longer than the job timeout" },
	[VGPU_ERR_QUARANTINED] = { CUDA_ERROR_SYSTEM_NOT_READY,
				   "this VM is in quarantine after repeated faults; an administrator must run "
				   "vgpu-admin clear-quarantine" },
	[VGPU_ERR_NO_DEVICE] = { CUDA_ERROR_NO_DEVICE, "the host could not open its driver or device" },
	[VGPU_ERR_QUOTA] = { CUDA_ERROR_OUT_OF_MEMORY, "a context does not fit into this VM's memory quota" },
	[VGPU_ERR_SPAWN] = { CUDA_ERROR_SYSTEM_NOT_READY, "the host could not start an executor" },
	[VGPU_ERR_KEEPER_GONE] = { CUDA_ERROR_DEVICE_UNAVAILABLE, "vgpud has ended" },
	[VGPU_ERR_REMOVED] = { CUDA_ERROR_DEVICE_UNAVAILABLE, "this VM was removed by an administrator" },
	[VGPU_ERR_DEVICE_LOST] = { CUDA_ERROR_DEVICE_UNAVAILABLE, "the device failed or was taken out of service" },
};

static int die(struct vgpu_client *cl, uint32_t error)
{
	int alive = 0, result;

	if (error >= sizeof(deaths) / sizeof(*deaths))
		error = VGPU_ERR_NONE;
	result = deaths[error].result;
	if (atomic_compare_exchange_strong(&cl->dead, &alive, result)) {
		fprintf(stderr, "libcuda (OpenVGPU): %s\n", deaths[error].text);
		pthread_mutex_lock(&cl->sleep_lock);
		pthread_cond_broadcast(&cl->sleep_change);
		pthread_mutex_unlock(&cl->sleep_lock);
		pthread_mutex_lock(&cl->ctl_lock);
		pthread_cond_broadcast(&cl->ctl_room);
		pthread_mutex_unlock(&cl->ctl_lock);
	}
	return atomic_load(&cl->dead);
}

int client_death(struct vgpu_client *cl, bool look)
{
	const volatile struct vgpu_header *h = cl->port->header;
	const volatile struct vgpu_channel_status *ch = &h->channel[cl->port->channel];
	int dead = atomic_load_explicit(&cl->dead, memory_order_relaxed);

	if (dead || !look)
		return dead;
	if (ch->state != VGPU_CH_RUN || ch->generation != cl->port->generation)
		return die(cl, ch->state == VGPU_CH_DEAD ? ch->error : h->error);
	return 0;
}

int client_error(struct vgpu_client *cl)
{
	int dead = atomic_load_explicit(&cl->dead, memory_order_relaxed);

	return dead ? dead : (int)vgpu_load32(&cl->host->sticky_error);
}

int client_late_error(struct vgpu_client *cl)
{
	uint64_t n = vgpu_load64(&cl->host->late_errors);

	if (n == __atomic_exchange_n(&cl->late_seen, n, __ATOMIC_RELAXED))
		return 0;
	return (int)vgpu_load32(&vgpu_host_words(cl->host)->late_error);
}

/* ---- waking and waiting ---- */

/* Once per sleep of the executor; it looks again by itself after VGPU_RECHECK_MS. */
static void ring_bell(struct vgpu_client *cl, bool control)
{
	uint32_t s = vgpu_peer_sleeps(&cl->host->sleeping);

	if (!s || (!control && (s & VGPU_SLEEP_KINDS) == VGPU_SLEEP_CONTROL) ||
	    s == atomic_load_explicit(&cl->rung, memory_order_relaxed))
		return;
	atomic_store_explicit(&cl->rung, s, memory_order_relaxed);
	cl->port->ops->bell(cl->port);
}

/*
 * For room in a ring, which the executor makes without saying so. Returns death. The first rounds spin;
 * then each sleep is twice as long as the one before: whoever waits so is far ahead of the device.
 */
static int wait_for_room(struct vgpu_client *cl, unsigned *round)
{
	unsigned nap = ++*round - ROOM_SPINS;
	struct timespec t = { .tv_nsec = ROOM_NAP_NS << (nap < ROOM_NAPS ? nap : ROOM_NAPS) };

	if (*round < ROOM_SPINS) {
		for (int i = 0; i < 10; i++)
			vgpu_pause();
		return 0;
	}
	ring_bell(cl, true);
	nanosleep(&t, NULL);
	return client_death(cl, true);
}

/* Takes what the executor has completed. Whoever holds reap_lock does it for all. */
static bool reap(struct vgpu_client *cl)
{
	bool any = false;
	uint64_t head;

	if (pthread_mutex_trylock(&cl->reap_lock))
		return false;
	head = vgpu_load64(&cl->host->cpl_head);
	if (head - cl->cpl_tail > VGPU_CH_CPL_ENTRIES) /* an unplugged device reads as zeros */
		head = cl->cpl_tail;
	for (; cl->cpl_tail != head; cl->cpl_tail++) {
		struct vgpu_completion *c = vgpu_cpl_slot(cl->channel, cl->cpl_tail);
		struct vgpu_slot *s = &cl->slot[c->tag % CLIENT_SLOTS];

		if (s->tag != c->tag || atomic_load(&s->state) != SLOT_WAITING)
			continue; /* not ours: an executor may do anything */
		s->c = *c;
		atomic_store_explicit(&s->state, SLOT_DONE, memory_order_release);
		any = true;
	}
	if (any)
		vgpu_store64(&cl->guest->cpl_tail, cl->cpl_tail);
	pthread_mutex_unlock(&cl->reap_lock);
	return any;
}

static bool slot_done(struct vgpu_slot *s)
{
	return atomic_load_explicit(&s->state, memory_order_acquire) == SLOT_DONE;
}

static bool spin_for(struct vgpu_client *cl, struct vgpu_slot *s, uint64_t until, bool yield)
{
	do {
		if (yield)
			sched_yield();
		for (int i = 0; i < 4 && !slot_done(s); i++)
			vgpu_pause();
		if (vgpu_load64(&cl->host->cpl_head) != __atomic_load_n(&cl->cpl_tail, __ATOMIC_RELAXED))
			reap(cl);
		if (slot_done(s))
			return true;
	} while (vgpu_now_ns() < until);
	return false;
}

/* The one thread that waits for the interrupt. */
static void poll_port(struct vgpu_client *cl, struct vgpu_slot *s)
{
	vgpu_store32(&cl->guest->sleeping, 1);
	vgpu_fence();
	reap(cl);
	if (!slot_done(s) && !client_death(cl, false)) {
		int rc = cl->port->ops->wait(cl->port, VGPU_RECHECK_MS);

		if (rc < 0 && rc != -EINTR)
			die(cl, rc == -ENODEV ? VGPU_ERR_NONE : VGPU_ERR_KEEPER_GONE);
		else
			client_death(cl, rc == 0);
		reap(cl);
	}
	vgpu_store32(&cl->guest->sleeping, 0);
}

static void sleep_for(struct vgpu_client *cl, struct vgpu_slot *s)
{
	pthread_mutex_lock(&cl->sleep_lock);
	while (!slot_done(s) && !atomic_load(&cl->dead)) {
		if (cl->polling) {
			pthread_cond_wait(&cl->sleep_change, &cl->sleep_lock);
			continue;
		}
		cl->polling = true;
		pthread_mutex_unlock(&cl->sleep_lock);
		poll_port(cl, s);
		pthread_mutex_lock(&cl->sleep_lock);
		cl->polling = false;
		pthread_cond_broadcast(&cl->sleep_change);
	}
	pthread_mutex_unlock(&cl->sleep_lock);
}

/* The kernel may have put an executor that was just woken on this very core, where it would wait until we have
 * spun in vain: whoever finds it asleep spins politely, and learns nothing from it about the next wait. */
static int wait_done(struct vgpu_client *cl, struct vgpu_slot *s, uint64_t extra_ns)
{
	uint64_t since = vgpu_now_ns();
	bool asleep = vgpu_load32(&cl->host->sleeping) != 0;
	bool quick = spin_for(cl, s, since + cl->spin.budget_ns + extra_ns, asleep);

	if (!asleep)
		vgpu_spin_learn(&cl->spin, quick);
	if (!quick) {
		sleep_for(cl, s);
		vgpu_spin_waited(&cl->spin, vgpu_now_ns() - since);
	}
	return slot_done(s) ? s->c.result : client_death(cl, true);
}

int slot_wait(struct vgpu_client *cl, struct vgpu_slot *s, struct vgpu_completion *out)
{
	int rc = wait_done(cl, s, 0);

	if (out && slot_done(s))
		*out = s->c;
	return rc;
}

int slot_wait_copy(struct vgpu_client *cl, struct vgpu_slot *s, uint64_t bytes)
{
	/* Less the more often spinning was in vain: there may be no second core. */
	if (bytes <= COPY_SPIN_MAX)
		return wait_done(cl, s, bytes / COPY_BYTES_PER_NS * cl->spin.budget_ns / VGPU_SPIN_MAX_NS);
	sleep_for(cl, s);
	return slot_done(s) ? s->c.result : client_death(cl, true);
}

/* ---- slots and payload blocks of control calls ---- */

static struct vgpu_slot *take_slot_locked(struct vgpu_client *cl)
{
	struct vgpu_slot *s;

	while (!cl->nslot_free) {
		if (client_death(cl, false))
			return NULL;
		pthread_cond_wait(&cl->ctl_room, &cl->ctl_lock);
	}
	s = &cl->slot[cl->slot_free[--cl->nslot_free]];
	s->tag += CLIENT_SLOTS;
	atomic_store(&s->state, SLOT_WAITING);
	return s;
}

struct vgpu_slot *slot_take(struct vgpu_client *cl)
{
	struct vgpu_slot *s;

	pthread_mutex_lock(&cl->ctl_lock);
	s = take_slot_locked(cl);
	pthread_mutex_unlock(&cl->ctl_lock);
	return s;
}

static void give_slot_locked(struct vgpu_client *cl, struct vgpu_slot *s)
{
	atomic_store(&s->state, SLOT_FREE);
	cl->slot_free[cl->nslot_free++] = (uint32_t)(s - cl->slot);
	pthread_cond_signal(&cl->ctl_room);
}

void slot_give(struct vgpu_client *cl, struct vgpu_slot *s)
{
	pthread_mutex_lock(&cl->ctl_lock);
	give_slot_locked(cl, s);
	pthread_mutex_unlock(&cl->ctl_lock);
}

static int take_block_locked(struct vgpu_client *cl)
{
	int b;

	while (!cl->blocks_free) {
		if (client_death(cl, false))
			return -1;
		pthread_cond_wait(&cl->ctl_room, &cl->ctl_lock);
	}
	b = __builtin_ctz(cl->blocks_free);
	cl->blocks_free &= ~(1u << b);
	return b;
}

/* ---- control calls ---- */

/* Body and payload into the block; the reply takes the block's end. */
static void fill(struct vgpu_client *cl, const struct vgpu_request *rq, struct vgpu_entry *e, int block)
{
	bool spilled = rq->in_size > VGPU_INLINE_IN;
	uint32_t at = VGPU_BLOCK_OFF + (uint32_t)block * VGPU_BLOCK_SIZE;
	uint8_t body[256] = { 0 };

	if (rq->in_size) /* a call without parameters has no structure for them */
		memcpy(body, rq->in, rq->in_size);
	if (rq->reply_cap) {
		uint32_t where[2] = { at + VGPU_BLOCK_SIZE - rq->reply_cap, rq->reply_cap };

		memcpy(body + rq->reply_at, where, sizeof(where));
	}
	if (!spilled)
		memcpy(e->body, body, VGPU_INLINE_IN);
	if (block < 0)
		return;
	if (spilled)
		memcpy(vgpu_ch(cl->channel, at), body, rq->in_size);
	if (rq->payload_len)
		memcpy(vgpu_ch(cl->channel, at + (spilled ? rq->in_size : 0)), rq->payload, rq->payload_len);
	e->pay_len = (spilled ? rq->in_size : 0) + rq->payload_len;
	e->pay_off = e->pay_len ? at : 0;
}

static bool ctl_full(struct vgpu_client *cl)
{
	return cl->ctl_head - vgpu_load64(&cl->host->ctl_tail) >= VGPU_CH_CTL_ENTRIES;
}

/* ctl_lock held; entry written and published. */
static void publish_control(struct vgpu_client *cl, const struct vgpu_request *rq, struct vgpu_slot *s, int block)
{
	struct vgpu_entry e = { .opcode = rq->opcode, .flags = rq->flags | VGPU_E_REPLY, .tag = s->tag,
				.follows = (uint32_t)rq->follows, .ctx = rq->ctx };

	fill(cl, rq, &e, block);
	*vgpu_ctl_slot(cl->channel, cl->ctl_head) = e;
	vgpu_store64(&cl->guest->ctl_head, ++cl->ctl_head);
}

static int finish(struct vgpu_client *cl, const struct vgpu_request *rq, int block, const struct vgpu_completion *c)
{
	uint32_t n = c->reply_len < rq->reply_cap ? c->reply_len : rq->reply_cap;

	if (rq->out)
		memcpy(rq->out, c->body, rq->out_size);
	if (rq->reply_cap)
		memcpy(rq->reply,
		       vgpu_ch(cl->channel, VGPU_BLOCK_OFF + (uint32_t)(block + 1) * VGPU_BLOCK_SIZE - rq->reply_cap), n);
	if (rq->reply_len)
		*rq->reply_len = c->reply_len;
	return c->result;
}

int client_call(struct vgpu_client *cl, const struct vgpu_request *rq)
{
	bool needs_block = rq->payload_len || rq->reply_cap || rq->in_size > VGPU_INLINE_IN;
	struct vgpu_completion c;
	struct vgpu_slot *s;
	unsigned round = 0;
	int block = -1, rc = client_death(cl, false);

	if (rc)
		return rc;
	pthread_mutex_lock(&cl->ctl_lock);
	s = take_slot_locked(cl);
	if (s && needs_block)
		block = take_block_locked(cl);
	while (s && ctl_full(cl) && !rc) {
		pthread_mutex_unlock(&cl->ctl_lock);
		rc = wait_for_room(cl, &round);
		pthread_mutex_lock(&cl->ctl_lock);
	}
	if (!s || (needs_block && block < 0) || rc) {
		pthread_mutex_unlock(&cl->ctl_lock);
		return client_death(cl, true);
	}
	publish_control(cl, rq, s, block);
	pthread_mutex_unlock(&cl->ctl_lock);
	ring_bell(cl, true);
	rc = slot_wait(cl, s, &c);
	if (slot_done(s))
		rc = finish(cl, rq, block, &c);
	pthread_mutex_lock(&cl->ctl_lock);
	give_slot_locked(cl, s);
	if (block >= 0) {
		cl->blocks_free |= 1u << block;
		pthread_cond_signal(&cl->ctl_room);
	}
	pthread_mutex_unlock(&cl->ctl_lock);
	return rc;
}

/* ---- work ring ---- */

static void refresh(struct vgpu_client *cl)
{
	cl->work_tail_seen = vgpu_load64(&cl->host->work_tail);
	vgpu_bytes_free(&cl->param, cl->work_tail_seen, cl->work_head);
	vgpu_bytes_free(&cl->stage, vgpu_load64(&cl->host->work_done), cl->work_head);
}

/* `entries` free ones, param and stage room, or false with nothing taken. */
static bool reserve(struct vgpu_client *cl, uint32_t entries, uint32_t pay, int64_t *pay_at, uint32_t len,
		    int64_t *stage_at)
{
	uint64_t old_param = cl->param.head;

	if (cl->work_head - cl->work_tail_seen > VGPU_CH_WORK_ENTRIES - entries)
		return false;
	*pay_at = pay ? vgpu_bytes_take(&cl->param, pay) : 0;
	if (*pay_at < 0)
		return false;
	*stage_at = len ? vgpu_bytes_take(&cl->stage, len) : 0;
	if (*stage_at < 0) {
		cl->param.head = old_param;
		return false;
	}
	return true;
}

/* work_lock held; false, unlocked: the executor is gone. */
static bool wait_reserve(struct vgpu_client *cl, uint32_t pay, int64_t *pay_at, uint32_t len, int64_t *stage_at)
{
	unsigned round = 0;

	for (;;) {
		refresh(cl);
		if (reserve(cl, round < ROOM_SPINS ? 1 : ROOM_ENTRIES, pay, pay_at, len, stage_at))
			return true;
		pthread_mutex_unlock(&cl->work_lock);
		if (wait_for_room(cl, &round))
			return false;
		pthread_mutex_lock(&cl->work_lock);
	}
}

struct vgpu_entry *work_begin_staged(struct vgpu_client *cl, uint16_t opcode, uint32_t ctx, uint32_t pay, void **payload,
				     uint32_t len, uint32_t *at)
{
	struct vgpu_entry *e;
	int64_t pay_at, stage_at;

	pthread_mutex_lock(&cl->work_lock);
	if (!reserve(cl, 1, pay, &pay_at, len, &stage_at) && !wait_reserve(cl, pay, &pay_at, len, &stage_at))
		return NULL;
	e = vgpu_work_slot(cl->channel, cl->work_head);
	e->opcode = opcode;
	e->flags = 0;
	e->tag = 0;
	e->follows = 0;
	e->ctx = ctx;
	e->pay_off = pay ? VGPU_CH_PARAM_OFF + (uint32_t)pay_at : 0;
	e->pay_len = pay;
	if (pay)
		*payload = vgpu_ch(cl->channel, e->pay_off);
	if (len)
		*at = (uint32_t)stage_at;
	return e;
}

struct vgpu_entry *work_begin(struct vgpu_client *cl, uint16_t opcode, uint32_t ctx, uint32_t pay, void **payload)
{
	return work_begin_staged(cl, opcode, ctx, pay, payload, 0, NULL);
}

uint64_t work_commit(struct vgpu_client *cl, struct vgpu_entry *e)
{
	uint64_t index;

	vgpu_bytes_mark(&cl->param, cl->work_head);
	vgpu_bytes_mark(&cl->stage, cl->work_head);
	index = ++cl->work_head;
	vgpu_store64(&cl->guest->work_head, index);
	pthread_mutex_unlock(&cl->work_lock);
	ring_bell(cl, false);
	return index;
}

uint64_t work_position(struct vgpu_client *cl)
{
	return vgpu_load64(&cl->guest->work_head);
}

/* ---- blocks of the bounce area ---- */

uint32_t block_offset(int block)
{
	return CLIENT_STAGE_RING + (uint32_t)block * CLIENT_STAGE_BLOCK;
}

int block_take(struct vgpu_client *cl)
{
	unsigned round = 0;

	for (;;) {
		uint64_t done = vgpu_load64(&cl->host->work_done);

		pthread_mutex_lock(&cl->block_lock);
		for (unsigned i = 0; i < CLIENT_STAGE_BLOCKS; i++)
			if (!cl->block[i].taken && cl->block[i].until <= done) {
				cl->block[i].taken = true;
				pthread_mutex_unlock(&cl->block_lock);
				return (int)i;
			}
		pthread_mutex_unlock(&cl->block_lock);
		if (wait_for_room(cl, &round))
			return -1;
	}
}

void block_give(struct vgpu_client *cl, int block, uint64_t until)
{
	pthread_mutex_lock(&cl->block_lock);
	cl->block[block].taken = false;
	cl->block[block].until = until;
	pthread_mutex_unlock(&cl->block_lock);
}

/* ---- start ---- */

static void init(struct vgpu_client *cl, struct vgpu_port *port)
{
	memset(cl, 0, sizeof(*cl));
	cl->port = port;
	pthread_mutex_init(&cl->work_lock, NULL);
	pthread_mutex_init(&cl->ctl_lock, NULL);
	pthread_mutex_init(&cl->reap_lock, NULL);
	pthread_mutex_init(&cl->sleep_lock, NULL);
	pthread_mutex_init(&cl->block_lock, NULL);
	pthread_cond_init(&cl->ctl_room, NULL);
	pthread_cond_init(&cl->sleep_change, NULL);
	vgpu_spin_init(&cl->spin);
	cl->param.size = VGPU_PARAM_RING_SIZE;
	cl->stage.size = CLIENT_STAGE_RING;
	cl->blocks_free = (1u << VGPU_BLOCKS) - 1;
	for (unsigned i = 0; i < CLIENT_SLOTS; i++) {
		cl->slot[i].tag = i;
		cl->slot_free[cl->nslot_free++] = i;
	}
}

/* The executor announces itself after RUN; its table must be ours. */
static int attach(struct vgpu_client *cl, char *err, unsigned err_len)
{
	struct vgpu_host_words *w = vgpu_host_words(cl->host);
	uint64_t until = vgpu_now_ns() + START_TIMEOUT_MS * 1000000ull;

	while (!vgpu_load32(&w->ready)) {
		int dead = client_death(cl, true);

		if (dead || vgpu_now_ns() > until) {
			snprintf(err, err_len, "the executor did not begin to serve");
			return dead ? dead : CUDA_ERROR_SYSTEM_NOT_READY;
		}
		if (cl->port->ops->wait(cl->port, 1) < 0)
			return die(cl, VGPU_ERR_KEEPER_GONE);
	}
	if (w->api_hash != VGPU_API_HASH) {
		snprintf(err, err_len, "libcuda and the host's executor are of different versions (API tables %08x, %08x)",
			 VGPU_API_HASH, (unsigned)w->api_hash);
		return CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
	}
	return 0;
}

int client_start(struct vgpu_client *cl, struct vgpu_port *port, char *err, unsigned err_len)
{
	uint32_t error = 0;
	int rc;

	init(cl, port);
	rc = port->ops->start(port, START_TIMEOUT_MS, &error);
	if (rc) {
		snprintf(err, err_len, "no executor: %s", strerror(-rc));
		return CUDA_ERROR_SYSTEM_NOT_READY;
	}
	if (error)
		return die(cl, error);
	cl->channel = port->channel_mem;
	cl->host = vgpu_ch_host(cl->channel);
	cl->guest = vgpu_ch_guest(cl->channel);
	return attach(cl, err, err_len);
}
