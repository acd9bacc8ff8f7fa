/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that changes while it is read, and guests that overdo it. */
#include "attack.h"
#include <sched.h>
#include <string.h>
#include "scribble.h"
#include "wire/geometry.h"
#include "wire/ring.h"

/* A random call that is valid in itself; what a second thread makes of it is another matter. */
static struct vgpu_entry valid(struct life *l)
{
	const struct things *t = &l->t;
	struct rng *r = &l->rng;
	vg_u32 stream = t->stream[rng_below(r, STREAMS)], event = t->event[rng_below(r, EVENTS)];
	vg_u64 loops = rng_below(r, 2000), at = rng_below(r, BUFFER / 2) & ~15ull, len = 1 + rng_below(r, BUFFER / 2);
	union {
		struct vgpu_in_launch launch;
		struct vgpu_in_copy copy;
		struct vgpu_in_copy3d copy3d;
		struct vgpu_in_memset set;
		struct vgpu_in_event_record record;
		struct vgpu_in_stream_wait_event wait;
		struct vgpu_in_stream_query query;
		struct vgpu_in_image_new image;
		struct vgpu_in_module_function function;
		struct vgpu_in_module_names names;
		struct vgpu_in_mem_alloc alloc;
	} b;

	memset(&b, 0, sizeof(b));
	switch (rng_below(r, 13)) {
	case 0:
	case 1:
		b.launch = (struct vgpu_in_launch){.func = t->func[K_SPIN], .stream = stream, .grid_x = 1, .grid_y = 1,
						   .grid_z = 1, .block_x = 32, .block_y = 1, .block_z = 1};
		return door_entry(&l->d, VGPU_OP_LAUNCH, t->ctx, &b, &loops, sizeof(loops));
	case 2:
		b.copy = (struct vgpu_in_copy){.dst = t->buffer[0] + at, .src = rng_below(r, VGPU_CH_BOUNCE_SIZE - len), .len = len,
					       .stream = stream, .src_place = VGPU_AT_BOUNCE};
		return door_entry(&l->d, VGPU_OP_COPY, t->ctx, &b, NULL, 0);
	case 3:
		b.copy = (struct vgpu_in_copy){.dst = rng_below(r, VGPU_CH_BOUNCE_SIZE - len), .src = t->buffer[0] + at, .len = len,
					       .stream = stream, .dst_place = VGPU_AT_BOUNCE};
		return door_entry(&l->d, VGPU_OP_COPY, t->ctx, &b, NULL, 0);
	case 4:
		b.copy = (struct vgpu_in_copy){.dst = t->host_va + at, .src = t->buffer[1], .len = len, .stream = stream,
					       .dst_place = VGPU_AT_HOST};
		return door_entry(&l->d, VGPU_OP_COPY, t->ctx, &b, NULL, 0);
	case 5:
		b.copy3d = (struct vgpu_in_copy3d){.dst = t->array, .src = rng_below(r, 4096), .src_pitch = 256, .width = 4 * ARRAY_WIDTH,
						   .height = ARRAY_HEIGHT, .depth = 1, .stream = stream, .dst_place = VGPU_AT_ARRAY,
						   .src_place = VGPU_AT_BOUNCE};
		return door_entry(&l->d, VGPU_OP_COPY3D, t->ctx, &b, NULL, 0);
	case 6:
		b.set = (struct vgpu_in_memset){.dst = t->buffer[1] + at, .width = len / 4 + 1, .height = 1, .value = 7,
						.stream = stream, .element = 1};
		return door_entry(&l->d, VGPU_OP_MEMSET, t->ctx, &b, NULL, 0);
	case 7:
		b.record = (struct vgpu_in_event_record){.event = event, .stream = stream};
		return door_entry(&l->d, VGPU_OP_EVENT_RECORD, t->ctx, &b, NULL, 0);
	case 8:
		b.wait = (struct vgpu_in_stream_wait_event){.stream = stream, .event = event};
		return door_entry(&l->d, VGPU_OP_STREAM_WAIT_EVENT, t->ctx, &b, NULL, 0);
	case 9:
		b.query.stream = stream;
		return door_entry(&l->d, rng_next(r) % 2 ? VGPU_OP_STREAM_QUERY : VGPU_OP_STREAM_SYNC, t->ctx, &b, NULL, 0);
	case 10:
		b.function = (struct vgpu_in_module_function){.module = t->module, .reply_off = VGPU_CH_BOUNCE_OFF - VGPU_BLOCK_SIZE,
							      .reply_cap = 512};
		return door_entry(&l->d, VGPU_OP_MODULE_FUNCTION, t->ctx, &b, "spin", 4);
	case 11:
		b.names = (struct vgpu_in_module_names){.module = t->module, .reply_off = VGPU_CH_BOUNCE_OFF - VGPU_BLOCK_SIZE,
							.reply_cap = 512};
		return door_entry(&l->d, VGPU_OP_MODULE_NAMES, t->ctx, &b, NULL, 0);
	default:
		b.alloc.bytes = 1 + rng_below(r, 4096);
		return door_entry(&l->d, VGPU_OP_MEM_ALLOC, t->ctx, &b, NULL, 0);
	}
}

static bool room(struct door *d)
{
	const struct vgpu_ch_host *h = vgpu_ch_host(d->ch);

	return d->work - vgpu_load64(&h->work_tail) < 256 && d->ctl - vgpu_load64(&h->ctl_tail) < 128;
}

