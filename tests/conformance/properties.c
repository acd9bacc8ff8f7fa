/* SPDX-License-Identifier: Apache-2.0 */
/* What runtimes ask about streams, devices, kernels and libraries before they do anything. */
#include "conf.h"

static void stream_attributes(void)
{
	CUstreamAttrValue v = { 0 };
	CUstream s, t;

	conf_context();
	OK(cuStreamCreate(&s, 0));
	OK(cuStreamCreate(&t, 0));
	OK(cuStreamGetAttribute(s, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &v));
	EQ(v.syncPolicy, CU_SYNC_POLICY_AUTO);
	v.syncPolicy = CU_SYNC_POLICY_YIELD;
	OK(cuStreamSetAttribute(s, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &v));
	OK(cuStreamCopyAttributes(t, s));
	v.syncPolicy = 0;
	OK(cuStreamGetAttribute(t, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &v));
	EQ(v.syncPolicy, CU_SYNC_POLICY_YIELD);
	IS(CUDA_ERROR_INVALID_VALUE, cuStreamGetAttribute(s, (CUstreamAttrID)9999, &v));
	OK(cuStreamDestroy(s));
	OK(cuStreamDestroy(t));
}

static void not_capturing(void)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_ACTIVE;
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
	cuuint64_t id;
	CUstream s;

	conf_context();
	OK(cuStreamCreate(&s, 0));
	OK(cuStreamGetCaptureInfo(s, &status, &id, NULL, NULL, NULL, NULL));
	EQ(status, CU_STREAM_CAPTURE_STATUS_NONE);
	OK(cuThreadExchangeStreamCaptureMode(&mode));
	EQ(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
	OK(cuThreadExchangeStreamCaptureMode(&mode));
	EQ(mode, CU_STREAM_CAPTURE_MODE_RELAXED);
	OK(cuStreamDestroy(s));
	IS(CUDA_ERROR_INVALID_HANDLE, cuStreamGetCaptureInfo(s, &status, &id, NULL, NULL, NULL, NULL));
}

static void one_device(void)
{
	CUdevice dev = conf_device();
	CUcontext ctx = conf_context(), other;
	int v = 0, count = 0;
	size_t width = 0;

	IS(CUDA_ERROR_INVALID_DEVICE, cuDeviceGetP2PAttribute(&v, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, dev, dev));
	OK(cuDeviceGetCount(&count));
	IS(CUDA_ERROR_INVALID_DEVICE, cuDeviceGetP2PAttribute(&v, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, dev, count));
	OK(cuDeviceGetTexture1DLinearMaxWidth(&width, CU_AD_FORMAT_FLOAT, 4, dev));
	TRUE(width >= 1 << 16);
	OK(cuCtxCreate(&other, 0, dev));
	IS(CUDA_ERROR_INVALID_DEVICE, cuCtxEnablePeerAccess(ctx, 0));
	IS(CUDA_ERROR_PEER_ACCESS_NOT_ENABLED, cuCtxDisablePeerAccess(ctx));
	OK(cuCtxDestroy(other));
	OK(cuCtxSetCurrent(ctx));
}

static void attached_contexts(void)
{
	CUcontext ctx = conf_context(), made, again;
	unsigned version;

	OK(cuCtxCreate(&made, 0, conf_device()));
	OK(cuCtxAttach(&again, 0));
	TRUE(again == made);
	OK(cuCtxDetach(made));
	OK(cuCtxGetApiVersion(made, &version));
	OK(cuCtxDetach(made));
	IS_EITHER(CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_CONTEXT_IS_DESTROYED, cuCtxGetApiVersion(made, &version));
	OK(cuCtxSetCurrent(ctx));
}

static void occupancy(void)
{
	CUfunction f = conf_function(conf_module(ptx_basic), "dynamic_shared");
	size_t one = 0, four = 0;
	int blocks = 0;

	conf_context();
	OK(cuOccupancyAvailableDynamicSMemPerBlock(&one, f, 1, 128));
	OK(cuOccupancyAvailableDynamicSMemPerBlock(&four, f, 4, 128));
	TRUE(one > four && four > 0);
	/* What it offers does fit. */
	OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 128, four));
	TRUE(blocks >= 4);
	IS(CUDA_ERROR_INVALID_VALUE, cuOccupancyAvailableDynamicSMemPerBlock(&one, f, 0, 128));
	IS(CUDA_ERROR_INVALID_VALUE, cuOccupancyAvailableDynamicSMemPerBlock(&one, f, 1, 100000));
}

static void library_kernels(void)
{
	unsigned n = 0, found = 0;
	CUkernel kernels[128], fill;
	CUlibrary lib;
	void *fn;

	conf_context();
	OK(cuLibraryLoadData(&lib, ptx_basic, NULL, NULL, 0, NULL, NULL, 0));
	OK(cuLibraryGetKernelCount(&n, lib));
	TRUE(n > 5 && n < 128);
	OK(cuLibraryEnumerateKernels(kernels, n, lib));
	OK(cuLibraryGetKernel(&fill, lib, "fill"));
	for (unsigned i = 0; i < n; i++) {
		const char *name = "";

		OK(cuKernelGetName(&name, kernels[i]));
		found += kernels[i] == fill && !strcmp(name, "fill");
	}
	EQ(found, 1);
	IS(CUDA_ERROR_NOT_FOUND, cuLibraryGetManaged(NULL, NULL, lib, "nothing"));
	IS(CUDA_ERROR_NOT_FOUND, cuLibraryGetUnifiedFunction(&fn, lib, "nothing"));
	OK(cuLibraryUnload(lib));
}

static const struct conf_case cases[] = {
	{ "stream attributes", stream_attributes, false },
	{ "no stream is capturing", not_capturing, false },
	{ "one device has no peers", one_device, false },
	{ "attached contexts", attached_contexts, false },
	{ "shared memory left for so many blocks", occupancy, false },
	{ "the kernels of a library", library_kernels, false },
};
CONF_MAIN(cases)
