/* SPDX-License-Identifier: Apache-2.0 */
/*
 * So much per second, as a token bucket that is handed out in portions. Pure: the caller passes `now` (ns).
 *
 * It holds at most a tenth of a second's worth (LIMIT_BURST), or two portions if that is more, so that who
 * comes late loses nothing; a portion is a fiftieth (LIMIT_PORTION), or one. What was used beyond the portions is spent all the same, below zero:
 * one large copy goes through at once and those after it wait.
 */
#ifndef VGPUD_LIMIT_H
#define VGPUD_LIMIT_H
#include <stdint.h>

#define LIMIT_BURST 10
#define LIMIT_PORTION 50
#define LIMIT_DEBT_S 3600 /* an executor that lies about its use stops its VM for so long, not for ever */

struct limit {
	uint64_t rate; /* per second; 0: none */
	double tokens;
	uint64_t at; /* ns: tokens as they were then */
};

/* A new rate begins with a full bucket, or with the debt there was. */
void limit_set(struct limit *l, uint64_t rate, uint64_t now);
/* What may be handed out now to one of `waiting` users; 0: not a portion. */
uint64_t limit_portion(struct limit *l, unsigned waiting, uint64_t now);
void limit_spend(struct limit *l, uint64_t n, uint64_t now);
/* When there will be a portion, ns; rate is not 0. */
uint64_t limit_next(const struct limit *l);
#endif
