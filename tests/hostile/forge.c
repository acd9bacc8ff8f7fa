/* SPDX-License-Identifier: Apache-2.0 */
/* Handles, addresses and lengths that are not ours: each must be refused, and what is ours must not be. */
#include "attack.h"
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "cuda/cuda.h"
#include "wire/geometry.h"
#include "wire/ring.h"

static bool gone(const struct life *l, int rc)
{
	return rc == DOOR_DEAD && !door_alive(&l->d);
}

/* ---- handles ---- */

/* Where in the body of an op a handle lies, and what of ours would be right there. */
struct slot {
	unsigned op, at;
	size_t mine; /* offset in struct things */
	bool ends;   /* the right handle would change what there is: only wrong ones are tried */
};

#define SLOT(OP, name, field, own, ends) {VGPU_OP_##OP, offsetof(struct vgpu_in_##name, field), offsetof(struct things, own), ends}

static const struct slot slots[] = {
	SLOT(MODULE_FUNCTION, module_function, module, module, true), /* would make one more handle */
	SLOT(MODULE_NAMES, module_names, module, module, false),
	SLOT(FUNC_ATTRIBUTE, func_attribute, func, func[0], false),
	SLOT(FUNC_OCCUPANCY, func_occupancy, func, func[0], false),
	SLOT(FUNC_CACHE_CONFIG, func_cache_config, func, func[0], false),
	SLOT(STREAM_QUERY, stream_query, stream, stream[0], false),
	SLOT(STREAM_SYNC, stream_sync, stream, stream[0], false),
	SLOT(STREAM_WAIT_EVENT, stream_wait_event, event, event[0], false),
	SLOT(STREAM_WAIT_EVENT, stream_wait_event, stream, stream[0], false),
	SLOT(EVENT_RECORD, event_record, event, event[0], false),
	SLOT(EVENT_RECORD, event_record, stream, stream[0], false),
	SLOT(EVENT_QUERY, event_query, event, event[0], false),
	SLOT(EVENT_SYNC, event_sync, event, event[0], false),
	SLOT(LAUNCH, launch, func, func[0], false),
	SLOT(LAUNCH, launch, stream, stream[0], false),
	SLOT(COPY, copy, stream, stream[0], false),
	SLOT(MEMSET, memset, stream, stream[0], false),
	SLOT(CTX_DESTROY, ctx_destroy, ctx, ctx, true),
	SLOT(MODULE_UNLOAD, module_unload, module, module, true),
	SLOT(STREAM_DESTROY, stream_destroy, stream, stream[0], true),
	SLOT(EVENT_DESTROY, event_destroy, event, event[0], true),
	SLOT(ARRAY_DESTROY, array_destroy, array, array, true),
	SLOT(IMAGE_DROP, image_drop, image, array, true),
};

/* The body of a call that succeeds, but for the handle in question. */
static void good_body(const struct life *l, unsigned op, uint8_t body[160])
{
	const struct things *t = &l->t;

	memset(body, 0, 160);
	switch (op) {
	case VGPU_OP_FUNC_OCCUPANCY:
		((struct vgpu_in_func_occupancy *)(void *)body)->block = 32;
		break;
	case VGPU_OP_STREAM_WAIT_EVENT:
		*(struct vgpu_in_stream_wait_event *)(void *)body = (struct vgpu_in_stream_wait_event){t->stream[0], t->event[0], 0};
		break;
	case VGPU_OP_EVENT_RECORD:
		*(struct vgpu_in_event_record *)(void *)body = (struct vgpu_in_event_record){t->event[0], t->stream[0], 0};
		break;
	case VGPU_OP_LAUNCH:
		*(struct vgpu_in_launch *)(void *)body = (struct vgpu_in_launch){.func = t->func[0], .stream = t->stream[0], .grid_x = 1,
			.grid_y = 1, .grid_z = 1, .block_x = 1, .block_y = 1, .block_z = 1};
		break;
	case VGPU_OP_COPY:
		*(struct vgpu_in_copy *)(void *)body = (struct vgpu_in_copy){.dst = t->buffer[0], .src = t->buffer[1], .len = 64};
		break;
	case VGPU_OP_MEMSET:
		*(struct vgpu_in_memset *)(void *)body = (struct vgpu_in_memset){.dst = t->buffer[0], .width = 64, .height = 1, .element = 1};
		break;
	}
}

