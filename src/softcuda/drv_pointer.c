// SPDX-License-Identifier: Apache-2.0
/* cuPointerGetAttribute(s): what a pointer is. */
#include <string.h>
#include "softcuda/drv.h"

union answer { CUcontext ctx; unsigned u; int i; uint64_t u64; CUdeviceptr dptr; void *p; bool b; };

struct attribute {
	unsigned size; /* of the answer; 0 = not offered */
	int (*get)(const struct drv_mem *m, uint64_t ptr, union answer *a);
};

static bool on_host(const struct drv_mem *m)
{
	return m->kind == MEM_HOST || m->kind == MEM_REGISTERED || m->kind == MEM_MANAGED;
}

static int context(const struct drv_mem *m, uint64_t ptr, union answer *a)
{
	a->ctx = drv_obj_handle(m->ctx);
	return 0;
}

static int memory_type(const struct drv_mem *m, uint64_t ptr, union answer *a)
{
	a->u = m->kind == MEM_HOST || m->kind == MEM_REGISTERED ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
	return 0;
}

static int device_pointer(const struct drv_mem *m, uint64_t ptr, union answer *a)
{
	a->dptr = ptr;
	return 0;
}

static int host_pointer(const struct drv_mem *m, uint64_t ptr, union answer *a)
{
	a->p = (void *)(uintptr_t)ptr;
	return on_host(m) ? 0 : CUDA_ERROR_INVALID_VALUE;
}

static int sync_memops(const struct drv_mem *m, uint64_t ptr, union answer *a)
{
	a->i = m->sync_memops;
	return 0;
}

static int buffer_id(const struct drv_mem *m, uint64_t ptr, union answer *a)
{
	a->u64 = m->id;
	return 0;
}

static int is_managed(const struct drv_mem *m, uint64_t ptr, union answer *a)
{
	a->i = m->kind == MEM_MANAGED;
	return 0;
}

static int ordinal(const struct drv_mem *m, uint64_t ptr, union answer *a)
{
	a->i = m->ctx->device;
	return 0;
}

static int no(const struct drv_mem *m, uint64_t ptr, union answer *a)
{
	a->u64 = 0;
	return 0;
}

static int yes(const struct drv_mem *m, uint64_t ptr, union answer *a)
{
	a->i = 1;
	return 0;
}

static int start(const struct drv_mem *m, uint64_t ptr, union answer *a)
{
	a->u64 = m->base;
	return 0;
}

static int size(const struct drv_mem *m, uint64_t ptr, union answer *a)
{
	a->u64 = m->size;
	return 0;
}

static int pool(const struct drv_mem *m, uint64_t ptr, union answer *a)
{
	a->p = m->pool ? drv_obj_handle(m->pool) : NULL;
	return 0;
}

static int access_flags(const struct drv_mem *m, uint64_t ptr, union answer *a)
{
	a->u = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
	return 0;
}

static const struct attribute table[] = {
	[CU_POINTER_ATTRIBUTE_CONTEXT] = { sizeof(CUcontext), context },
	[CU_POINTER_ATTRIBUTE_MEMORY_TYPE] = { sizeof(unsigned), memory_type },
	[CU_POINTER_ATTRIBUTE_DEVICE_POINTER] = { sizeof(CUdeviceptr), device_pointer },
	[CU_POINTER_ATTRIBUTE_HOST_POINTER] = { sizeof(void *), host_pointer },
	[CU_POINTER_ATTRIBUTE_SYNC_MEMOPS] = { sizeof(int), sync_memops },
	[CU_POINTER_ATTRIBUTE_BUFFER_ID] = { sizeof(uint64_t), buffer_id },
	[CU_POINTER_ATTRIBUTE_IS_MANAGED] = { sizeof(int), is_managed },
	[CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL] = { sizeof(int), ordinal },
	[CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE] = { sizeof(int), no },
	[CU_POINTER_ATTRIBUTE_RANGE_START_ADDR] = { sizeof(CUdeviceptr), start },
	[CU_POINTER_ATTRIBUTE_RANGE_SIZE] = { sizeof(size_t), size },
	[CU_POINTER_ATTRIBUTE_MAPPED] = { sizeof(int), yes },
	[CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES] = { sizeof(uint64_t), no },
	[CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE] = { sizeof(int), no },
	[CU_POINTER_ATTRIBUTE_ACCESS_FLAGS] = { sizeof(unsigned), access_flags },
	[CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE] = { sizeof(void *), pool },
	[CU_POINTER_ATTRIBUTE_MAPPING_SIZE] = { sizeof(size_t), size },
	[CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR] = { sizeof(void *), start },
	[CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID] = { sizeof(uint64_t), buffer_id },
	[CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE] = { sizeof(int), no },
};

static const struct attribute *find(CUpointer_attribute which)
{
	return which > 0 && which < sizeof table / sizeof *table && table[which].size ? &table[which] : NULL;
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr)
{
	const struct attribute *at = find(attribute);
	union answer a = { 0 };
	struct drv_mem m;
	DRV_TRY(drv_ready());
	if (!data || !at || !drv_mem_find(ptr, &m))
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(at->get(&m, ptr, &a));
	memcpy(data, &a, at->size);
	return CUDA_SUCCESS;
}

/* Asked in a list, an unknown pointer is no error: every answer is zero (device -2). */
CUresult cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute *attributes, void **data, CUdeviceptr ptr)
{
	struct drv_mem m;
	DRV_TRY(drv_ready());
	if (!numAttributes || !attributes || !data)
		return CUDA_ERROR_INVALID_VALUE;
	bool known = drv_mem_find(ptr, &m);
	for (unsigned i = 0; i < numAttributes; i++) {
		const struct attribute *at = find(attributes[i]);
		union answer a = { 0 };
		if (!at || !data[i])
			return CUDA_ERROR_INVALID_VALUE;
		if (!known && attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
			a.i = CU_DEVICE_INVALID;
		if (known && at->get(&m, ptr, &a))
			a = (union answer){ 0 };
		memcpy(data[i], &a, at->size);
	}
	return CUDA_SUCCESS;
}
