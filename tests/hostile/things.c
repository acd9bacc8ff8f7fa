/* SPDX-License-Identifier: Apache-2.0 */
#include "things.h"
#include <string.h>
#include "cuda/cuda.h"

#define HEAD ".version 7.0\n.target sm_50\n.address_size 64\n"
#define ENTRY(name, params) ".visible .entry " name "(" params ")\n{\n.reg .u32 %r<9>;\n.reg .u64 %d<9>;\n.reg .pred %p<3>;\n"
#define U64(name) ".param .u64 " name

static const char ptx[] = HEAD
	".global .align 8 .b8 table[65536];\n"
	ENTRY("spin", U64("loops"))
	"ld.param.u64 %d1, [loops];\nmov.u64 %d2, 0;\n"
	"again: add.u64 %d2, %d2, 1;\nsetp.lt.u64 %p1, %d2, %d1;\n@%p1 bra again;\nret;\n}\n"
	ENTRY("peek", U64("out"))
	".local .align 8 .b8 mine[16384];\n.shared .align 8 .b8 ours[16384];\n"
	"ld.param.u64 %d1, [out];\nmov.u32 %r1, 0;\nmov.u64 %d2, mine;\nmov.u64 %d3, ours;\n"
	"again: ld.local.u64 %d4, [%d2];\nst.global.u64 [%d1], %d4;\n"
	"ld.shared.u64 %d4, [%d3];\nst.global.u64 [%d1+16384], %d4;\n"
	"add.u64 %d1, %d1, 8;\nadd.u64 %d2, %d2, 8;\nadd.u64 %d3, %d3, 8;\nadd.u32 %r1, %r1, 8;\n"
	"setp.lt.u32 %p1, %r1, 16384;\n@%p1 bra again;\nret;\n}\n"
	ENTRY("load", U64("at") ", " U64("out"))
	"ld.param.u64 %d1, [at];\nld.param.u64 %d2, [out];\nld.global.u64 %d3, [%d1];\nst.global.u64 [%d2], %d3;\nret;\n}\n"
	ENTRY("deep", U64("out"))
	".local .align 8 .b8 mine[65536];\n"
	"ld.param.u64 %d1, [out];\nmov.u64 %d2, mine;\nmov.u32 %r1, %tid.x;\nst.local.u32 [%d2], %r1;\n"
	"ld.local.u32 %r2, [%d2];\nst.global.u32 [%d1], %r2;\nret;\n}\n"
	ENTRY("fill", U64("at") ", " U64("words") ", " U64("value"))
	"ld.param.u64 %d1, [at];\nld.param.u64 %d2, [words];\nld.param.u64 %d3, [value];\n"
	"again: st.global.u64 [%d1], %d3;\nadd.u64 %d1, %d1, 8;\nsub.u64 %d2, %d2, 1;\nsetp.ne.u64 %p1, %d2, 0;\n"
	"@%p1 bra again;\nret;\n}\n";

static const char *const kernel_names[KERNELS] = {"spin", "peek", "load", "deep", "fill"};

static int load_image(struct door *d, struct things *t)
{
	struct vgpu_in_image_new new = {.size = sizeof(ptx)};
	struct vgpu_in_module_load load = {0};
	struct vgpu_out_module_load loaded = {0};
	struct vgpu_in_image_write write = {0};
	int rc = CALL(d, VGPU_OP_IMAGE_NEW, 0, &new, &write.image);

	_Static_assert(sizeof(ptx) <= 65536, "one piece");
	load.image = write.image;
	if (!rc)
		rc = door_call(d, VGPU_OP_IMAGE_WRITE, 0, &write, ptx, sizeof(ptx), NULL);
	if (!rc)
		rc = CALL(d, VGPU_OP_MODULE_LOAD, t->ctx, &load, &loaded);
	t->module = loaded.module;
	for (unsigned i = 0; !rc && i < KERNELS; i++) {
		struct vgpu_in_module_function in = {.module = t->module};
		struct vgpu_out_module_function out = {0};

		rc = door_call(d, VGPU_OP_MODULE_FUNCTION, t->ctx, &in, kernel_names[i], (uint32_t)strlen(kernel_names[i]), &out);
		t->func[i] = out.func;
	}
	return rc;
}

int things_make(struct door *d, struct things *t, bool with_kernels)
{
	struct vgpu_in_ctx_primary none = {0};
	struct vgpu_in_array_create array = {.width = ARRAY_WIDTH, .height = ARRAY_HEIGHT, .format = CU_AD_FORMAT_UNSIGNED_INT32,
					     .channels = 1};
	struct vgpu_in_host_map map = {.va = (uintptr_t)d->extents, .first = d->first_extent, .count = EXTENTS};
	struct vgpu_in_mem_alloc alloc = {.bytes = BUFFER};
	struct vgpu_out_ctx_primary ctx = {0};
	int rc;

	memset(t, 0, sizeof(*t));
	rc = CALL(d, VGPU_OP_CTX_PRIMARY, 0, &none, &ctx);
	t->ctx = ctx.ctx;
	for (unsigned i = 0; !rc && i < STREAMS; i++)
		rc = CALL(d, VGPU_OP_STREAM_CREATE, t->ctx, &(struct vgpu_in_stream_create){.flags = 1}, &t->stream[i]);
	for (unsigned i = 0; !rc && i < EVENTS; i++)
		rc = CALL(d, VGPU_OP_EVENT_CREATE, t->ctx, &(struct vgpu_in_event_create){.flags = i & 2}, &t->event[i]);
	for (unsigned i = 0; !rc && i < 2; i++)
		rc = CALL(d, VGPU_OP_MEM_ALLOC, t->ctx, &alloc, &t->buffer[i]);
	if (!rc)
		rc = CALL(d, VGPU_OP_ARRAY_CREATE, t->ctx, &array, &t->array);
	if (!rc && !CALL(d, VGPU_OP_HOST_MAP, t->ctx, &map, NULL))
		t->host_va = map.va; /* else taken there: attacks do without */
	if (!rc && with_kernels)
		rc = load_image(d, t);
	return rc;
}

int things_launch(struct door *d, const struct things *t, enum kernel k, uint32_t grid, uint32_t block, const uint64_t *args,
		  unsigned nargs)
{
	struct vgpu_in_launch in = {.func = t->func[k], .grid_x = grid, .grid_y = 1, .grid_z = 1, .block_x = (vg_u16)block,
				    .block_y = 1, .block_z = 1};

	return door_call(d, VGPU_OP_LAUNCH, t->ctx, &in, args, nargs * 8, NULL);
}

int things_fetch(struct door *d, const struct things *t, uint64_t dptr, uint32_t at, uint32_t len)
{
	struct vgpu_in_copy in = {.dst = at, .src = dptr, .len = len, .dst_place = VGPU_AT_BOUNCE, .src_place = VGPU_AT_DEVICE};

	return CALL(d, VGPU_OP_COPY, t->ctx, &in, NULL);
}
