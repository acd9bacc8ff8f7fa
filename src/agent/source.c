/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at vgpud once a second and renders every page; see agent.h. */
#include "agent/agent.h"
#include "agent/clock.h"
#include "admin/link.h"
#include "agent/gpus.h"
#include "base/log.h"
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct text {
	_Atomic unsigned references;
	size_t len;
	char *data;
};

static const struct {
	render_fn *render;
	bool needs_vgpud; /* without an answer there is no such page */
} pages[PAGES] = {
	[PAGE_OPENMETRICS] = {page_openmetrics, false}, [PAGE_TEXT_METRICS] = {page_text_metrics, false},
	[PAGE_HEALTH] = {page_health, false},		[PAGE_CAPACITY] = {page_capacity, true},
	[PAGE_VMS] = {page_vms, true},			[PAGE_USAGE] = {page_usage, true},
	[PAGE_CONNECTIONS] = {page_connections, true},	[PAGE_ASSIGNMENTS] = {page_assignments, true},
	[PAGE_GPUS] = {page_gpus, false},
};

static struct {
	const struct agent *agent;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake, looked;
	bool stop;
	uint64_t asked, done; /* looks that were asked for; the last of them that the pages are of */
	struct text *page[PAGES]; /* under lock */
	json_t *vms;		  /* under lock; NULL: vgpud does not answer */
	struct state state;	  /* the thread's */
} src = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- texts ---- */

static struct text *text_new(char *data, size_t len)
{
	struct text *t = data ? malloc(sizeof(*t)) : NULL;

	if (t)
		*t = (struct text){.references = 1, .len = len, .data = data};
	else
		free(data);
	return t;
}

static struct text *text_get(struct text *t)
{
	if (t)
		atomic_fetch_add(&t->references, 1);
	return t;
}

void text_put(struct text *t)
{
	if (t && atomic_fetch_sub(&t->references, 1) == 1) {
		free(t->data);
		free(t);
	}
}

const char *text_data(const struct text *t, size_t *len)
{
	*len = t->len;
	return t->data;
}

/* ---- looking ---- */

/* Takes the question. until: monotonic ms. */
static struct vgpu_err *ask_for(struct link *l, json_t *q, uint64_t until, json_t **data, int *status)
{
	uint64_t now = clock_ms(CLOCK_MONOTONIC), left = now < until ? until - now : 1;
	struct vgpu_err *e;

	link_patience(l, left < AGENT_PATIENCE_MS ? (unsigned)left : AGENT_PATIENCE_MS);
	e = link_ask(l, q, data, status);
	json_decref(q);
	return e;
}

static struct vgpu_err *ask(struct link *l, const char *cmd, uint64_t until, json_t **data)
{
	int status;

	return ask_for(l, json_pack("{s:s}", "cmd", cmd), until, data, &status);
}

/* False: vgpud does not answer, so it is asked again in the next look. */
static bool have_checked(struct link *l, const char *name, const char *why, uint64_t until)
{
	json_t *data = NULL;
	int status;
	cleanup_err struct vgpu_err *e = ask_for(l, json_pack("{s:s, s:s, s:s}", "cmd", "check-device", "name", name, "reason", why), until,
						 &data, &status);

	json_decref(data);
	if (e)
		log_error("device %s: %s; vgpud does not check it: %s", name, why, e->text);
	else
		log_warning("device %s: %s; vgpud checks it", name, why);
	return !e || status != EXIT_UNREACHABLE;
}

/* NVML sees errors of the hardware that no program may have met yet; whether the device works, vgpud finds out. */
static void have_doubtful_checked(struct link *l, const json_t *devices, uint64_t until)
{
	const json_t *d;
	char why[64];
	size_t i;

	json_array_foreach(devices, i, d) {
		const char *uuid = json_string_value(json_object_get(d, "uuid")), *name = json_string_value(json_object_get(d, "name"));

		if (!uuid || !gpus_doubted(uuid, why, sizeof(why)))
			continue;
		if (json_is_true(json_object_get(d, "serves")) && !have_checked(l, name, why, until))
			return;
		gpus_believed(uuid);
	}
}

static void forget(struct state *s)
{
	json_decref(s->vms);
	json_decref(s->status);
	json_decref(s->health);
	json_decref(s->connections);
	json_decref(s->histograms);
	s->vms = s->status = s->health = s->connections = s->histograms = NULL;
}

