/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /v1/events: server-sent events. A thread waits for vgpud's events and keeps the newest; a stream that has shown all
 * of them is suspended until there is another, or until the beat: a comment now and then, so that a client which
 * vanished is noticed and its place is another's.
 *
 * An id is EPOCH-N: vgpud's broker counts from 1 whenever it starts, so N alone would be another event after that. Who
 * cannot be given what follows the last it saw is told so, by an event "lost", and goes on with the first kept.
 */
#include "agent/agent.h"
#include "agent/clock.h"
#include "agent/request.h"
#include "admin/link.h"
#include "base/log.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define KEPT 1024u    /* events */
#define EVENT_MAX 640u /* bytes of one, as shown */
#define BEAT ":\n\n"
#define BEATS_MISSED 4u /* by one that has room for none: it does not read */

struct stream {
	struct MHD_Connection *c;
	int fd;
	uint64_t epoch, shown; /* of the last event it was given */
	unsigned beat;	       /* the last it was given */
	bool any;	       /* it was given an event, now or before */
	bool suspended;
	struct stream *next;
};

static struct {
	const struct agent *agent;
	pthread_t thread, beater;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	struct link link;     /* the thread's; shut down to end it */
	bool linked;
	struct event {
		uint64_t number;
		char *text; /* a few hundred bytes, not EVENT_MAX */
	} ring[KEPT];
	uint64_t epoch; /* of the events kept; 0: vgpud was not asked yet */
	uint64_t last;	/* number of the newest; 0: none */
	unsigned beat;
	struct stream *streams;
	unsigned open;
} st = {.lock = PTHREAD_MUTEX_INITIALIZER};

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
		if (json && kind && strlen(json) + strlen(kind) + 80 < EVENT_MAX &&
		    asprintf(&e->text, "id: %llu-%llu\nevent: %s\ndata: %s\n\n", (unsigned long long)st.epoch, (unsigned long long)n,
			     kind, json) < 0)
			e->text = NULL;
		st.last = n;
		free(json);
	}
	resume_all();
	pthread_mutex_unlock(&st.lock);
}

/* What is kept of another broker's is gone with it. */
static void enter_epoch(uint64_t epoch)
{
	pthread_mutex_lock(&st.lock);
	if (epoch != st.epoch) {
		for (unsigned i = 0; i < KEPT; i++) {
			free(st.ring[i].text);
			st.ring[i] = (struct event){0};
		}
		st.last = 0;
		st.epoch = epoch;
		resume_all();
	}
	pthread_mutex_unlock(&st.lock);
}

static struct vgpu_err *ask_epoch(void)
{
	json_t *q = json_pack("{s:s}", "cmd", "status"), *data = NULL;
	int status;
	struct vgpu_err *e = link_ask(&st.link, q, &data, &status);
	json_int_t since = json_integer_value(json_object_get(data, "events_since_ms"));

	if (!e)
		enter_epoch(since > 0 ? (uint64_t)since : 1); /* an older vgpud does not say */
	json_decref(data);
	json_decref(q);
	return e;
}

/* Until vgpud goes away. One connection is one broker's. */
static void follow(void)
{
	json_t *q = json_pack("{s:s}", "cmd", "events"), *rows = NULL;
	cleanup_err struct vgpu_err *e = ask_epoch();
	int status;

	json_object_set_new(q, "since", json_integer((json_int_t)st.last)); /* only this thread changes it */
	link_patience(&st.link, 0); /* events come when they come */
	while (!e && !(e = link_ask(&st.link, q, &rows, &status))) {
		size_t n = json_array_size(rows);

		keep(rows);
		if (n)
			json_object_set(q, "since", json_object_get(json_array_get(rows, n - 1), "number"));
		json_object_set_new(q, "wait", json_true());
		json_decref(rows);
		rows = NULL;
	}
	json_decref(q);
}

/* Under the lock; false: to stop. */
static bool pause_for(unsigned ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (!st.stop && !pthread_cond_timedwait(&st.wake, &st.lock, &until))
		;
	return !st.stop;
}

/* False: to stop, which nobody could tell a link before it was there. */
static bool set_linked(bool linked)
{
	bool stop;

	pthread_mutex_lock(&st.lock);
	st.linked = linked;
	stop = st.stop;
	pthread_mutex_unlock(&st.lock);
	return !stop;
}

