/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remedies as files and commands. A plan holds only files of our own name (drop-ins), so that
 * applying never edits what somebody else wrote, and commands for the administrator to run: the
 * doctor runs none. It never weakens a protection: no ACS override, no unsafe interrupts, no no-IOMMU
 * mode, and on hosts that keep the GPU no block of its driver.
 */
#ifndef DOCTOR_PLAN_H
#define DOCTOR_PLAN_H

#include "host.h"

#define PLAN_FILES    8
#define PLAN_COMMANDS 16

struct plan {
	enum mode mode;
	struct {
		char path[128];
		char *text; /* the whole file */
		const char *why;
	} file[PLAN_FILES];
	size_t nfile;
	struct {
		char text[256];
		const char *why;
	} command[PLAN_COMMANDS];
	size_t ncommand;
};

/* gpus: comma-separated addresses to give away, NULL for all. NULL, or why there can be no plan. */
const char *plan_make(struct plan *p, const struct host *h, enum mode mode, const char *gpus);
void plan_free(struct plan *p);
/* As a unified diff against the tree, then the commands. */
void plan_print(const struct plan *p, struct ev *ev, FILE *f);
/* Writes the files below root, keeping what they replace. NULL, or what went wrong (nothing is left
 * half written: each file is renamed into place, and revert knows those already done). */
const char *plan_apply(const struct plan *p, int root, unsigned *written);
/* Puts back what the last apply found. NULL, or what went wrong. */
const char *plan_revert(int root, unsigned *restored);

#endif
