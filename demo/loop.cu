/* SPDX-License-Identifier: Apache-2.0 */
/* The demo's unit of work: `rounds` dependent integer steps per thread, and one more unit counted. */
#define GLOBAL __attribute__((global))

extern "C" GLOBAL void unit(unsigned *out, unsigned long long *done, unsigned rounds)
{
	unsigned i = __nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() + __nvvm_read_ptx_sreg_tid_x();
	unsigned x = out[i];

	for (unsigned r = 0; r < rounds; r++)
		x = x * 1664525u + 1013904223u;
	out[i] = x;
	if (i == 0)
		*done += 1;
}
