/* SPDX-License-Identifier: Apache-2.0 */
/* Which symbols cuda_driver_open() looks up: without the required ones an executor cannot work;
 * optional = the rest of cuda/api.h, NULL where the driver lacks it. */
#ifndef VGPU_CUDA_LOADER_NAMES_H
#define VGPU_CUDA_LOADER_NAMES_H

#define CUDA_REQUIRED(X) \
	X(cuInit) X(cuDriverGetVersion) X(cuGetErrorName) X(cuGetErrorString) X(cuDeviceGet) \
	X(cuDeviceGetCount) X(cuDeviceGetName) X(cuDeviceGetUuid) X(cuDeviceTotalMem_v2) \
	X(cuDeviceGetAttribute) X(cuDeviceGetPCIBusId) X(cuDevicePrimaryCtxRetain) \
	X(cuDevicePrimaryCtxRelease_v2) X(cuDevicePrimaryCtxReset_v2) X(cuCtxCreate_v2) \
	X(cuCtxDestroy_v2) X(cuCtxPushCurrent_v2) X(cuCtxPopCurrent_v2) X(cuCtxSetCurrent) \
	X(cuCtxGetCurrent) X(cuCtxGetDevice) X(cuCtxSynchronize) X(cuCtxSetLimit) X(cuCtxGetLimit) \
	X(cuCtxGetApiVersion) X(cuCtxGetStreamPriorityRange) X(cuModuleLoadData) X(cuModuleLoadDataEx) \
	X(cuModuleUnload) X(cuModuleGetFunction) X(cuModuleGetGlobal_v2) X(cuFuncGetAttribute) \
	X(cuFuncSetAttribute) X(cuLaunchKernel) X(cuLaunchHostFunc) X(cuMemGetInfo_v2) X(cuMemAlloc_v2) \
	X(cuMemAllocPitch_v2) X(cuMemFree_v2) X(cuMemGetAddressRange_v2) X(cuMemAllocHost_v2) \
	X(cuMemFreeHost) X(cuMemHostAlloc) X(cuMemHostRegister_v2) X(cuMemHostUnregister) \
	X(cuMemHostGetDevicePointer_v2) X(cuPointerGetAttribute) X(cuMemcpyHtoD_v2) X(cuMemcpyDtoH_v2) \
	X(cuMemcpyDtoD_v2) X(cuMemcpyHtoDAsync_v2) X(cuMemcpyDtoHAsync_v2) X(cuMemcpyDtoDAsync_v2) \
	X(cuMemcpy2D_v2) X(cuMemcpy2DUnaligned_v2) X(cuMemcpy2DAsync_v2) X(cuMemcpy3D_v2) \
	X(cuMemcpy3DAsync_v2) X(cuMemsetD8_v2) X(cuMemsetD8Async) X(cuMemsetD16Async) \
	X(cuMemsetD32Async) X(cuMemsetD2D8Async) X(cuMemsetD2D16Async) X(cuMemsetD2D32Async) \
	X(cuArrayCreate_v2) X(cuArray3DCreate_v2) X(cuArrayDestroy) X(cuTexObjectCreate) \
	X(cuTexObjectDestroy) X(cuStreamCreateWithPriority) X(cuStreamDestroy_v2) X(cuStreamQuery) \
	X(cuStreamSynchronize) X(cuStreamWaitEvent) X(cuEventCreate) X(cuEventRecord) X(cuEventQuery) \
	X(cuEventSynchronize) X(cuEventDestroy_v2) X(cuEventElapsedTime)

