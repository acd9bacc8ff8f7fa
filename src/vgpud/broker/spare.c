/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spare: one executor that is started, jailed and has its context before anybody asks for it, so that a
 * program does not wait for all that. It has met no tenant and gets one channel in its life, as every
 * executor; a context it holds on the device is the first thing to go when the memory is needed.
 *
 *   none  -> spare_step() starts one, a second after the last was taken, so as not to disturb a start
 *   starting -> X_SPARE -> waits -> spare_take(): ASSIGN, and it is a channel's
 *   ended by itself -> the next attempt waits twice as long as the one before
 */
#include "vgpud/broker/broker.h"
#include "base/log.h"

#define DELAY_NS 1000000000ull
#define DOUBLINGS_MAX 6u

/* Its context comes out of what nobody has reserved. */
static bool has_room(const struct device *d)
{
	uint64_t need = device_reserved(d) + d->broker->cfg.context_overhead;

	return d->broker->cfg.spare && device_serves(d) && need <= d->info.total_mem;
}

void spare_step(struct device *d, uint64_t now)
{
	struct ipc_id kill = {d->spare ? d->spare->id : 0};

	if (!d->broker->ready)
		return;
	if (d->spare && !has_room(d)) {
		to_keeper(d->broker, IPC_KILL, &kill, sizeof(kill));
		d->spare->prepared = false;
	} else if (!d->spare && has_room(d) && now >= d->spare_at) {
		d->spare = exec_start(d, IPC_SPARE);
	}
}

struct bexec *spare_take(struct device *d)
{
	struct bexec *x = d->spare;

	if (!x || !x->prepared)
		return NULL;
	d->spare = NULL;
	d->spare_at = now_ns() + DELAY_NS;
	d->spare_failures = 0;
	return x;
}

bool spare_ended(const struct bexec *x)
{
	struct device *d = x->device;

	if (x != d->spare)
		return false;
	d->spare = NULL;
	if (d->spare_failures < DOUBLINGS_MAX)
		d->spare_failures++;
	d->spare_at = now_ns() + (DELAY_NS << d->spare_failures);
	log_info("the spare executor %d ended; the next one starts in %u s", x->pid, 1u << d->spare_failures);
	return true;
}

const char *spare_state(const struct device *d)
{
	if (!d->broker->cfg.spare)
		return "off";
	return !d->spare ? "none" : d->spare->prepared ? "ready" : "starting";
}