/* Valid calls, as fast as they are taken, while the scribbler does its part. */
static bool race(struct life *l, enum scribble kind)
{
	struct scribbler s;
	struct vgpu_completion c;

	scribble_start(&s, &l->d, kind, rng_of(l->rng.state, 1));
	while (door_alive(&l->d) && vgpu_now_ns() < l->until) {
		if (room(&l->d)) {
			struct vgpu_entry e = valid(l);

			door_put(&l->d, &e);
			l->tried++;
		} else {
			sched_yield();
		}
		for (int i = 0; i < 256 && door_take(&l->d, &c); i++) /* the count may be a scribble as well */
			continue;
	}
	scribble_stop(&s);
	return true;
}

bool attack_noise(struct life *l)
{
	return race(l, SCRIBBLE_NOISE);
}

bool attack_slots(struct life *l)
{
	return race(l, SCRIBBLE_SLOTS);
}

bool attack_indexes(struct life *l)
{
	return race(l, SCRIBBLE_INDEXES);
}

bool attack_payload(struct life *l)
{
	return race(l, SCRIBBLE_PAYLOAD);
}

bool attack_swap(struct life *l)
{
	return race(l, SCRIBBLE_SWAP);
}

bool attack_wishes(struct life *l)
{
	return race(l, SCRIBBLE_WISHES);
}

bool attack_answers(struct life *l)
{
	return race(l, SCRIBBLE_ANSWERS);
}

/* Both doorbells, without pause. */
bool attack_storm(struct life *l)
{
	while (door_alive(&l->d) && vgpu_now_ns() < l->until)
		for (int i = 0; i < 64; i++) {
			l->d.port->ops->bell(l->d.port);
			l->d.port->ops->bell_vm(l->d.port);
			l->tried += 2;
		}
	return door_alive(&l->d) || failed("bells ended the executor: error %u", door_error(&l->d));
}

/* A queue that is always full of kernels, nobody waiting for them, and then nobody there. */
bool attack_flood(struct life *l)
{
	vg_u64 loops = 1 + rng_below(&l->rng, 200000);

	while (door_alive(&l->d) && vgpu_now_ns() < l->until) {
		struct vgpu_in_launch in = {.func = l->t.func[K_SPIN], .stream = l->t.stream[rng_below(&l->rng, STREAMS)],
					    .grid_x = 1 + (vg_u32)rng_below(&l->rng, 64), .grid_y = 1, .grid_z = 1,
					    .block_x = 64, .block_y = 1, .block_z = 1};
		struct vgpu_entry e;

		if (l->d.work - vgpu_load64(&vgpu_ch_host(l->d.ch)->work_tail) >= VGPU_CH_WORK_ENTRIES) {
			sched_yield();
			continue;
		}
		e = door_entry(&l->d, VGPU_OP_LAUNCH, l->t.ctx, &in, &loops, sizeof(loops));
		e.flags = 0;
		door_put(&l->d, &e);
		l->tried++;
	}
	return true;
}

/* Host functions that never return, kernels queued behind them: its own stream stands still, nothing else. */
bool attack_promise(struct life *l)
{
	struct vgpu_in_host_func in = {.stream = l->t.stream[0]};
	struct vgpu_in_launch launch = {.func = l->t.func[K_SPIN], .stream = l->t.stream[0], .grid_x = 1, .grid_y = 1,
					.grid_z = 1, .block_x = 32, .block_y = 1, .block_z = 1};
	struct vgpu_out_mem_info info;
	vg_u64 loops = 1000;
	int rc = 0;

	for (int i = 0; i < 32; i++) {
		struct vgpu_entry f = door_entry(&l->d, VGPU_OP_HOST_FUNC, l->t.ctx, &in, NULL, 0);
		struct vgpu_entry k = door_entry(&l->d, VGPU_OP_LAUNCH, l->t.ctx, &launch, &loops, sizeof(loops));

		door_put(&l->d, &f);
		door_put(&l->d, &k);
		l->tried++;
	}
	while (!rc && vgpu_now_ns() < l->until)
		rc = CALL(&l->d, VGPU_OP_MEM_INFO, l->t.ctx, NULL, &info);
	return rc >= 0 || failed("behind host functions that do not return: %s", rc == DOOR_DEAD ? "the executor ended" : "no answer");
}

/* Asks and never reads an answer: more calls open than the completion ring holds break the protocol. */
bool attack_deaf(struct life *l)
{
	struct vgpu_in_ctx_get_limit in = {0};
	uint64_t until = vgpu_now_ns() + ANSWER_MS * 1000000ull;

	for (l->tried = 0; l->tried <= VGPU_CH_CPL_ENTRIES && door_alive(&l->d);) {
		if (vgpu_now_ns() > until)
			return failed("unread answers: the executor stopped taking calls after %lu", l->tried);
		if (l->d.ctl - vgpu_load64(&vgpu_ch_host(l->d.ch)->ctl_tail) < VGPU_CH_CTL_ENTRIES) {
			struct vgpu_entry e = door_entry(&l->d, VGPU_OP_CTX_GET_LIMIT, l->t.ctx, &in, NULL, 0);

			door_put(&l->d, &e);
			l->tried++;
		} else {
			sched_yield();
		}
	}
	if (!door_await_death(&l->d, ANSWER_MS))
		return failed("%lu unread answers: still alive", l->tried);
	return door_error(&l->d) == VGPU_ERR_PROTOCOL || failed("unread answers: error %u", door_error(&l->d));
}
