/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies a buffer to the device and back, COPIES times in all, while another thread allocates. Prints
 * "copying" after the first, "answered" after the thread's tenth allocation, at the end "copied N" if every
 * byte came back.
 *
 * usage: mover KIB COPIES
 */
#include <pthread.h>
#include <string.h>
#include "load.h"

static CUcontext ctx;

static void *allocate(void *arg)
{
	CUdeviceptr p;

	CALL(cuCtxSetCurrent, ctx);
	for (int i = 0; i < 10; i++)
		CALL(cuMemAlloc_v2, &p, 4096); /* kept: freeing waits for the copies, as natively */
	puts("answered");
	return NULL;
}

int main(int argc, char **argv)
{
	size_t size = argc > 1 ? strtoul(argv[1], NULL, 10) << 10 : 1 << 20;
	unsigned copies = argc > 2 ? (unsigned)atoi(argv[2]) : 2;
	unsigned char *a = malloc(size), *b = malloc(size);
	pthread_t thread;
	CUdeviceptr p;

	if (!a || !b)
		return puts("out of memory"), 1;
	for (size_t i = 0; i < size; i++)
		a[i] = (unsigned char)(i * 31 >> 3);
	ctx = load_open();
	CALL(cuMemAlloc_v2, &p, size);
	for (unsigned i = 0; i < copies; i++) {
		if (i % 2)
			CALL(cuMemcpyDtoH_v2, b, p, size);
		else
			CALL(cuMemcpyHtoD_v2, p, a, size);
		if (i == 0) {
			puts("copying");
			if (pthread_create(&thread, NULL, allocate, NULL))
				return 1;
		}
	}
	pthread_join(thread, NULL);
	CALL(cuMemcpyDtoH_v2, b, p, size);
	if (memcmp(a, b, size))
		return puts("wrong bytes"), 1;
	printf("copied %u\n", copies);
	free(a);
	free(b);
	return 0;
}
