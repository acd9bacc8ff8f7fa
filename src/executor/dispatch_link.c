/* SPDX-License-Identifier: Apache-2.0 */
/* The JIT linker. Inputs are images, so is the result; logs belong to the link and are sent whole with
 * every answer. One lock for all links: helpers may be told to add to and to destroy the same one. */
#include <stdlib.h>
#include <string.h>
#include "cuda/fatbin.h"
#include "executor/call.h"
#include "wire/ops_dec.h"

#define LOG 28672u /* bytes of each log: both fit into one reply */

struct link { /* obj.data */
	char info[LOG], error[LOG];
	void *value[4]; /* the driver writes the lengths here as long as the link lives */
};

static const CUjit_option options[4] = { CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
					 CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES };

static bool supported(const struct cuda_driver *d)
{
	return d->cuLinkCreate_v2 && d->cuLinkAddData_v2 && d->cuLinkComplete && d->cuLinkDestroy;
}

static int create(struct exec *x, struct call *c, uint32_t *handle)
{
	struct link *l = calloc(1, sizeof(*l));
	CUlinkState state = NULL;
	CUjit_option opt[4];
	struct obj *o;
	int rc;

	if (!l)
		return CUDA_ERROR_OUT_OF_MEMORY;
	memcpy(opt, options, sizeof(opt));
	l->value[0] = l->info;
	l->value[2] = l->error;
	l->value[1] = l->value[3] = (void *)(uintptr_t)LOG;
	rc = x->drv->cuLinkCreate_v2(4, opt, l->value, &state);
	o = rc ? NULL : obj_add_with(&x->handles, OBJ_LINK, c->ctx, state, 0, 0, l);
	if (!o) {
		if (!rc)
			x->drv->cuLinkDestroy(state);
		free(l);
		return rc ? rc : CUDA_ERROR_OUT_OF_MEMORY;
	}
	*handle = obj_handle(o);
	return CUDA_SUCCESS;
}

int op_link_create(struct exec *x, struct call *c, struct vgpu_out_link_create *out)
{
	int rc = CUDA_ERROR_OUT_OF_MEMORY;

	if (!supported(x->drv))
		return CUDA_ERROR_NOT_SUPPORTED;
	pthread_mutex_lock(&x->link_lock);
	if (x->links < EXEC_LINKS)
		rc = create(x, c, &out->link);
	x->links += !rc;
	pthread_mutex_unlock(&x->link_lock);
	return rc;
}

/* Under the lock. The driver does not tell lengths of a call that failed: up to the first NUL. */
static void give_logs(struct call *c, const struct obj *o, uint32_t info_cap, uint32_t error_cap, uint32_t *info,
		      uint32_t *error)
{
	const struct link *l = o->data;

	c->reply = malloc((size_t)info_cap + error_cap + 1);
	if (!c->reply)
		return;
	*info = (uint32_t)strnlen(l->info, info_cap);
	*error = (uint32_t)strnlen(l->error, error_cap);
	memcpy(c->reply, l->info, info_cap);
	memcpy(c->reply + info_cap, l->error, error_cap);
	c->reply_len = info_cap + error_cap;
}

/* Under the lock. Charged before: the driver keeps a copy, and what it unpacks, until the link ends. */
static int add(struct exec *x, const struct vgpu_in_link_add *in, struct obj *link, const struct obj *image,
	       const char *name)
{
	uint64_t size = cuda_image_unpacked(image->data, image->bytes);
	int rc;

	if (!image_charge(x, size))
		return CUDA_ERROR_OUT_OF_MEMORY;
	rc = x->drv->cuLinkAddData_v2(link->real, (CUjitInputType)in->type, image->data, image->bytes, name, 0, NULL,
				      NULL);
	if (rc)
		image_discharge(x, size);
	else
		link->bytes += size;
	return rc;
}

int op_link_add(struct exec *x, struct call *c, const struct vgpu_in_link_add *in, struct vgpu_out_link_add *out,
		struct obj *link, struct obj *image)
{
	char name[256] = "";
	int rc = CUDA_ERROR_INVALID_HANDLE;

	memcpy(name, c->payload, c->payload_len < sizeof(name) ? c->payload_len : sizeof(name) - 1);
	if (!image_take(x, image, in->image))
		return rc;
	pthread_mutex_lock(&x->link_lock);
	if (obj_handle(link) == in->link) {
		rc = add(x, in, link, image, name);
		give_logs(c, link, in->info_cap, in->error_cap, &out->info_len, &out->error_len);
	}
	pthread_mutex_unlock(&x->link_lock);
	image_free(x, image, in->image);
	return rc;
}

/* Under the lock: what was linked becomes an image of its own. */
static int complete(struct exec *x, struct obj *link, struct vgpu_out_link_complete *out)
{
	void *cubin = NULL;
	uint8_t *copy;
	size_t size = 0;
	int rc = x->drv->cuLinkComplete(link->real, &cubin, &size);

	if (rc)
		return rc;
	if (!image_charge(x, size))
		return CUDA_ERROR_OUT_OF_MEMORY;
	copy = calloc(1, size + 1);
	if (copy)
		memcpy(copy, cubin, size);
	out->size = size;
	return image_add(x, size, copy, &out->image);
}

int op_link_complete(struct exec *x, struct call *c, const struct vgpu_in_link_complete *in,
		     struct vgpu_out_link_complete *out, struct obj *link)
{
	int rc = CUDA_ERROR_INVALID_HANDLE;

	pthread_mutex_lock(&x->link_lock);
	if (obj_handle(link) == in->link) {
		rc = complete(x, link, out);
		give_logs(c, link, in->info_cap, in->error_cap, &out->info_len, &out->error_len);
	}
	pthread_mutex_unlock(&x->link_lock);
	return rc;
}

/* Under the lock; its context is current. */
static int drop(struct exec *x, struct obj *link, uint32_t handle)
{
	uint64_t bytes = link->bytes;
	int rc;

	if (!obj_claim(link, handle))
		return CUDA_ERROR_INVALID_HANDLE;
	rc = x->drv->cuLinkDestroy(link->real);
	obj_release(&x->handles, OBJ_LINK, link, handle);
	x->links--;
	image_discharge(x, bytes);
	return rc;
}

int op_link_destroy(struct exec *x, struct call *c, const struct vgpu_in_link_destroy *in, struct obj *link)
{
	int rc;

	pthread_mutex_lock(&x->link_lock);
	rc = drop(x, link, in->link);
	pthread_mutex_unlock(&x->link_lock);
	return rc;
}

struct of_ctx {
	struct exec *x;
	uint32_t ctx;
};

static void drop_one(void *arg, struct obj *o)
{
	struct of_ctx *s = arg;

	if (!s->ctx || o->ctx == s->ctx)
		drop(s->x, o, obj_handle(o));
}

void link_drop_ctx(struct exec *x, uint32_t ctx)
{
	struct of_ctx s = { x, ctx };

	pthread_mutex_lock(&x->link_lock);
	obj_each(&x->handles, OBJ_LINK, drop_one, &s);
	pthread_mutex_unlock(&x->link_lock);
}
