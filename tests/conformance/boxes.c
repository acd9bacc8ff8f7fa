/* SPDX-License-Identifier: Apache-2.0 */
/* Three-dimensional copies and asynchronous array copies, against the same copy done by loops here. */
#include "conf.h"

/* A volume in memory: rows of `pitch` bytes, slices of `rows` rows. */
struct volume {
	CUmemorytype type;
	size_t pitch, rows, slices;
	unsigned char *host;	/* pageable or pinned; for the device: what it should hold */
	CUdeviceptr device;
	CUarray array;
	bool pinned;
};

enum { W = 96, H = 13, D = 7 }; /* of an array: bytes, rows, slices */

static size_t bytes_of(const struct volume *v)
{
	return v->pitch * v->rows * v->slices;
}

static void paint(unsigned char *p, size_t n, unsigned seed)
{
	uint64_t state = seed;

	for (size_t i = 0; i < n; i++)
		p[i] = (unsigned char)conf_random(&state);
}

/* What the volume holds now. */
static void read_back(const struct volume *v, unsigned char *out)
{
	CUDA_MEMCPY3D c = { .srcMemoryType = CU_MEMORYTYPE_ARRAY, .srcArray = v->array, .dstMemoryType = CU_MEMORYTYPE_HOST,
			    .dstHost = out, .dstPitch = W, .dstHeight = H, .WidthInBytes = W, .Height = H, .Depth = D };

	if (v->type == CU_MEMORYTYPE_HOST)
		memcpy(out, v->host, bytes_of(v));
	else if (v->type == CU_MEMORYTYPE_DEVICE)
		OK(cuMemcpyDtoH(out, v->device, bytes_of(v)));
	else
		OK(cuMemcpy3D(&c));
}

static struct volume make(CUmemorytype type, bool pinned, unsigned seed, unsigned char **content)
{
	struct volume v = { .type = type, .pitch = type == CU_MEMORYTYPE_ARRAY ? W : W + 8 * (seed % 5),
			    .rows = type == CU_MEMORYTYPE_ARRAY ? H : H + seed % 3, .slices = D, .pinned = pinned };
	CUDA_ARRAY3D_DESCRIPTOR d = { .Width = W / 4, .Height = H, .Depth = D, .Format = CU_AD_FORMAT_UNSIGNED_INT16,
				      .NumChannels = 2 };

	*content = malloc(bytes_of(&v));
	paint(*content, bytes_of(&v), seed);
	if (type == CU_MEMORYTYPE_ARRAY) {
		OK(cuArray3DCreate(&v.array, &d));
		CUDA_MEMCPY3D c = { .dstMemoryType = CU_MEMORYTYPE_ARRAY, .dstArray = v.array,
				    .srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = *content, .srcPitch = W, .srcHeight = H,
				    .WidthInBytes = W, .Height = H, .Depth = D };
		OK(cuMemcpy3D(&c));
		return v;
	}
	if (type == CU_MEMORYTYPE_DEVICE) {
		v.device = conf_upload(*content, bytes_of(&v));
		return v;
	}
	if (pinned)
		OK(cuMemAllocHost((void **)&v.host, bytes_of(&v)));
	else
		v.host = malloc(bytes_of(&v));
	memcpy(v.host, *content, bytes_of(&v));
	return v;
}

static void drop(struct volume *v, unsigned char *content)
{
	if (v->type == CU_MEMORYTYPE_ARRAY)
		OK(cuArrayDestroy(v->array));
	else if (v->type == CU_MEMORYTYPE_DEVICE)
		OK(cuMemFree(v->device));
	else if (v->pinned)
		OK(cuMemFreeHost(v->host));
	else
		free(v->host);
	free(content);
}

