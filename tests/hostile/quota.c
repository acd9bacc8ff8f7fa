/* SPDX-License-Identifier: Apache-2.0 */
/* More memory than is ours, by every call that takes some. */
#include "attack.h"
#include <string.h>
#include "cuda/cuda.h"
#include "wire/ring.h"

/* What may be taken still, as the executor tells it. */
static uint64_t left(struct life *l)
{
	struct vgpu_out_mem_info info = {0};

	return CALL(&l->d, VGPU_OP_MEM_INFO, l->t.ctx, NULL, &info) ? UINT64_MAX : info.free;
}

static bool dead(const char *what, int rc)
{
	return failed("%s: %s", what, rc == DOOR_DEAD ? "ended the executor" : "no answer");
}

/* Small pieces until none is left, then every other way of having memory must be refused. */
static bool take_all(struct life *l)
{
	struct vgpu_in_mem_alloc in = {.bytes = 64 << 20};
	uint64_t quota = l->d.port->header->quota, taken = 0, dptr;
	int rc;

	while (in.bytes >= 4096) {
		rc = CALL(&l->d, VGPU_OP_MEM_ALLOC, l->t.ctx, &in, &dptr);
		if (rc < 0)
			return dead("allocating", rc);
		if (rc)
			in.bytes /= 2;
		else
			taken += in.bytes;
		if (taken > quota)
			return failed("%llu bytes of a quota of %llu", (unsigned long long)taken, (unsigned long long)quota);
		l->tried++;
	}
	return left(l) < 8192 || failed("%llu bytes are left, and 4096 were refused", (unsigned long long)left(l));
}

static bool refused(struct life *l, const char *what, int rc)
{
	l->tried++;
	if (rc < 0)
		return dead(what, rc);
	return rc != 0 || failed("%s: granted with the quota used up", what);
}

static bool other_ways(struct life *l)
{
	struct vgpu_in_mem_alloc_pitch pitch = {.width = 1 << 20, .height = 16, .element = 4};
	struct vgpu_in_array_create array = {.width = 1024, .height = 1024, .format = CU_AD_FORMAT_FLOAT, .channels = 4};
	struct vgpu_in_array_create deep = {.width = 256, .height = 256, .depth = 64, .format = CU_AD_FORMAT_FLOAT, .channels = 4};
	struct vgpu_in_ctx_set_limit heap = {.limit = CU_LIMIT_MALLOC_HEAP_SIZE, .value = 1 << 30};
	struct vgpu_in_ctx_set_limit printf_fifo = {.limit = CU_LIMIT_PRINTF_FIFO_SIZE, .value = 1 << 30};
	struct vgpu_in_ctx_set_limit stack = {.limit = CU_LIMIT_STACK_SIZE, .value = 256 << 10};
	uint64_t out[4];

	return refused(l, "cuMemAllocPitch", CALL(&l->d, VGPU_OP_MEM_ALLOC_PITCH, l->t.ctx, &pitch, out)) &&
	       refused(l, "cuArrayCreate", CALL(&l->d, VGPU_OP_ARRAY_CREATE, l->t.ctx, &array, out)) &&
	       refused(l, "cuArray3DCreate", CALL(&l->d, VGPU_OP_ARRAY_CREATE, l->t.ctx, &deep, out)) &&
	       refused(l, "malloc heap", CALL(&l->d, VGPU_OP_CTX_SET_LIMIT, l->t.ctx, &heap, NULL)) &&
	       refused(l, "printf buffer", CALL(&l->d, VGPU_OP_CTX_SET_LIMIT, l->t.ctx, &printf_fifo, NULL)) &&
	       refused(l, "stack limit", CALL(&l->d, VGPU_OP_CTX_SET_LIMIT, l->t.ctx, &stack, NULL)) &&
	       refused(l, "local memory", things_launch(&l->d, &l->t, K_DEEP, 1, 32, &l->t.buffer[0], 1));
}

bool attack_quota(struct life *l)
{
	return take_all(l) && other_ways(l);
}

/* A kernel with local memory, again and again, with more of the quota taken each time: granted as long as what
 * all threads the device can hold need fits, and refused from then on. */
bool attack_local(struct life *l)
{
	struct vgpu_in_mem_alloc in = {.bytes = 16 << 20};
	uint64_t before = left(l), dptr;
	int rc = things_launch(&l->d, &l->t, K_DEEP, 1, 32, &l->t.buffer[0], 1);
	uint64_t cost = before - left(l);

	if (rc < 0)
		return dead("a launch with local memory", rc);
	if (rc != 0 && rc != CUDA_ERROR_OUT_OF_MEMORY)
		return failed("a launch with local memory: %d", rc);
	if (rc == 0 && cost < 32 * 65536)
		return failed("64 KiB in each of 32 threads cost %llu bytes of the quota", (unsigned long long)cost);
	while (vgpu_now_ns() < l->until && CALL(&l->d, VGPU_OP_MEM_ALLOC, l->t.ctx, &in, &dptr) == 0)
		l->tried++;
	return door_alive(&l->d) || failed("local memory ended the executor: error %u", door_error(&l->d));
}

/* Objects without end. */
bool attack_exhaust(struct life *l)
{
	static const struct {
		unsigned op;
		uint64_t body[5];
	} makers[] = {
		{VGPU_OP_STREAM_CREATE, {0}}, {VGPU_OP_EVENT_CREATE, {0}}, {VGPU_OP_CTX_CREATE, {0}}, {VGPU_OP_IMAGE_NEW, {0x10000000}},
		{VGPU_OP_IMAGE_NEW, {1}}, {VGPU_OP_MEM_ALLOC, {1}},
	};
	unsigned kind = (unsigned)rng_below(&l->rng, sizeof(makers) / sizeof(*makers));
	char out[VGPU_INLINE_OUT];
	int rc = 0;

	while (rc == 0 && vgpu_now_ns() < l->until) {
		rc = CALL(&l->d, makers[kind].op, l->t.ctx, makers[kind].body, out);
		l->tried++;
	}
	if (rc < 0)
		return dead(vgpu_op_info[makers[kind].op].name, rc);
	rc = CALL(&l->d, VGPU_OP_CTX_SYNC, l->t.ctx, NULL, NULL);
	return rc >= 0 || dead("after taking all there was", rc);
}