static int call_with(struct life *l, const struct slot *s, uint32_t handle)
{
	static const vg_u64 loops = 1;
	uint8_t body[160];

	good_body(l, s->op, body);
	memcpy(body + s->at, &handle, sizeof(handle));
	l->tried++;
	if (s->op == VGPU_OP_MODULE_FUNCTION)
		return door_call(&l->d, s->op, l->t.ctx, body, "spin", 4, NULL);
	return door_call(&l->d, s->op, l->t.ctx, body, s->op == VGPU_OP_LAUNCH ? &loops : NULL,
			 s->op == VGPU_OP_LAUNCH ? sizeof(loops) : 0, NULL);
}

/* A handle is live if we ever got it from this life and did not end it; 0 is a stream's default. */
static bool live(const struct life *l, uint32_t h)
{
	const uint32_t *all = &l->t.ctx;

	for (size_t i = 0; i < offsetof(struct things, buffer) / sizeof(uint32_t); i++)
		if (all[i] == h)
			return true;
	return h == 0;
}

static uint32_t forged(struct life *l, uint32_t right)
{
	uint32_t h;

	do
		switch (rng_below(&l->rng, 5)) {
		case 0:
			h = right + (1u << 20) * (1 + (uint32_t)rng_below(&l->rng, 4095)); /* another generation */
			break;
		case 1:
			h = right + (uint32_t)rng_below(&l->rng, 70000) - 35000; /* another index */
			break;
		case 2:
			h = (uint32_t)rng_below(&l->rng, 1 << 20);
			break;
		default:
			h = (uint32_t)rng_edge(&l->rng);
		}
	while (live(l, h));
	return h;
}

/* A stream of another context of ours, and objects that have ended. */
static bool elsewhere(struct life *l)
{
	struct vgpu_in_ctx_create none = {0};
	struct vgpu_out_ctx_create other;
	struct vgpu_in_stream_create in = {0};
	const struct slot stream = SLOT(STREAM_SYNC, stream_sync, stream, stream[0], false);
	const struct slot event = SLOT(EVENT_SYNC, event_sync, event, event[0], false);
	uint32_t foreign, old;
	int rc = CALL(&l->d, VGPU_OP_CTX_CREATE, 0, &none, &other);

	if (rc)
		return gone(l, rc) || failed("a second context: %d", rc);
	if (CALL(&l->d, VGPU_OP_STREAM_CREATE, other.ctx, &in, &foreign) == 0 && call_with(l, &stream, foreign) == 0)
		return failed("a stream of another context was accepted");
	if (CALL(&l->d, VGPU_OP_EVENT_CREATE, l->t.ctx, &(struct vgpu_in_event_create){0}, &old) == 0 &&
	    CALL(&l->d, VGPU_OP_EVENT_DESTROY, l->t.ctx, &old, NULL) == 0 && call_with(l, &event, old) == 0)
		return failed("a destroyed event was accepted");
	CALL(&l->d, VGPU_OP_CTX_DESTROY, 0, &other.ctx, NULL);
	rc = CALL(&l->d, VGPU_OP_STREAM_CREATE, other.ctx, &in, &foreign);
	return rc != 0 || failed("a destroyed context was accepted");
}

