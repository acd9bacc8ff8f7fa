/* SPDX-License-Identifier: Apache-2.0 */
/* Waits of the agent's threads are by the monotonic clock: one that is set back would stretch them. */
#ifndef VGPU_AGENT_CLOCK_H
#define VGPU_AGENT_CLOCK_H
#include <pthread.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ms(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* For pthread_cond_timedwait() until a monotonic time. */
static inline void cond_init_monotonic(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}
#endif
