/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /v1/events: server-sent events. A thread waits for vgpud's events and keeps the newest; a stream that has
 * shown all of them is suspended until there is another.
 */
#include "agent/agent.h"
#include "admin/link.h"
#include "base/log.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEPT 1024u    /* events */
#define EVENT_MAX 640u /* bytes of one, as shown */

struct stream {
	struct MHD_Connection *c;
	uint64_t shown; /* number of the last event it was given */
	bool suspended;
	struct stream *next;
};

static struct {
	const struct agent *agent;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	struct link link;     /* the thread's; shut down to end it */
	bool linked;
	struct event {
		uint64_t number;
		char *text; /* a few hundred bytes, not EVENT_MAX */
	} ring[KEPT];
	uint64_t last; /* number of the newest; 0: none */
	struct stream *streams;
	unsigned open;
} st = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

/* ---- what vgpud says ---- */

/* Under the lock. */
static void resume_all(void)
{
	for (struct stream *s = st.streams; s; s = s->next)
		if (s->suspended) {
			s->suspended = false;
			MHD_resume_connection(s->c);
		}
}

static void keep(json_t *rows)
{
	size_t i;
	json_t *row;

	pthread_mutex_lock(&st.lock);
	json_array_foreach(rows, i, row) {
		uint64_t n = (uint64_t)json_integer_value(json_object_get(row, "number"));
		struct event *e = &st.ring[n % KEPT];
		char *json = json_dumps(row, JSON_COMPACT);
		const char *kind = json_string_value(json_object_get(row, "kind"));

		free(e->text);
		*e = (struct event){.number = n};
		if (json && kind && strlen(json) + strlen(kind) + 64 < EVENT_MAX &&
		    asprintf(&e->text, "id: %llu\nevent: %s\ndata: %s\n\n", (unsigned long long)n, kind, json) < 0)
			e->text = NULL;
		st.last = n;
		free(json);
	}
	resume_all();
	pthread_mutex_unlock(&st.lock);
}

/* A restarted vgpud counts from 1 again. */
static void forget(void)
{
	pthread_mutex_lock(&st.lock);
	for (unsigned i = 0; i < KEPT; i++) {
		free(st.ring[i].text);
		st.ring[i] = (struct event){0};
	}
	st.last = 0;
	for (struct stream *s = st.streams; s; s = s->next)
		s->shown = 0;
	pthread_mutex_unlock(&st.lock);
}

/* Until vgpud goes away. */
static void follow(void)
{
	json_t *q = json_pack("{s:s, s:i}", "cmd", "events", "since", 0), *rows = NULL;
	int status;

	for (;;) {
		cleanup_err struct vgpu_err *e = link_ask(&st.link, q, &rows, &status);
		size_t n = json_array_size(rows);

		if (e)
			break;
		keep(rows);
		if (n)
			json_object_set(q, "since", json_object_get(json_array_get(rows, n - 1), "number"));
		json_object_set_new(q, "wait", json_true());
		json_decref(rows);
		rows = NULL;
	}
	json_decref(q);
}

static void *run(void *arg)
{
	pthread_mutex_lock(&st.lock);
	while (!st.stop) {
		struct timespec until;
		int status;
		struct vgpu_err *e = link_open(&st.link, st.agent->run_dir, AGENT_PATIENCE_MS, &status);

		st.linked = !e;
		pthread_mutex_unlock(&st.lock);
		if (!e) {
			link_patience(&st.link, 0); /* events come when they come */
			follow();
			forget();
		}
		free(e);
		pthread_mutex_lock(&st.lock);
		link_close(&st.link);
		st.linked = false;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += AGENT_PERIOD_MS / 1000;
		if (!st.stop)
			pthread_cond_timedwait(&st.wake, &st.lock, &until);
	}
	pthread_mutex_unlock(&st.lock);
	return NULL;
}

int stream_start(const struct agent *a)
{
	st.agent = a;
	return pthread_create(&st.thread, NULL, run, NULL);
}

void stream_stop(void)
{
	pthread_mutex_lock(&st.lock);
	st.stop = true;
	pthread_cond_signal(&st.wake);
	if (st.linked)
		link_hang_up(&st.link);
	resume_all();
	pthread_mutex_unlock(&st.lock);
	pthread_join(st.thread, NULL);
}

/* ---- what a client is given ---- */

/* Under the lock: the first kept event after `shown`. */
static const struct event *next_event(uint64_t shown)
{
	uint64_t first = st.last >= KEPT ? st.last - KEPT + 1 : 1;

	for (uint64_t n = shown + 1 > first ? shown + 1 : first; n <= st.last; n++)
		if (st.ring[n % KEPT].number == n && st.ring[n % KEPT].text)
			return &st.ring[n % KEPT];
	return NULL;
}

static ssize_t more(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct stream *s = cls;
	const struct event *e;
	ssize_t n = 0;

	pthread_mutex_lock(&st.lock);
	e = next_event(s->shown);
	if (st.stop) {
		n = MHD_CONTENT_READER_END_OF_STREAM;
	} else if (e && strlen(e->text) <= max) {
		n = (ssize_t)strlen(e->text);
		memcpy(buf, e->text, (size_t)n);
		s->shown = e->number;
	} else if (!e) {
		s->suspended = true;
		MHD_suspend_connection(s->c);
	}
	pthread_mutex_unlock(&st.lock);
	return n;
}

static void ended(void *cls)
{
	struct stream *s = cls;

	pthread_mutex_lock(&st.lock);
	for (struct stream **at = &st.streams; *at; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			break;
		}
	st.open--;
	pthread_mutex_unlock(&st.lock);
	free(s);
}

struct MHD_Response *stream_open(struct MHD_Connection *c, uint64_t after)
{
	struct stream *s = calloc(1, sizeof(*s));
	struct MHD_Response *r;
	bool room;

	if (!s)
		return NULL;
	pthread_mutex_lock(&st.lock);
	room = st.open < AGENT_STREAMS_MAX;
	if (room) {
		*s = (struct stream){.c = c, .shown = after > st.last ? 0 : after, /* beyond: vgpud began anew */ .next = st.streams};
		st.streams = s;
		st.open++;
	}
	pthread_mutex_unlock(&st.lock);
	if (!room) {
		free(s);
		return NULL;
	}
	MHD_set_connection_option(c, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
	r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 2 * EVENT_MAX, more, s, ended);
	if (!r)
		ended(s);
	return r;
}