bool attack_handles(struct life *l)
{
	while (vgpu_now_ns() < l->until) {
		const struct slot *s = &slots[rng_below(&l->rng, sizeof(slots) / sizeof(*slots))];
		uint32_t right, wrong;
		int rc;

		memcpy(&right, (char *)&l->t + s->mine, sizeof(right));
		wrong = forged(l, right);
		rc = call_with(l, s, wrong);
		if (rc == 0)
			return failed("%s took the forged handle %#x", vgpu_op_info[s->op].name, wrong);
		if (rc == DOOR_SILENT)
			return failed("%s with handle %#x: no answer", vgpu_op_info[s->op].name, wrong);
		if (rc == DOOR_DEAD)
			return failed("%s with handle %#x ended the executor", vgpu_op_info[s->op].name, wrong);
		rc = s->ends ? 0 : call_with(l, s, right);
		if (rc && rc != CUDA_ERROR_NOT_READY)
			return failed("%s refused its own handle: %d", vgpu_op_info[s->op].name, rc);
	}
	return elsewhere(l);
}

/* ---- addresses ---- */

static bool find(const void *at, size_t len, uint64_t pattern)
{
	for (size_t i = 0; i + 8 <= len; i++)
		if (!memcmp((const char *)at + i, &pattern, 8))
			return true;
	return false;
}

static bool ours(const struct life *l, uint64_t at)
{
	const struct things *t = &l->t;

	return at - t->buffer[0] < BUFFER || at - t->buffer[1] < BUFFER || (t->host_va && at - t->host_va < EXTENTS * VGPU_EXTENT_SIZE);
}

static uint64_t some_address(struct life *l)
{
	unsigned n = 0;

	while (l->foreign && l->foreign[n])
		n++;
	if (n && rng_below(&l->rng, 2))
		return l->foreign[rng_below(&l->rng, n)] + rng_below(&l->rng, 4096);
	switch (rng_below(&l->rng, 4)) {
	case 0:
		return l->t.buffer[rng_below(&l->rng, 2)] + BUFFER + rng_below(&l->rng, 4096);
	case 1:
		return l->t.buffer[0] - 1 - rng_below(&l->rng, 4096);
	case 2:
		return l->t.buffer[0] ^ (1ull << rng_below(&l->rng, 48));
	default:
		return rng_edge(&l->rng);
	}
}

/* By copies, then by a kernel, whose fault ends the context: so once. */
bool attack_pointers(struct life *l)
{
	uint64_t at = 0, word;
	int rc;

	for (int i = 0; i < 200 && vgpu_now_ns() < l->until; i++) {
		at = some_address(l);
		if (ours(l, at) || ours(l, at + 4095))
			continue;
		l->tried++;
		rc = things_fetch(&l->d, &l->t, at, 0, 4096);
		if (rc == DOOR_DEAD || rc == DOOR_SILENT)
			return failed("a copy from %#llx: %s", (unsigned long long)at, rc == DOOR_DEAD ? "ended the executor" : "no answer");
		if (rc == 0)
			return failed("%#llx is not ours and was copied%s", (unsigned long long)at,
				      find(l->d.ch + VGPU_CH_BOUNCE_OFF, 4096, l->pattern) ? ", with another tenant's bytes" : "");
		if (!CALL(&l->d, VGPU_OP_MEM_FREE, l->t.ctx, &at, NULL))
			return failed("%#llx is not ours and was freed", (unsigned long long)at);
	}
	at &= ~7ull;
	if (at - l->t.buffer[0] < 1 << 20) /* arrays and variables of ours lie here, too */
		return true;
	memset(l->d.ch + VGPU_CH_BOUNCE_OFF, 0, 8);
	things_launch(&l->d, &l->t, K_LOAD, 1, 1, (uint64_t[]){at, l->t.buffer[0]}, 2);
	things_fetch(&l->d, &l->t, l->t.buffer[0], 0, 8);
	memcpy(&word, l->d.ch + VGPU_CH_BOUNCE_OFF, sizeof(word));
	if (l->pattern && word == l->pattern)
		return failed("a kernel read another tenant's bytes at %#llx", (unsigned long long)at);
	rc = CALL(&l->d, VGPU_OP_CTX_SYNC, l->t.ctx, NULL, NULL);
	return rc != 0 || failed("a kernel read %#llx, which is not ours", (unsigned long long)at);
}

