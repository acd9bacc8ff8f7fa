/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What instructions mean, after the PTX ISA and apart from softcuda: registers are raw bits in
 * uint64_t, each instruction is C arithmetic on them. Shares no code with what it is compared to.
 */
#ifndef FUZZ_INTERP_REFERENCE_H
#define FUZZ_INTERP_REFERENCE_H
#include <stdint.h>

struct form {
	const char *text;    /* see forms.def */
	const char *out, *in; /* a letter per result and source */
};
extern const struct form forms[];
extern const unsigned n_forms;

#define FORM_OUT 2
#define FORM_IN 4
/* Results are not yet cut to their registers' width. */
void form_eval(unsigned id, const uint64_t in[FORM_IN], uint64_t out[FORM_OUT]);
#endif