#define CUDA_OPTIONAL(X) \
	X(cuGetProcAddress) X(cuGetProcAddress_v2) X(cuGetExportTable) X(cuProfilerStart) \
	X(cuProfilerStop) X(cuDeviceGetUuid_v2) X(cuDeviceGetLuid) X(cuDeviceGetProperties) \
	X(cuDeviceComputeCapability) X(cuDeviceGetByPCIBusId) X(cuDeviceGetP2PAttribute) \
	X(cuDeviceCanAccessPeer) X(cuDeviceGetTexture1DLinearMaxWidth) X(cuDeviceGetDefaultMemPool) \
	X(cuDeviceGetMemPool) X(cuDeviceSetMemPool) X(cuFlushGPUDirectRDMAWrites) \
	X(cuDevicePrimaryCtxSetFlags_v2) X(cuDevicePrimaryCtxGetState) X(cuCtxCreate_v3) \
	X(cuCtxCreate_v4) X(cuCtxAttach) X(cuCtxDetach) X(cuCtxGetDevice_v2) X(cuCtxGetFlags) \
	X(cuCtxSetFlags) X(cuCtxGetId) X(cuCtxSynchronize_v2) X(cuCtxGetCacheConfig) \
	X(cuCtxSetCacheConfig) X(cuCtxGetSharedMemConfig) X(cuCtxSetSharedMemConfig) \
	X(cuCtxResetPersistingL2Cache) X(cuCtxEnablePeerAccess) X(cuCtxDisablePeerAccess) \
	X(cuModuleLoad) X(cuModuleLoadFatBinary) X(cuModuleGetLoadingMode) X(cuModuleGetFunctionCount) \
	X(cuModuleEnumerateFunctions) X(cuModuleGetTexRef) X(cuModuleGetSurfRef) X(cuLinkCreate_v2) \
	X(cuLinkAddData_v2) X(cuLinkAddFile_v2) X(cuLinkComplete) X(cuLinkDestroy) X(cuLibraryLoadData) \
	X(cuLibraryLoadFromFile) X(cuLibraryUnload) X(cuLibraryGetKernel) X(cuLibraryGetKernelCount) \
	X(cuLibraryEnumerateKernels) X(cuLibraryGetModule) X(cuLibraryGetGlobal) X(cuLibraryGetManaged) \
	X(cuLibraryGetUnifiedFunction) X(cuKernelGetFunction) X(cuKernelGetLibrary) X(cuKernelGetName) \
	X(cuKernelGetParamInfo) X(cuKernelGetAttribute) X(cuKernelSetAttribute) \
	X(cuKernelSetCacheConfig) X(cuFuncSetCacheConfig) X(cuFuncSetSharedMemConfig) X(cuFuncGetModule) \
	X(cuFuncGetName) X(cuFuncGetParamInfo) X(cuFuncIsLoaded) X(cuFuncLoad) X(cuLaunchKernelEx) \
	X(cuLaunchCooperativeKernel) X(cuFuncSetBlockShape) X(cuFuncSetSharedSize) X(cuParamSetSize) \
	X(cuParamSeti) X(cuParamSetf) X(cuParamSetv) X(cuLaunch) X(cuLaunchGrid) X(cuLaunchGridAsync) \
	X(cuOccupancyMaxActiveBlocksPerMultiprocessor) \
	X(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags) X(cuOccupancyMaxPotentialBlockSize) \
	X(cuOccupancyMaxPotentialBlockSizeWithFlags) X(cuOccupancyAvailableDynamicSMemPerBlock) \
	X(cuMemHostGetFlags) X(cuMemAllocManaged) X(cuMemAdvise) X(cuMemAdvise_v2) X(cuMemPrefetchAsync) \
	X(cuMemPrefetchAsync_v2) X(cuPointerGetAttributes) X(cuPointerSetAttribute) X(cuMemAllocAsync) \
	X(cuMemFreeAsync) X(cuMemAllocFromPoolAsync) X(cuMemPoolTrimTo) X(cuMemPoolSetAttribute) \
	X(cuMemPoolGetAttribute) X(cuMemPoolCreate) X(cuMemPoolDestroy) X(cuMemAddressReserve) \
	X(cuMemAddressFree) X(cuMemCreate) X(cuMemRelease) X(cuMemMap) X(cuMemUnmap) X(cuMemSetAccess) \
	X(cuMemGetAllocationGranularity) X(cuIpcGetEventHandle) X(cuIpcOpenEventHandle) \
	X(cuIpcGetMemHandle) X(cuIpcOpenMemHandle_v2) X(cuIpcCloseMemHandle) X(cuMemcpy) \
	X(cuMemcpyAsync) X(cuMemcpyDtoA_v2) X(cuMemcpyAtoD_v2) X(cuMemcpyHtoA_v2) X(cuMemcpyAtoH_v2) \
	X(cuMemcpyAtoA_v2) X(cuMemcpyHtoAAsync_v2) X(cuMemcpyAtoHAsync_v2) X(cuMemcpyPeer) \
	X(cuMemcpyPeerAsync) X(cuMemcpy3DPeer) X(cuMemcpy3DPeerAsync) X(cuMemsetD16_v2) \
	X(cuMemsetD32_v2) X(cuMemsetD2D8_v2) X(cuMemsetD2D16_v2) X(cuMemsetD2D32_v2) \
	X(cuArrayGetDescriptor_v2) X(cuArray3DGetDescriptor_v2) X(cuMipmappedArrayCreate) \
	X(cuMipmappedArrayGetLevel) X(cuMipmappedArrayDestroy) X(cuTexObjectGetResourceDesc) \
	X(cuTexObjectGetTextureDesc) X(cuTexObjectGetResourceViewDesc) X(cuSurfObjectCreate) \
	X(cuSurfObjectDestroy) X(cuTexRefSetArray) X(cuTexRefSetAddress_v2) X(cuTexRefSetAddress2D_v3) \
	X(cuTexRefSetFormat) X(cuTexRefSetAddressMode) X(cuTexRefSetFilterMode) X(cuTexRefSetFlags) \
	X(cuTexRefSetBorderColor) X(cuTexRefSetMaxAnisotropy) X(cuTexRefGetArray) \
	X(cuTexRefGetAddress_v2) X(cuTexRefGetAddressMode) X(cuTexRefGetFilterMode) X(cuTexRefGetFormat) \
	X(cuTexRefGetFlags) X(cuParamSetTexRef) X(cuStreamCreate) X(cuStreamGetPriority) \
	X(cuStreamGetFlags) X(cuStreamGetId) X(cuStreamGetCtx) X(cuStreamGetCtx_v2) X(cuStreamGetDevice) \
	X(cuStreamAddCallback) X(cuStreamAttachMemAsync) X(cuStreamCopyAttributes) \
	X(cuStreamGetAttribute) X(cuStreamSetAttribute) X(cuStreamIsCapturing) \
	X(cuStreamGetCaptureInfo) X(cuStreamGetCaptureInfo_v2) X(cuStreamGetCaptureInfo_v3) \
	X(cuStreamBeginCapture_v2) X(cuStreamEndCapture) X(cuThreadExchangeStreamCaptureMode) \
	X(cuEventRecordWithFlags) X(cuEventElapsedTime_v2) X(cuGraphCreate) X(cuGraphDestroy) \
	X(cuGraphInstantiateWithFlags) X(cuGraphLaunch) X(cuGraphExecDestroy)
#endif