/* ---- lengths ---- */

struct linear {
	unsigned place;
	uint64_t at;
};

static struct linear some_place(struct life *l)
{
	uint64_t near = rng_below(&l->rng, 2) ? rng_below(&l->rng, BUFFER + 2) : rng_edge(&l->rng);

	switch (rng_below(&l->rng, 3)) {
	case 0:
		return (struct linear){VGPU_AT_BOUNCE, near};
	case 1:
		return (struct linear){VGPU_AT_DEVICE, l->t.buffer[rng_below(&l->rng, 2)] + near};
	default:
		return (struct linear){VGPU_AT_HOST, l->t.host_va + near};
	}
}

static bool within(uint64_t at, unsigned __int128 len, uint64_t base, uint64_t size)
{
	return at >= base && (unsigned __int128)(at - base) + len <= size;
}

/* The oracle: bytes [at, at + len) of a place, in 128 bits. */
static bool legal(const struct life *l, struct linear p, unsigned __int128 len)
{
	const struct things *t = &l->t;

	if (p.place == VGPU_AT_BOUNCE)
		return within(p.at, len, 0, VGPU_CH_BOUNCE_SIZE);
	if (t->host_va && within(p.at, len, t->host_va, EXTENTS * VGPU_EXTENT_SIZE))
		return true;
	return p.place == VGPU_AT_DEVICE && (within(p.at, len, t->buffer[0], BUFFER) || within(p.at, len, t->buffer[1], BUFFER));
}

static bool verdict(struct life *l, const char *what, bool may, int rc, const char *args)
{
	l->tried++;
	if (rc == DOOR_SILENT)
		return failed("%s %s: no answer", what, args);
	if (rc == DOOR_DEAD)
		return failed("%s %s: ended the executor with error %u", what, args, door_error(&l->d));
	if (rc == 0 && !may)
		return failed("%s %s: accepted", what, args);
	return true;
}

static bool one_copy(struct life *l)
{
	struct linear dst = some_place(l), src = some_place(l);
	uint64_t len = rng_below(&l->rng, 2) ? rng_below(&l->rng, BUFFER + 2) : rng_edge(&l->rng);
	struct vgpu_in_copy in = {.dst = dst.at, .src = src.at, .len = len, .dst_place = (vg_u16)dst.place, .src_place = (vg_u16)src.place};
	bool may = len && legal(l, dst, len) && legal(l, src, len);
	char text[160];
	int rc = CALL(&l->d, VGPU_OP_COPY, l->t.ctx, &in, NULL);

	snprintf(text, sizeof(text), "of %#llx bytes from %u:%#llx to %u:%#llx", (unsigned long long)len, src.place,
		 (unsigned long long)src.at, dst.place, (unsigned long long)dst.at);
	if (may && rc > 0)
		return failed("copy %s: refused with %d", text, rc);
	return verdict(l, "copy", may, rc, text);
}

/* One side of a box: an array of ours, or linear with a pitch and rows of a slice. */
struct side {
	struct linear p;
	uint64_t pitch, x, y;
	uint32_t rows, z;
};

static struct side some_side(struct life *l)
{
	struct side s = {.p = some_place(l)};

	s.pitch = rng_below(&l->rng, 2) ? rng_below(&l->rng, 4096) : rng_edge(&l->rng);
	s.rows = (uint32_t)(rng_below(&l->rng, 2) ? rng_below(&l->rng, 64) : rng_edge(&l->rng));
	if (rng_below(&l->rng, 3) == 0) {
		s.p = (struct linear){VGPU_AT_ARRAY, l->t.array};
		s.x = rng_below(&l->rng, 2) ? rng_below(&l->rng, 4 * ARRAY_WIDTH + 2) : rng_edge(&l->rng);
		s.y = rng_below(&l->rng, 2) ? rng_below(&l->rng, ARRAY_HEIGHT + 2) : rng_edge(&l->rng);
		s.z = (uint32_t)(rng_below(&l->rng, 4) ? 0 : rng_edge(&l->rng));
	} else if (rng_below(&l->rng, 16) == 0) {
		s.x = rng_edge(&l->rng);
		s.y = rng_edge(&l->rng);
	}
	return s;
}

