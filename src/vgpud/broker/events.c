/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/broker/broker.h"
#include "base/utf8.h"
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

uint64_t wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void event_add(struct broker *b, const char *kind, const char *vm, const char *fmt, ...)
{
	struct event *e = &b->events.ring[++b->events.last % EVENTS_MAX];
	va_list ap;

	e->at_ms = wall_ms();
	snprintf(e->kind, sizeof(e->kind), "%s", kind);
	snprintf(e->vm, sizeof(e->vm), "%s", vm);
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	utf8_whole(e->text);
	control_event(b);
}

json_t *events_after(const struct events *ev, uint64_t since)
{
	uint64_t first = ev->last > EVENTS_MAX ? ev->last - EVENTS_MAX + 1 : 1;
	json_t *a = json_array();

	if (since + 1 > first)
		first = since + 1;
	for (uint64_t n = first; n <= ev->last; n++) {
		const struct event *e = &ev->ring[n % EVENTS_MAX];

		json_array_append_new(a, json_pack("{s:I, s:I, s:s, s:s, s:s}", "number", (json_int_t)n, "at_ms",
						   (json_int_t)e->at_ms, "kind", e->kind, "vm", e->vm, "text", e->text));
	}
	return a;
}
