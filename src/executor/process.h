/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process half: one struct, its link to the broker, and the exec_ops built on both.
 *
 * Threads: main runs exec_serve(); one control thread reads the broker's messages. A request to the broker
 * is one message and one result, one at a time under `lock`.
 */
#ifndef VGPU_EXECUTOR_PROCESS_H
#define VGPU_EXECUTOR_PROCESS_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "executor/executor.h"
#include "executor/lease_page.h"
#include "vgpud/ipc.h"

struct process {
	struct msg_chan link;
	pthread_mutex_t send_lock; /* link */
	pthread_mutex_t lock;	   /* one request at a time, and quota_used */
	pthread_cond_t answered;
	pthread_mutex_t answer_lock;
	bool waiting, have_result;
	int32_t result;
	uint16_t asked_type; /* the unanswered request, sent again to a new broker */
	union {
		struct ipc_x_quota quota;
		struct ipc_x_extents extents;
	} asked;
	size_t asked_size;
	uint64_t quota_used; /* bytes granted; under answer_lock */

	struct lease_page *page;
	int kick_fd;
	pthread_mutex_t lease_lock;
	_Atomic uint32_t lease; /* number of the lease held or asked for; 0: none */
	bool held;	/* lease was granted and not given back */
	uint64_t idle_at; /* ns: idle since then with the lease, though others wait; 0: not */

	uint64_t told[LEASE_LIMITS]; /* the `allowed` whose end the broker was told of; decoder only */

	atomic_int stop;
	int stop_fd;
	pthread_t control;
};

extern const struct exec_ops process_ops; /* ctx: struct process */

/* link.c. -ECANCELED when the broker will never answer. */
int process_ask(struct process *p, uint16_t type, const void *payload, size_t size);
void process_tell(struct process *p, uint16_t type, const void *payload, size_t size);
int process_start_control(struct process *p);
void process_stop(struct process *p);

/* lease.c */
bool lease_try(void *ctx);
void lease_ask(void *ctx);
bool lease_due(void *ctx);
void lease_ending(void *ctx);
void lease_release(void *ctx);
uint64_t lease_idle(void *ctx);
void lease_kick(struct process *p);
void lease_unit_begin(void *ctx);
void lease_units_end(void *ctx, uint32_t n);
void lease_unit_times(void *ctx, enum exec_time what, uint32_t n, uint64_t ns);

/* limits.c */
uint64_t limits_room(void *ctx, enum exec_limit what);

/* quota.c */
int quota_take(void *ctx, uint64_t bytes);
void quota_give(void *ctx, uint64_t bytes);
void quota_info(void *ctx, uint64_t *free_bytes, uint64_t *total);
#endif