/* One box from the middle of src into the middle of dst; nothing else of dst changes. */
static void one(CUmemorytype from, bool from_pinned, CUmemorytype to, bool to_pinned, bool async)
{
	unsigned char *sc, *dc, *got;
	struct volume s = make(from, from_pinned, 3, &sc), d = make(to, to_pinned, 7, &dc);
	CUDA_MEMCPY3D c = { .srcXInBytes = 8, .srcY = 2, .srcZ = 1, .srcMemoryType = from, .srcHost = s.host,
			    .srcDevice = s.device, .srcArray = s.array, .srcPitch = s.pitch, .srcHeight = s.rows,
			    .dstXInBytes = 20, .dstY = 1, .dstZ = 2, .dstMemoryType = to, .dstHost = d.host,
			    .dstDevice = d.device, .dstArray = d.array, .dstPitch = d.pitch, .dstHeight = d.rows,
			    .WidthInBytes = 60, .Height = 9, .Depth = 4 };
	CUstream stream;

	OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	OK(async ? cuMemcpy3DAsync(&c, stream) : cuMemcpy3D(&c));
	OK(async ? cuStreamSynchronize(stream) : cuCtxSynchronize());
	for (size_t z = 0; z < c.Depth; z++)
		for (size_t y = 0; y < c.Height; y++)
			memcpy(dc + ((z + c.dstZ) * d.rows + y + c.dstY) * d.pitch + c.dstXInBytes,
			       sc + ((z + c.srcZ) * s.rows + y + c.srcY) * s.pitch + c.srcXInBytes, c.WidthInBytes);
	got = malloc(bytes_of(&d));
	read_back(&d, got);
	if (!conf_same(got, dc, bytes_of(&d), "the copied volume", __FILE__, __LINE__))
		conf_note("from type %d%s to type %d%s%s", from, from_pinned ? " (pinned)" : "", to,
			  to_pinned ? " (pinned)" : "", async ? ", async" : "");
	free(got);
	OK(cuStreamDestroy(stream));
	drop(&s, sc);
	drop(&d, dc);
}

static void every_way(void)
{
	static const struct {
		CUmemorytype type;
		bool pinned;
	} side[] = { { CU_MEMORYTYPE_HOST, false }, { CU_MEMORYTYPE_HOST, true }, { CU_MEMORYTYPE_DEVICE, false },
		     { CU_MEMORYTYPE_ARRAY, false } };

	conf_context();
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < 4; k++)
			for (int async = 0; async < 2; async++)
				one(side[i].type, side[i].pinned, side[k].type, side[k].pinned, async);
}

/* Larger than any staging area, with rows longer than a piece of it. */
static void large(void)
{
	enum { ROW = 300 << 10, ROWS = 3, SLICES = 9 };
	size_t n = (size_t)ROW * ROWS * SLICES;
	unsigned char *up = malloc(n), *down = malloc(n);
	CUdeviceptr p;

	conf_context();
	p = conf_alloc(n);
	paint(up, n, 5);
	CUDA_MEMCPY3D c = { .srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = up, .srcPitch = ROW, .srcHeight = ROWS,
			    .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = p, .dstPitch = ROW, .dstHeight = ROWS,
			    .WidthInBytes = ROW, .Height = ROWS, .Depth = SLICES };
	OK(cuMemcpy3D(&c));
	memset(down, 0, n);
	CUDA_MEMCPY3D back = { .srcMemoryType = CU_MEMORYTYPE_UNIFIED, .srcDevice = p, .srcPitch = ROW, .srcHeight = ROWS,
			       .dstMemoryType = CU_MEMORYTYPE_UNIFIED, .dstDevice = (uintptr_t)down, .dstPitch = ROW,
			       .dstHeight = ROWS, .WidthInBytes = ROW, .Height = ROWS, .Depth = SLICES };
	OK(cuMemcpy3D(&back));
	SAME(down, up, n);
	OK(cuMemFree(p));
	free(up);
	free(down);
}

