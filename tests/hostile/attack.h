/* SPDX-License-Identifier: Apache-2.0 */
/* The attacks by name. Each runs in a life of its own: one process, one channel. */
#ifndef VGPU_TESTS_ATTACK_H
#define VGPU_TESTS_ATTACK_H
#include "things.h"

struct life {
	struct door d;
	struct things t;
	struct rng rng;
	uint64_t until;	   /* ns: about when the attack is to end */
	uint64_t pattern;  /* of former tenants' memory: must not be found */
	const uint64_t *foreign; /* device addresses of another tenant, 0-terminated */
	unsigned long tried;	 /* for the summary */
};

struct attack {
	const char *name;
	/* false: a verdict failed, and a line says which. A life that the host ended is not one. */
	bool (*run)(struct life *l);
	bool kernels; /* wants them loaded */
	bool often;   /* part of the mixture of --attack all */
};

extern const struct attack attacks[];
extern const unsigned attacks_count;

/* One line on standard output; false. */
bool failed(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* race.c */
bool attack_noise(struct life *l);
bool attack_slots(struct life *l);
bool attack_indexes(struct life *l);
bool attack_payload(struct life *l);
bool attack_swap(struct life *l);
bool attack_wishes(struct life *l);
bool attack_answers(struct life *l);
bool attack_storm(struct life *l);
bool attack_flood(struct life *l);
bool attack_deaf(struct life *l);
bool attack_promise(struct life *l);
/* forge.c */
bool attack_handles(struct life *l);
bool attack_pointers(struct life *l);
bool attack_lengths(struct life *l);
bool attack_random(struct life *l);
/* quota.c */
bool attack_quota(struct life *l);
bool attack_local(struct life *l);
bool attack_exhaust(struct life *l);
/* canary.c */
bool attack_leave(struct life *l);
bool attack_look(struct life *l);
bool attack_reuse(struct life *l);
#endif