static void *run(void *arg)
{
	bool go_on = true;

	while (go_on) {
		int status;
		cleanup_err struct vgpu_err *e = link_open(&st.link, st.agent->run_dir, AGENT_PATIENCE_MS, &status);

		if (!e && set_linked(true))
			follow();
		set_linked(false);
		link_close(&st.link);
		pthread_mutex_lock(&st.lock);
		go_on = pause_for(AGENT_PERIOD_MS);
		pthread_mutex_unlock(&st.lock);
	}
	return NULL;
}

/* A stream that is called for more no longer has a full socket: its client reads nothing, and is cut off. */
static void *beat(void *arg)
{
	pthread_mutex_lock(&st.lock);
	while (pause_for(st.agent->request_seconds * 500)) {
		st.beat++;
		for (struct stream *s = st.streams; s; s = s->next)
			if (!s->suspended && st.beat - s->beat > BEATS_MISSED)
				shutdown(s->fd, SHUT_RDWR);
		resume_all();
	}
	pthread_mutex_unlock(&st.lock);
	return NULL;
}

int stream_start(const struct agent *a)
{
	int rc;

	st.agent = a;
	cond_init_monotonic(&st.wake);
	rc = pthread_create(&st.thread, NULL, run, NULL);
	return rc ? rc : pthread_create(&st.beater, NULL, beat, NULL);
}

void stream_stop(void)
{
	pthread_mutex_lock(&st.lock);
	st.stop = true;
	pthread_cond_broadcast(&st.wake);
	if (st.linked)
		link_hang_up(&st.link);
	resume_all();
	pthread_mutex_unlock(&st.lock);
	pthread_join(st.thread, NULL);
	pthread_join(st.beater, NULL);
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

/* Under the lock: what it is to be told, 0 if nothing; text has room for EVENT_MAX. */
static size_t next_text(struct stream *s, char *text)
{
	bool lost = st.epoch && s->epoch && s->epoch != st.epoch;
	const struct event *e = next_event(lost ? 0 : s->shown);

	lost |= e && s->any && e->number != s->shown + 1;
	if (lost) {
		s->shown = e ? e->number - 1 : 0;
		snprintf(text, EVENT_MAX, "id: %llu-%llu\nevent: lost\ndata: {\"kind\":\"lost\",\"vm\":\"\",\"text\":\"%s\"}\n\n",
			 (unsigned long long)st.epoch, (unsigned long long)s->shown,
			 s->epoch != st.epoch ? "vgpud's broker was restarted since: what it had not told is gone"
					      : "older events are not kept");
	} else if (e) {
		s->shown = e->number;
		strcpy(text, e->text);
	} else if (s->beat != st.beat) {
		strcpy(text, BEAT);
	} else {
		text[0] = 0;
	}
	s->epoch = st.epoch ? st.epoch : s->epoch;
	s->any |= lost || e;
	s->beat = st.beat;
	return strlen(text);
}

static ssize_t more(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct stream *s = cls;
	char text[EVENT_MAX];
	ssize_t n = 0;

	if (max < EVENT_MAX)
		return 0; /* called again with the whole of the block's size */
	pthread_mutex_lock(&st.lock);
	if (st.stop)
		n = MHD_CONTENT_READER_END_OF_STREAM;
	else
		n = (ssize_t)next_text(s, text);
	if (n > 0)
		memcpy(buf, text, (size_t)n);
	if (!n) {
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

struct MHD_Response *stream_open(struct MHD_Connection *c, const char *last_id)
{
	int fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	unsigned unacknowledged_ms = st.agent->request_seconds * 1000;
	struct stream *s = calloc(1, sizeof(*s));
	struct MHD_Response *r;
	bool room;

	if (!s)
		return NULL;
	*s = (struct stream){.c = c, .fd = fd};
	s->any = request_after(last_id, &s->epoch, &s->shown);
	pthread_mutex_lock(&st.lock);
	room = st.open < AGENT_STREAMS_MAX;
	if (room) {
		s->beat = st.beat;
		s->next = st.streams;
		st.streams = s;
		st.open++;
	}
	pthread_mutex_unlock(&st.lock);
	if (!room) {
		free(s);
		return NULL;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof(unacknowledged_ms));
	MHD_set_connection_option(c, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
	r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 2 * EVENT_MAX, more, s, ended);
	if (!r)
		ended(s);
	return r;
}