static void look(struct state *s)
{
	uint64_t begin = clock_ms(CLOCK_MONOTONIC), until = begin + AGENT_LOOK_MS;
	cleanup_err struct vgpu_err *e = NULL;
	struct link l;
	int status;

	s->looks++;
	e = link_open(&l, src.agent->run_dir, AGENT_PATIENCE_MS, &status);
	if (!e)
		e = ask(&l, "list-vms", until, &s->vms);
	if (!e)
		e = ask(&l, "connections", until, &s->connections);
	if (!e)
		e = ask(&l, "histograms", until, &s->histograms);
	if (!e)
		e = ask(&l, "health", until, &s->health);
	if (!e)
		e = ask(&l, "status", until, &s->status);
	if (!e)
		have_doubtful_checked(&l, json_object_get(s->status, "devices"), until);
	link_close(&l);
	s->seconds = (double)(clock_ms(CLOCK_MONOTONIC) - begin) / 1e3;
	if (!e) {
		if (s->error[0])
			log_info("vgpud answers again");
		s->error[0] = 0;
		s->at_ms = clock_ms(CLOCK_REALTIME);
		return;
	}
	forget(s);
	s->failures++;
	if (strcmp(s->error, e->text))
		log_warning("%s", e->text);
	snprintf(s->error, sizeof(s->error), "%s", e->text);
}

/* Takes what the look brought. */
static void publish(struct state *s)
{
	json_t *old;

	for (unsigned i = 0; i < PAGES; i++) {
		size_t len = 0;
		char *data = pages[i].needs_vgpud && !s->status ? NULL : pages[i].render(s, &len);
		struct text *t = text_new(data, len), *was;

		pthread_mutex_lock(&src.lock);
		was = src.page[i];
		src.page[i] = t;
		pthread_mutex_unlock(&src.lock);
		text_put(was);
	}
	pthread_mutex_lock(&src.lock);
	old = src.vms;
	src.vms = s->vms;
	s->vms = NULL;
	pthread_mutex_unlock(&src.lock);
	json_decref(old);
	forget(s);
	malloc_trim(0); /* half of the heap was the look's */
}

static void *run(void *arg)
{
	struct timespec until;
	uint64_t asked;

	pthread_mutex_lock(&src.lock);
	while (!src.stop) {
		asked = src.asked;
		pthread_mutex_unlock(&src.lock);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += AGENT_PERIOD_MS / 1000;
		look(&src.state);
		publish(&src.state);
		pthread_mutex_lock(&src.lock);
		src.done = asked;
		pthread_cond_broadcast(&src.looked);
		while (!src.stop && src.asked == asked && !pthread_cond_timedwait(&src.wake, &src.lock, &until))
			;
	}
	src.done = UINT64_MAX; /* nobody waits for another */
	pthread_cond_broadcast(&src.looked);
	pthread_mutex_unlock(&src.lock);
	return NULL;
}

int source_start(const struct agent *a)
{
	src.agent = a;
	cond_init_monotonic(&src.wake);
	cond_init_monotonic(&src.looked);
	look(&src.state);
	publish(&src.state);
	return pthread_create(&src.thread, NULL, run, NULL);
}

void source_stop(void)
{
	pthread_mutex_lock(&src.lock);
	src.stop = true;
	pthread_cond_signal(&src.wake);
	pthread_mutex_unlock(&src.lock);
	pthread_join(src.thread, NULL);
	json_decref(src.vms);
	for (unsigned i = 0; i < PAGES; i++)
		text_put(src.page[i]);
}

void source_look_again(void)
{
	struct timespec until;
	uint64_t mine;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += AGENT_PATIENCE_MS / 1000;
	pthread_mutex_lock(&src.lock);
	mine = ++src.asked;
	pthread_cond_signal(&src.wake);
	while (src.done < mine && !pthread_cond_timedwait(&src.looked, &src.lock, &until))
		;
	pthread_mutex_unlock(&src.lock);
}

struct text *source_page(enum page p)
{
	struct text *t;

	pthread_mutex_lock(&src.lock);
	t = text_get(src.page[p]);
	pthread_mutex_unlock(&src.lock);
	return t;
}

struct text *source_vm(const char *name)
{
	char *data = NULL;
	size_t i;
	json_t *row;

	pthread_mutex_lock(&src.lock);
	json_array_foreach(src.vms, i, row)
		if (!strcmp(json_string_value(json_object_get(row, "name")), name))
			data = json_dumps(row, JSON_INDENT(2));
	pthread_mutex_unlock(&src.lock);
	return text_new(data, data ? strlen(data) : 0);
}

bool source_answers(void)
{
	bool yes;

	pthread_mutex_lock(&src.lock);
	yes = src.vms != NULL;
	pthread_mutex_unlock(&src.lock);
	return yes;
}
