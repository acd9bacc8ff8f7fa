/* SPDX-License-Identifier: Apache-2.0 */
/* The JIT linker: inputs go over as images, the driver links, the result comes back as one. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "guest/guest.h"
#include "wire/ops_enc.h"

#define LOG_MAX 28672u /* of each log: both fit into one reply */
#define NAME_MAX_ 255u
#define PIECE 57344u

CUresult cuLinkCreate_v2(unsigned int n, CUjit_option *opt, void **val, CUlinkState *state)
{
	struct vgpu_out_link_create out;
	struct jit_logs logs = { 0 };
	struct gobj *ctx, *o = NULL;
	int rc = ctx_enter(&ctx);

	if (!rc)
		rc = state ? jit_read_options(n, opt, val, LOG_MAX, &logs) : CUDA_ERROR_INVALID_VALUE;
	if (!rc)
		rc = vgpu_call_link_create(guest_client, ctx->wire, &out);
	if (rc)
		return rc;
	o = g_new(G_LINK, ctx, out.link);
	if (o && (o->link.logs = malloc(sizeof(logs)))) {
		*o->link.logs = logs;
		*state = g_handle(o);
		return CUDA_SUCCESS;
	}
	vgpu_call_link_destroy(guest_client, ctx->wire, &(struct vgpu_in_link_destroy){ .link = out.link });
	if (o)
		g_drop(o);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

static int enter(CUlinkState h, struct gobj **o)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	*o = g_get(G_LINK, h);
	return rc ? rc : *o ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static int add(struct gobj *o, CUjitInputType type, const void *data, size_t size, const char *name)
{
	struct jit_logs *l = o->link.logs;
	struct vgpu_in_link_add in = { .link = o->wire, .type = type, .info_cap = l->info_cap, .error_cap = l->error_cap };
	struct vgpu_out_link_add out = { 0 };
	char *reply;
	int rc;

	if (!data || !size || (unsigned)type > CU_JIT_INPUT_NVVM)
		return CUDA_ERROR_INVALID_VALUE;
	reply = calloc(1, l->info_cap + l->error_cap + 1);
	if (!reply)
		return CUDA_ERROR_OUT_OF_MEMORY;
	rc = image_send(data, size, &in.image);
	if (!rc) {
		rc = vgpu_call_link_add(guest_client, o->ctx->wire, &in, &out, name, (uint32_t)strnlen(name, NAME_MAX_), reply,
					l->info_cap + l->error_cap, NULL);
		jit_give_logs(l, reply, out.info_len, out.error_len);
	}
	free(reply);
	return rc;
}

/* The options of one input would be for how it is compiled: none has an effect on what we load. */
CUresult cuLinkAddData_v2(CUlinkState h, CUjitInputType type, void *data, size_t size, const char *name, unsigned int n,
			  CUjit_option *opt, void **val)
{
	struct jit_logs unused = { 0 };
	struct gobj *o;
	int rc = enter(h, &o);

	if (!rc)
		rc = jit_read_options(n, opt, val, 0, &unused);
	return rc ? rc : add(o, type, data, size, name ? name : "");
}

CUresult cuLinkAddFile_v2(CUlinkState h, CUjitInputType type, const char *path, unsigned int n, CUjit_option *opt, void **val)
{
	struct jit_logs unused = { 0 };
	struct gobj *o;
	size_t size;
	void *p;
	int rc = enter(h, &o);

	if (!rc)
		rc = path ? jit_read_options(n, opt, val, 0, &unused) : CUDA_ERROR_INVALID_VALUE;
	if (!rc)
		rc = image_map(path, &p, &size);
	if (rc)
		return rc;
	rc = add(o, type, p, size, path);
	munmap(p, size);
	return rc;
}

/* The image, and a NUL behind it. */
static int fetch(uint32_t image, uint64_t size, char **out)
{
	char *to = size <= UINT32_MAX ? malloc(size + 1) : NULL;
	int rc = to ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;

	for (uint64_t at = 0; !rc && at < size;) {
		struct vgpu_in_image_read in = { .at = (uint32_t)at, .image = image };
		uint32_t want = size - at < PIECE ? (uint32_t)(size - at) : PIECE, got = 0;

		rc = vgpu_call_image_read(guest_client, 0, &in, to + at, want, &got);
		if (!rc && got != want)
			rc = CUDA_ERROR_UNKNOWN;
		at += want;
	}
	vgpu_call_image_drop(guest_client, 0, &(struct vgpu_in_image_drop){ .image = image });
	if (rc) {
		free(to);
		return rc;
	}
	to[size] = 0;
	*out = to;
	return CUDA_SUCCESS;
}

CUresult cuLinkComplete(CUlinkState h, void **cubin, size_t *size)
{
	struct vgpu_in_link_complete in = { 0 };
	struct vgpu_out_link_complete out = { 0 };
	struct jit_logs *l;
	struct gobj *o;
	char *reply, *image = NULL;
	int rc = enter(h, &o);

	if (rc || !cubin)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	l = o->link.logs;
	in = (struct vgpu_in_link_complete){ .link = o->wire, .info_cap = l->info_cap, .error_cap = l->error_cap };
	reply = calloc(1, l->info_cap + l->error_cap + 1);
	if (!reply)
		return CUDA_ERROR_OUT_OF_MEMORY;
	rc = vgpu_call_link_complete(guest_client, o->ctx->wire, &in, &out, reply, l->info_cap + l->error_cap, NULL);
	jit_give_logs(l, reply, out.info_len, out.error_len);
	free(reply);
	if (!rc)
		rc = fetch(out.image, out.size, &image);
	if (rc)
		return rc;
	free(o->link.cubin);
	o->link.cubin = image; /* the program's until cuLinkDestroy */
	*cubin = image;
	if (size)
		*size = out.size;
	return CUDA_SUCCESS;
}

CUresult cuLinkDestroy(CUlinkState h)
{
	struct vgpu_in_link_destroy in;
	struct gobj *o;
	int rc = enter(h, &o);

	if (rc)
		return rc;
	in.link = o->wire;
	rc = vgpu_call_link_destroy(guest_client, o->ctx->wire, &in);
	g_drop(o);
	return rc;
}
