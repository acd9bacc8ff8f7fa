/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happened, for `vgpu-admin events`: the last EVENTS_MAX, numbered from 1, in memory. What must
 * survive a restart is in state.db as well.
 */
#ifndef VGPUD_EVENTS_H
#define VGPUD_EVENTS_H
#include <jansson.h>
#include <stdint.h>

#define EVENTS_MAX 1024u

struct broker;

struct event {
	uint64_t at_ms; /* since 1970 */
	char kind[24], vm[64], text[160];
};

struct events {
	struct event ring[EVENTS_MAX];
	uint64_t last; /* number of the newest; 0: none */
	uint64_t since_ms; /* since 1970: when numbering began, which tells these from another broker's */
};

/* vm: its name, or "" for the whole. */
void event_add(struct broker *b, const char *kind, const char *vm, const char *fmt, ...)
	__attribute__((format(printf, 4, 5), nonnull));
/* Those after `since`, oldest first. */
json_t *events_after(const struct events *ev, uint64_t since);
uint64_t wall_ms(void);
#endif