static bool side_legal(const struct life *l, const struct side *s, uint64_t w, uint64_t h, uint32_t d)
{
	unsigned __int128 most = (unsigned __int128)1 << 64;
	unsigned __int128 rows = h > 1 ? (unsigned __int128)s->pitch * (h - 1) : 0;
	unsigned __int128 slices = d > 1 ? (unsigned __int128)s->pitch * s->rows * (d - 1) : 0;

	if (s->p.place == VGPU_AT_ARRAY)
		return within(s->x, w, 0, 4 * ARRAY_WIDTH) && within(s->y, h, 0, ARRAY_HEIGHT) && within(s->z, d, 0, 1);
	if (s->x || s->y || s->z || (h > 1 && s->pitch < w) || (d > 1 && s->rows < h))
		return false;
	return rows < most && slices < most && legal(l, s->p, slices + rows + w);
}

static bool one_box(struct life *l)
{
	struct side d = some_side(l), s = some_side(l);
	uint64_t w = rng_below(&l->rng, 2) ? 1 + rng_below(&l->rng, 512) : rng_edge(&l->rng);
	uint64_t h = rng_below(&l->rng, 2) ? 1 + rng_below(&l->rng, 64) : rng_edge(&l->rng);
	uint32_t depth = (uint32_t)(rng_below(&l->rng, 2) ? 1 : rng_edge(&l->rng));
	struct vgpu_in_copy3d in = {.dst = d.p.at, .src = s.p.at, .dst_pitch = d.pitch, .src_pitch = s.pitch, .width = w, .height = h,
				    .dst_x = d.x, .dst_y = d.y, .src_x = s.x, .src_y = s.y, .dst_rows = d.rows, .src_rows = s.rows,
				    .dst_z = d.z, .src_z = s.z, .depth = depth, .dst_place = (vg_u16)d.p.place,
				    .src_place = (vg_u16)s.p.place};
	bool may = w && h && depth && side_legal(l, &d, w, h, depth) && side_legal(l, &s, w, h, depth);
	char text[300];
	int rc = CALL(&l->d, VGPU_OP_COPY3D, l->t.ctx, &in, NULL);

	snprintf(text, sizeof(text), "of %#llx x %#llx x %#x from %u:%#llx+%#llx,%#llx,%#x pitch %#llx rows %#x to "
		 "%u:%#llx+%#llx,%#llx,%#x pitch %#llx rows %#x", (unsigned long long)w, (unsigned long long)h, depth, s.p.place,
		 (unsigned long long)s.p.at, (unsigned long long)s.x, (unsigned long long)s.y, s.z, (unsigned long long)s.pitch, s.rows,
		 d.p.place, (unsigned long long)d.p.at, (unsigned long long)d.x, (unsigned long long)d.y, d.z,
		 (unsigned long long)d.pitch, d.rows);
	return verdict(l, "copy3d", may, rc, text);
}

static bool one_memset(struct life *l)
{
	struct linear p = some_place(l);
	uint64_t w = rng_below(&l->rng, 2) ? 1 + rng_below(&l->rng, BUFFER) : rng_edge(&l->rng);
	uint64_t pitch = rng_below(&l->rng, 2) ? rng_below(&l->rng, 4096) : rng_edge(&l->rng);
	uint32_t h = rng_below(&l->rng, 2) ? 1 : (uint32_t)rng_edge(&l->rng);
	uint32_t element = (uint32_t)rng_below(&l->rng, 6);
	struct vgpu_in_memset in = {.dst = p.at, .pitch = pitch, .width = w, .height = h, .value = 0x5a5a5a5a, .element = element};
	unsigned __int128 row = (unsigned __int128)w * element, rows = (unsigned __int128)pitch * (h ? h - 1 : 0);
	bool may;
	char text[160];
	int rc;

	p.place = VGPU_AT_DEVICE; /* a memset knows no other */
	may = w && h && (element == 1 || element == 2 || element == 4) && legal(l, p, row + (h > 1 ? rows : 0));
	rc = CALL(&l->d, VGPU_OP_MEMSET, l->t.ctx, &in, NULL);
	snprintf(text, sizeof(text), "at %#llx of %#llx x %#x elements of %u, pitch %#llx", (unsigned long long)p.at,
		 (unsigned long long)w, h, element, (unsigned long long)pitch);
	return verdict(l, "memset", may, rc, text);
}

