/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of engine_flow.c. No CUDA headers: the few built-ins needed are declared here. */
#define GLOBAL extern "C" __attribute__((global))
#define DEVICE __attribute__((device))
#define SHARED __attribute__((shared))
#define TID __nvvm_read_ptx_sreg_tid_x()
#define NTID __nvvm_read_ptx_sreg_ntid_x()
#define CTAID __nvvm_read_ptx_sreg_ctaid_x()
#define NCTAID __nvvm_read_ptx_sreg_nctaid_x()
#define SYNC __syncthreads()

GLOBAL void index(int *out, int n)
{
	int i = CTAID * NTID + TID;
	if (i < n)
		out[i] = i * 3 + 1;
}

GLOBAL void collatz(unsigned *out)
{
	unsigned i = CTAID * NTID + TID, n = i + 1, k = 0;
	while (n != 1 && k < 1000) {
		n = n & 1 ? 3 * n + 1 : n / 2;
		k++;
	}
	out[i] = k;
}

GLOBAL void irreducible(int *out)
{
	int i = TID, a = i & 1 ? 100 : 0, n = i % 7;
	if (i & 1)
		goto b;
a:
	if (n-- < 0)
		goto end;
	a = a * 2 + 1;
b:
	if (n-- < 0)
		goto end;
	a = a + 3;
	goto a;
end:
	out[i] = a;
}

GLOBAL void spinlock(int *lock, int *count)
{
	bool done = false;
	while (!done) {
		if (__nvvm_atom_cas_gen_i(lock, 0, 1) == 0) {
			*(volatile int *)count = *(volatile int *)count + 1;
			__nvvm_membar_gl();
			__nvvm_atom_xchg_gen_i(lock, 0);
			done = true;
		}
	}
}

GLOBAL void handshake(volatile int *flag, int *out)
{
	if (TID == 0) {
		while (*flag == 0)
			;
		*out = *flag + 1;
	} else if (TID == 31) {
		*flag = 41;
	}
}

GLOBAL void block_reduce(const int *in, int *out)
{
	static SHARED int s[256];
	int t = TID;
	s[t] = in[CTAID * NTID + t];
	SYNC;
	for (int d = 128; d > 0; d >>= 1) {
		if (t < d)
			s[t] += s[t + d];
		SYNC;
	}
	if (t == 0)
		out[CTAID] = s[0];
}

extern SHARED int dynamic[];
GLOBAL void reverse(int *out)
{
	int t = TID;
	dynamic[t] = t;
	SYNC;
	out[t] = dynamic[NTID - 1 - t];
}

GLOBAL void early_exit(int *out)
{
	static SHARED volatile int s; /* volatile: the compiler does not know that a barrier lets others write */
	int t = TID;
	if (t < 40)
		return;
	if (t == 40)
		s = 1;
	SYNC;
	out[t] = s;
}

DEVICE __attribute__((noinline)) int fib(int n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
GLOBAL void fibonacci(int *out)
{
	out[TID] = fib(TID % 12);
}

DEVICE __attribute__((noinline)) int fall(volatile int *p, int n)
{
	volatile int pad[8];
	pad[n & 7] = n;
	int v = fall(p, n + 1) + pad[n & 7];
	return *p + v;
}
GLOBAL void bottomless(int *out)
{
	out[TID] = fall(out, TID);
}

DEVICE __attribute__((noinline)) int plus100(int x) { return x + 100; }
DEVICE __attribute__((noinline)) int twice(int x) { return x * 2; }
DEVICE __attribute__((noinline)) int minus(int x) { return -x; }
GLOBAL void pointers(int *out)
{
	int t = TID;
	int (*f)(int) = t % 3 == 0 ? plus100 : t % 3 == 1 ? twice : minus;
	out[t] = f(t);
}

GLOBAL void cases(int *out)
{
	int t = TID, v;
	switch (t & 7) {
	case 0: v = 11; break;
	case 1: v = 7; break;
	case 2: v = 5; break;
	case 3: v = 3; break;
	case 4: v = 2; break;
	case 5: v = 40; break;
	case 6: v = 99; break;
	default: v = 1; break;
	}
	out[t] = v + t;
}

GLOBAL void local_array(int *out)
{
	unsigned t = TID, a[16], s = 0;
	for (int k = 0; k < 16; k++)
		a[(k * 5 + t) & 15] = k * t;
	for (int k = 0; k < 16; k++)
		s = s * 3 + a[k];
	out[t] = s;
}

GLOBAL void histogram(int *bins, int n)
{
	for (int i = CTAID * NTID + TID; i < n; i += NTID * NCTAID)
		__nvvm_atom_add_gen_i(&bins[(i * 2654435761u) >> 28], 1);
}

GLOBAL void grid_barrier(int *count, int *out)
{
	if (TID == 0) {
		__nvvm_atom_add_gen_i(count, 1);
		while (*(volatile int *)count < (int)NCTAID)
			;
	}
	SYNC;
	if (TID == 0)
		out[CTAID] = *(volatile int *)count;
}

GLOBAL void trapping(int *out)
{
	if (TID == 5)
		__builtin_trap();
	*out = 1;
}

GLOBAL void endless(volatile int *out)
{
	while (*out == 0)
		;
}
