/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of small numbers as the kernel and libvirt write them: "0-3,8,^2". */
#ifndef DOCTOR_NUMSET_H
#define DOCTOR_NUMSET_H

#include <stdbool.h>
#include <stdint.h>

#define NUMSET_MAX 4096u

struct numset {
	uint64_t w[NUMSET_MAX / 64];
};

/* False for anything else than a list, or a number >= NUMSET_MAX. An empty text is the empty set. */
bool numset_parse(struct numset *s, const char *text);
unsigned numset_count(const struct numset *s);
bool numset_has(const struct numset *s, unsigned n);
void numset_add(struct numset *s, unsigned n);
bool numset_subset(const struct numset *a, const struct numset *of);
bool numset_meets(const struct numset *a, const struct numset *b);

#endif