static void refused(void)
{
	unsigned char *dc, host[4096];
	CUDA_MEMCPY3D good, c;
	struct volume d;

	conf_context();
	d = make(CU_MEMORYTYPE_ARRAY, false, 1, &dc);
	good = (CUDA_MEMCPY3D){ .dstMemoryType = CU_MEMORYTYPE_ARRAY, .dstArray = d.array, .srcMemoryType = CU_MEMORYTYPE_HOST,
				.srcHost = host, .srcPitch = 32, .srcHeight = 4, .WidthInBytes = 32, .Height = 4, .Depth = 2 };
	memset(host, 1, sizeof(host));
	OK(cuMemcpy3D(&good));
	c = good, c.dstZ = D - 1;
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy3D(&c));
	c = good, c.dstY = H - 3;
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy3D(&c));
	c = good, c.dstXInBytes = W - 16;
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy3D(&c));
	c = good, c.dstZ = (size_t)1 << 32;
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy3D(&c));
	c = good, c.srcHeight = 3; /* slices would overlap */
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy3D(&c));
	c = good, c.srcPitch = 31;
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy3D(&c));
	c = good, c.srcPitch = (size_t)1 << 62;
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy3D(&c));
	c = good, c.dstArray = (CUarray)(uintptr_t)0x1234;
	IS(CUDA_ERROR_INVALID_HANDLE, cuMemcpy3D(&c));
	c = good, c.Depth = 0;
	OK(cuMemcpy3D(&c));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy3D(NULL));
	drop(&d, dc);
}

/* One-dimensional calls: a byte offset counts row after row. */
static void array_runs(void)
{
	CUDA_ARRAY_DESCRIPTOR flat = { 64, 0, CU_AD_FORMAT_UNSIGNED_INT32, 1 };
	unsigned char in[256], out[256], *pinned;
	CUarray a, b;
	CUstream s;

	conf_context();
	paint(in, sizeof(in), 11);
	OK(cuArrayCreate(&a, &flat));
	OK(cuArrayCreate(&b, &flat));
	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	OK(cuMemAllocHost((void **)&pinned, 4096));
	OK(cuMemcpyHtoAAsync(a, 0, in, 256, s));
	OK(cuMemcpyAtoHAsync(pinned, a, 64, 128, s));
	OK(cuStreamSynchronize(s));
	SAME(pinned, in + 64, 128);
	OK(cuMemcpyAtoA(b, 16, a, 32, 100));
	memset(out, 0, sizeof(out));
	OK(cuMemcpyAtoH(out, b, 16, 100));
	SAME(out, in + 32, 100);
	memcpy(pinned, in + 128, 64);
	OK(cuMemcpyHtoAAsync(a, 0, pinned, 64, s));
	OK(cuMemcpyAtoHAsync(out, a, 0, 64, s)); /* pageable: there when the call returns */
	SAME(out, in + 128, 64);
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoA(a, 200, in, 100));
	OK(cuMemFreeHost(pinned));
	OK(cuStreamDestroy(s));
	OK(cuArrayDestroy(a));
	OK(cuArrayDestroy(b));
}

/* Between contexts of one device a peer copy is an ordinary one. */
static void peers(void)
{
	uint32_t in[64], out[64];
	CUcontext ctx = conf_context();
	CUdeviceptr p, q;
	CUstream s;

	paint((unsigned char *)in, sizeof(in), 3);
	p = conf_upload(in, sizeof(in));
	q = conf_alloc(sizeof(in));
	OK(cuMemcpyPeer(q, ctx, p, ctx, sizeof(in)));
	OK(cuMemcpyDtoH(out, q, sizeof(out)));
	SAME(out, in, sizeof(in));
	OK(cuMemsetD8(q, 0, sizeof(in)));
	OK(cuStreamCreate(&s, CU_STREAM_DEFAULT));
	OK(cuMemcpyPeerAsync(q, ctx, p, ctx, sizeof(in), s));
	OK(cuStreamSynchronize(s));
	OK(cuMemcpyDtoH(out, q, sizeof(out)));
	SAME(out, in, sizeof(in));
	IS(CUDA_ERROR_INVALID_CONTEXT, cuMemcpyPeer(q, NULL, p, ctx, 4));
	OK(cuStreamDestroy(s));
	OK(cuMemFree(p));
	OK(cuMemFree(q));
}

static const struct conf_case cases[] = {
	{ "boxes between host, pinned, device and array, both ways of waiting", every_way, false },
	{ "a large volume", large, false },
	{ "impossible boxes are refused", refused, false },
	{ "runs of arrays, asynchronously", array_runs, false },
	{ "peer copies", peers, false },
};
CONF_MAIN(cases)
