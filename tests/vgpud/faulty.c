/* SPDX-License-Identifier: Apache-2.0 */
/*
 * softcuda on devices that break: whoever runs a test appends 16 words to a copy of this library and writes CUDA
 * errors there. Word n: what who asks for the end of kernels on device n is told; word 8 + n: what copies to the host
 * return. HANG: who asks waits until the word is something else; by the first one, who looks for the device does, too.
 * The executor's own library file is what its jail lets it read, so nothing else is needed.
 */
#define CUDA_EXACT_NAMES
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cuda/cuda.h"

#define DEVICES 8
#define WORDS (2 * DEVICES)
#define HANG 0xffffffffu
#define EXPORT __attribute__((visibility("default")))

static const volatile uint32_t *words;
static int device; /* the last one asked for: an executor has one */

__typeof__(cuDeviceGet) real_cuDeviceGet;
__typeof__(cuEventQuery) real_cuEventQuery;
__typeof__(cuMemcpyDtoH_v2) real_cuMemcpyDtoH_v2;

static void __attribute__((constructor)) map_words(void)
{
	Dl_info self;
	struct stat st;
	off_t at, page = sysconf(_SC_PAGESIZE);
	void *p = MAP_FAILED;
	int fd = dladdr(&words, &self) ? open(self.dli_fname, O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0 || fstat(fd, &st))
		_exit(3);
	at = st.st_size - (off_t)(WORDS * sizeof(*words));
	p = mmap(NULL, (size_t)(st.st_size - at / page * page), PROT_READ, MAP_SHARED, fd, at / page * page);
	close(fd);
	if (p == MAP_FAILED || at % (off_t)sizeof(*words))
		_exit(3);
	words = (const volatile uint32_t *)((const char *)p + at % page);
}

static CUresult answer(unsigned word)
{
	while (words[word] == HANG)
		usleep(10000);
	return (CUresult)words[word];
}

EXPORT CUresult cuDeviceGet(CUdevice *out, int ordinal)
{
	if (ordinal >= 0 && ordinal < DEVICES)
		device = ordinal;
	if (words[device] == HANG)
		answer((unsigned)device);
	return real_cuDeviceGet(out, ordinal);
}

EXPORT CUresult cuEventQuery(CUevent event)
{
	CUresult rc = answer((unsigned)device);

	return rc ? rc : real_cuEventQuery(event);
}

EXPORT CUresult cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t bytes)
{
	CUresult rc = answer((unsigned)(DEVICES + device));

	return rc ? rc : real_cuMemcpyDtoH_v2(dst, src, bytes);
}
