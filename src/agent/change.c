/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/change.h"
#include "agent/clock.h"
#include "admin/link.h"
#include "base/list.h"
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct change {
	struct list node; /* linked while queued */
	struct MHD_Connection *c;
	enum change_kind kind;
	json_t *query, *answer;
	uint64_t until_ms; /* monotonic */
	unsigned status;   /* 0: not ended */
};

static struct {
	const struct agent *agent;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	struct list queue;
	unsigned queued;
	struct link link; /* the thread's; shut down to end it */
	bool linked;
} ch = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .stop = true};

static const unsigned http_status[] = {
	[EXIT_DONE] = MHD_HTTP_OK,
	[EXIT_REFUSED] = MHD_HTTP_CONFLICT,
	[EXIT_UNREACHABLE] = MHD_HTTP_SERVICE_UNAVAILABLE,
	[EXIT_DENIED] = MHD_HTTP_FORBIDDEN,
};

/* ---- asking ---- */

static void set_linked(bool linked)
{
	pthread_mutex_lock(&ch.lock);
	ch.linked = linked;
	if (linked && ch.stop)
		link_hang_up(&ch.link);
	pthread_mutex_unlock(&ch.lock);
}

/* One question; the rest of the change's time is for it. */
static struct vgpu_err *ask(struct change *k, json_t **answer, unsigned *status)
{
	uint64_t now = clock_ms(CLOCK_MONOTONIC);
	json_t *data = NULL;
	struct vgpu_err *e;
	int rc = EXIT_UNREACHABLE;

	link_patience(&ch.link, now < k->until_ms ? (unsigned)(k->until_ms - now) : 1);
	e = link_ask(&ch.link, k->query, &data, &rc);
	*status = e && ch.link.malformed ? MHD_HTTP_BAD_REQUEST : http_status[rc];
	*answer = e ? NULL : data ? data : json_object();
	return e;
}

/* Of a VM there is not: 404, not the 409 of one that is in use. */
static struct vgpu_err *find(struct change *k, json_t **answer, unsigned *status)
{
	json_t *command = json_incref(json_object_get(k->query, "cmd"));
	struct vgpu_err *e;

	json_object_set_new(k->query, "cmd", json_string("show-vm"));
	e = ask(k, answer, status);
	json_object_set_new(k->query, "cmd", command);
	if (*status == MHD_HTTP_CONFLICT)
		*status = MHD_HTTP_NOT_FOUND;
	json_decref(*answer);
	*answer = NULL;
	return e;
}

static json_t *make(struct change *k, unsigned *status)
{
	json_t *answer = NULL;
	bool sent = false;
	int rc;
	cleanup_err struct vgpu_err *e = link_open(&ch.link, ch.agent->run_dir, AGENT_PATIENCE_MS, &rc);

	*status = http_status[rc];
	if (!e)
		set_linked(true);
	if (!e && k->kind == CHANGE_DESTROY)
		e = find(k, &answer, status);
	if (!e) {
		sent = true;
		e = ask(k, &answer, status);
	}
	set_linked(false);
	link_close(&ch.link);
	if (!e)
		source_look_again();
	if (!e && k->kind == CHANGE_CREATE)
		*status = MHD_HTTP_CREATED;
	if (e && sent && *status == MHD_HTTP_SERVICE_UNAVAILABLE)
		return json_pack("{s:s+}", "error", e->text, "; the change may be made yet: look before asking again");
	return e ? json_pack("{s:s}", "error", e->text) : answer;
}

/* ---- the queue ---- */

/* Under the lock. */
static void end(struct change *k, unsigned status, json_t *answer)
{
	k->answer = answer;
	k->status = status;
	MHD_resume_connection(k->c);
}

/* Under the lock, which it leaves while vgpud is asked. */
static void turn(struct change *k)
{
	unsigned status;
	json_t *answer;

	list_del(&k->node);
	ch.queued--;
	if (ch.stop || clock_ms(CLOCK_MONOTONIC) >= k->until_ms) {
		end(k, MHD_HTTP_SERVICE_UNAVAILABLE, json_pack("{s:s}", "error", ch.stop ? "vgpu-agent is ending; nothing was changed"
								: "vgpud does not answer the changes before this one; nothing was changed"));
		return;
	}
	pthread_mutex_unlock(&ch.lock);
	answer = make(k, &status);
	pthread_mutex_lock(&ch.lock);
	end(k, status, answer);
}

static void *run(void *arg)
{
	pthread_mutex_lock(&ch.lock);
	while (!ch.stop || !list_empty(&ch.queue)) {
		if (list_empty(&ch.queue))
			pthread_cond_wait(&ch.wake, &ch.lock);
		else
			turn(list_entry(ch.queue.next, struct change, node));
	}
	pthread_mutex_unlock(&ch.lock);
	return NULL;
}

int change_start(const struct agent *a)
{
	ch.agent = a;
	ch.stop = false;
	list_init(&ch.queue);
	return pthread_create(&ch.thread, NULL, run, NULL);
}

void change_stop(void)
{
	pthread_mutex_lock(&ch.lock);
	ch.stop = true;
	if (ch.linked)
		link_hang_up(&ch.link);
	pthread_cond_signal(&ch.wake);
	pthread_mutex_unlock(&ch.lock);
	pthread_join(ch.thread, NULL);
}

struct change *change_new(struct MHD_Connection *c, enum change_kind kind, json_t *query)
{
	struct change *k = calloc(1, sizeof(*k));
	bool room;

	pthread_mutex_lock(&ch.lock);
	room = k && !ch.stop && ch.queued < AGENT_CHANGES_MAX;
	if (room) {
		*k = (struct change){.c = c, .kind = kind, .query = query, .until_ms = clock_ms(CLOCK_MONOTONIC) + AGENT_PATIENCE_MS};
		MHD_suspend_connection(c);
		list_add_tail(&ch.queue, &k->node);
		ch.queued++;
		pthread_cond_signal(&ch.wake);
	}
	pthread_mutex_unlock(&ch.lock);
	if (room)
		return k;
	json_decref(query);
	free(k);
	return NULL;
}

unsigned change_ended(struct change *k, json_t **answer)
{
	unsigned status;

	pthread_mutex_lock(&ch.lock);
	status = k->status;
	*answer = status ? json_incref(k->answer) : NULL;
	pthread_mutex_unlock(&ch.lock);
	return status;
}

const char *change_name(const struct change *k)
{
	const char *name = json_string_value(json_object_get(k->query, "name"));

	return name ? name : "";
}

void change_free(struct change *k)
{
	if (!k)
		return;
	json_decref(k->query);
	json_decref(k->answer);
	free(k);
}
