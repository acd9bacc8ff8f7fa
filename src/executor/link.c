/* SPDX-License-Identifier: Apache-2.0 */
/* The executor's socket to the broker. A broker may die and be replaced on the same socket. */
#include "executor/process.h"
#include "base/log.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

void process_stop(struct process *p)
{
	uint64_t one = 1;

	atomic_store(&p->stop, 1);
	if (write(p->stop_fd, &one, sizeof(one)) < 0)
		log_debug("stop: %m");
	pthread_mutex_lock(&p->answer_lock);
	pthread_cond_broadcast(&p->answered);
	pthread_mutex_unlock(&p->answer_lock);
}

void process_tell(struct process *p, uint16_t type, const void *payload, size_t size)
{
	int rc;

	pthread_mutex_lock(&p->send_lock);
	rc = msg_send(&p->link, type, payload, size, NULL, 0);
	pthread_mutex_unlock(&p->send_lock);
	if (rc)
		process_stop(p);
}

/* What was granted is remembered, to tell a new broker. Under answer_lock. */
static void note_result(struct process *p)
{
	if (p->asked_type == IPC_X_QUOTA && p->result == 0)
		p->quota_used += (uint64_t)p->asked.quota.bytes;
}

int process_ask(struct process *p, uint16_t type, const void *payload, size_t size)
{
	int rc = -ECANCELED;

	pthread_mutex_lock(&p->lock);
	pthread_mutex_lock(&p->answer_lock);
	memcpy(&p->asked, payload, size);
	p->asked_type = type;
	p->asked_size = size;
	p->have_result = false;
	p->waiting = true;
	pthread_mutex_unlock(&p->answer_lock);
	process_tell(p, type, payload, size);
	pthread_mutex_lock(&p->answer_lock);
	while (!p->have_result && !atomic_load(&p->stop))
		pthread_cond_wait(&p->answered, &p->answer_lock);
	if (p->have_result)
		rc = p->result;
	p->waiting = false;
	pthread_mutex_unlock(&p->answer_lock);
	pthread_mutex_unlock(&p->lock);
	return rc;
}

static void on_result(struct process *p, const struct msg *m)
{
	const struct ipc_result *r = (const void *)m->payload;

	pthread_mutex_lock(&p->answer_lock);
	if (p->waiting && !p->have_result) {
		p->result = r->rc;
		p->have_result = true;
		note_result(p);
		pthread_cond_broadcast(&p->answered);
	}
	pthread_mutex_unlock(&p->answer_lock);
}

static void on_adopt(struct process *p, const struct msg *m)
{
	struct ipc_x_ready r = {.token = ((const struct ipc_adopt *)(const void *)m->payload)->token};
	bool again;

	pthread_mutex_lock(&p->answer_lock);
	r.quota_used = p->quota_used;
	again = p->waiting && !p->have_result;
	process_tell(p, IPC_X_READY, &r, sizeof(r));
	if (again)
		process_tell(p, p->asked_type, &p->asked, p->asked_size);
	pthread_mutex_unlock(&p->answer_lock);
}

static void on_stop(struct process *p, const struct msg *m)
{
	process_stop(p);
}

static void (*const handlers[IPC_TYPES])(struct process *, const struct msg *) = {
	[IPC_RESULT] = on_result,
	[IPC_ADOPT] = on_adopt,
	[IPC_STOP] = on_stop,
};

static void *control_main(void *arg)
{
	struct process *p = arg;
	struct pollfd pfd[2] = {{.fd = p->link.fd, .events = POLLIN}, {.fd = p->stop_fd, .events = POLLIN}};
	char why[128];
	struct msg m;

	while (!atomic_load(&p->stop)) {
		int rc = msg_recv(&p->link, &m, why, sizeof(why));

		if (rc == 0) {
			poll(pfd, 2, -1);
			continue;
		}
		if (rc < 0)
			break; /* keeper and broker are both gone, or nonsense arrived */
		handlers[m.type](p, &m);
		msg_done(&m);
	}
	process_stop(p);
	return NULL;
}

int process_start_control(struct process *p)
{
	return -pthread_create(&p->control, NULL, control_main, p);
}

static void charge_bytes(void *ctx, uint64_t bytes)
{
	atomic_fetch_add_explicit(&((struct process *)ctx)->page->bytes, bytes, memory_order_relaxed);
}

static void charge_launches(void *ctx, uint32_t n)
{
	atomic_fetch_add_explicit(&((struct process *)ctx)->page->launches, n, memory_order_relaxed);
}

static int extents_check(void *ctx, uint32_t first, uint32_t count)
{
	struct ipc_x_extents m = {first, count};

	return process_ask(ctx, IPC_X_EXTENTS, &m, sizeof(m)) ? -EPERM : 0;
}

static void count_unsupported(void *ctx, uint16_t opcode)
{
	/* In the page: a guest that makes such calls in a loop is no work for the broker. */
	atomic_fetch_add_explicit(&((struct process *)ctx)->page->unsupported, 1, memory_order_relaxed);
}

/* At once: what it runs on the device must not outlive the right to run it, and nothing it holds is to wait
 * for an endless kernel. */
static void broken(void *ctx, int error)
{
	struct ipc_x_end m = {.error = (uint32_t)error};

	snprintf(m.text, sizeof(m.text), "%s",
		 error == VGPU_ERR_PROTOCOL ? "the guest broke the wire protocol"
					    : "no event tells when the device is through: is its memory full?");
	process_tell(ctx, IPC_X_END, &m, sizeof(m));
	_exit(1);
}

static void sick(void *ctx, int code)
{
	struct ipc_x_sick m = {code};

	process_tell(ctx, IPC_X_SICK, &m, sizeof(m));
}

const struct exec_ops process_ops = {
	.sick = sick,
	.broken = broken,
	.lease_try = lease_try,
	.lease_ask = lease_ask,
	.lease_due = lease_due,
	.lease_ending = lease_ending,
	.lease_release = lease_release,
	.lease_idle = lease_idle,
	.unit_begin = lease_unit_begin,
	.units_end = lease_units_end,
	.unit_times = lease_unit_times,
	.quota_take = quota_take,
	.quota_give = quota_give,
	.quota_info = quota_info,
	.charge_bytes = charge_bytes,
	.charge_launches = charge_launches,
	.room = limits_room,
	.extents_check = extents_check,
	.count_unsupported = count_unsupported,
};
