/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handlers for this machine: built for AVX2 and FMA, and for any x86-64; chosen once.
 * SOFTCUDA_ISA=base in the environment chooses the latter, so that both can be tested on one machine.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "softcuda/engine_prog.h"

#define EACH(X, isa) X(int, isa) X(cmp, isa) X(float, isa) X(cvt, isa) X(mem, isa) X(atom, isa) X(ctl, isa)
#define DECLARE(part, isa) void sc_install_##part##_##isa(struct sc_op_fn *t);
#define INSTALL(part, isa) sc_install_##part##_##isa(table);
EACH(DECLARE, base)
EACH(DECLARE, avx2)

static struct sc_op_fn table[OP_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void choose(void)
{
	const char *isa = getenv("SOFTCUDA_ISA");
	bool base = isa && strcmp(isa, "base") == 0;
	if (!base && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
		EACH(INSTALL, avx2)
	} else {
		EACH(INSTALL, base)
	}
}

const struct sc_op_fn *sc_ops(void)
{
	pthread_once(&once, choose);
	return table;
}