/* The protocol's own bounds: an offset into the parameter area beyond its end breaks it, so this is a life's last call. */
static bool one_payload(struct life *l)
{
	struct vgpu_in_module_function in = {.module = l->t.module};
	struct vgpu_entry e = door_entry(&l->d, VGPU_OP_MODULE_FUNCTION, l->t.ctx, &in, "spin", 4);
	bool inside;

	e.pay_off = (vg_u32)rng_edge(&l->rng);
	e.pay_len = (vg_u32)rng_edge(&l->rng);
	inside = e.pay_off >= VGPU_CH_PARAM_OFF && (uint64_t)e.pay_off + e.pay_len <= VGPU_CH_BOUNCE_OFF && e.pay_len >= 1 && e.pay_len <= 4096;
	door_put(&l->d, &e);
	if (inside)
		return true;
	if (!door_await_death(&l->d, ANSWER_MS))
		return failed("a payload of %#x bytes at %#x was accepted", e.pay_len, e.pay_off);
	return door_error(&l->d) == VGPU_ERR_PROTOCOL || failed("a payload of %#x bytes at %#x: error %u", e.pay_len, e.pay_off, door_error(&l->d));
}

bool attack_lengths(struct life *l)
{
	bool ok = true;

	while (ok && vgpu_now_ns() < l->until) {
		ok = one_copy(l);
		ok = ok && one_box(l);
		ok = ok && one_memset(l);
	}
	return ok && one_payload(l);
}

/* ---- anything ---- */

/* Well-formed entries of every opcode with bodies of borders and live handles: answered or refused, never silence. */
bool attack_random(struct life *l)
{
	while (door_alive(&l->d) && vgpu_now_ns() < l->until) {
		unsigned op = (unsigned)rng_below(&l->rng, VGPU_OP_COUNT);
		uint32_t body[40], words = (uint32_t)sizeof(body) / 4;
		const uint32_t *mine = &l->t.ctx;
		char payload[512];
		int rc;

		if (!vgpu_op_info[op].name || op == VGPU_OP_HOST_FUNC) /* a stream waits for us: see attack_promise() */
			continue;
		for (uint32_t i = 0; i < words; i++)
			body[i] = rng_below(&l->rng, 3) ? (uint32_t)rng_edge(&l->rng) : mine[rng_below(&l->rng, offsetof(struct things, buffer) / 4)];
		if (rng_below(&l->rng, 2)) /* the high halves of 64-bit fields */
			for (uint32_t i = 1; i < words; i += 2)
				body[i] = 0;
		if (vgpu_op_info[op].reply_max) /* no place for an answer: a wrong one would end it all */
			memset((char *)body + vgpu_op_info[op].in_size - 8, 0, 8);
		for (size_t i = 0; i < sizeof(payload); i++)
			payload[i] = (char)rng_next(&l->rng);
		rc = door_call(&l->d, op, rng_below(&l->rng, 4) ? l->t.ctx : body[0], body, payload,
			       vgpu_op_info[op].payload_max ? (uint32_t)rng_below(&l->rng, sizeof(payload)) + vgpu_op_info[op].payload_min : 0, NULL);
		l->tried++;
		if (rc == DOOR_SILENT)
			return failed("%s: no answer", vgpu_op_info[op].name);
	}
	return true;
}
