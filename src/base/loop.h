/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll with callbacks, single-threaded. A struct loop_io lies in its owner; the owner may be freed in
 * any callback as long as it called loop_del() first: events of the same wake-up for a deleted io are
 * dropped.
 */
#ifndef VGPU_BASE_LOOP_H
#define VGPU_BASE_LOOP_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop_io;
typedef void loop_fn(struct loop_io *io, uint32_t events);

struct loop_io {
	int fd; /* owned by the caller */
	loop_fn *fn;
	void *arg;
	bool added;
};

#define LOOP_BATCH 64
struct loop {
	int epfd;
	bool stop;
	struct epoll_event pending[LOOP_BATCH];
	int n_pending;
	/* Called once after each look at the events; true: call again without waiting for one. May be NULL. */
	bool (*work)(void *arg);
	void *work_arg;
};

/* All return 0 or -errno. */
int loop_init(struct loop *l);
void loop_fini(struct loop *l);
int loop_add(struct loop *l, struct loop_io *io, int fd, uint32_t events, loop_fn *fn, void *arg);
int loop_mod(struct loop *l, struct loop_io *io, uint32_t events);
void loop_del(struct loop *l, struct loop_io *io);
/* Until l->stop. */
int loop_run(struct loop *l);

/* A one-shot timer on CLOCK_MONOTONIC; its io's fn is called once per expiry. */
int loop_timer_init(struct loop *l, struct loop_io *io, loop_fn *fn, void *arg);
/* at_ns: absolute; 0 = off. */
void loop_timer_set(struct loop_io *io, uint64_t at_ns);

/* CLOCK_MONOTONIC in ns. */
uint64_t now_ns(void);
#endif
