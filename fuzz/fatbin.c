/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device code reader (fat binaries, PTX, ELF) against arbitrary bytes, for several devices.
 * Beyond "does not crash": text that is handed out must be readable to its end and within the limit.
 */
#include "cuda/fatbin.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const unsigned devices[] = { 30, 75, 90 };
	volatile char last;
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		char err[64];
		struct cuda_ptx ptx;
		memset(err, 'x', sizeof err);
		if (cuda_image_ptx(data, len, devices[i], &ptx, err, sizeof err)) {
			MUST(memchr(err, 0, sizeof err));
			MUST(!ptx.owned);
			continue;
		}
		MUST(ptx.len <= CUDA_PTX_MAX && ptx.arch <= devices[i]);
		if (ptx.len)
			last = ptx.text[0] + ptx.text[ptx.len - 1];
		cuda_ptx_free(&ptx);
	}
	(void)last;
	return 0;
}
