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
static bool has_room(const struct broker *b)
{
	uint64_t need = device_reserved(b) + b->cfg.context_overhead;

	return b->cfg.spare && need <= b->dev.info.total_mem;
}

void spare_step(struct broker *b, uint64_t now)
{
	struct ipc_id kill = {b->spare ? b->spare->id : 0};

	if (!b->ready)
		return;
	if (b->spare && !has_room(b)) {
		to_keeper(b, IPC_KILL, &kill, sizeof(kill));
		b->spare->prepared = false;
	} else if (!b->spare && has_room(b) && now >= b->spare_at) {
		b->spare = exec_start(b, IPC_SPARE);
	}
}

struct bexec *spare_take(struct broker *b)
{
	struct bexec *x = b->spare;

	if (!x || !x->prepared)
		return NULL;
	b->spare = NULL;
	b->spare_at = now_ns() + DELAY_NS;
	b->spare_failures = 0;
	return x;
}

bool spare_ended(struct broker *b, const struct bexec *x)
{
	if (x != b->spare)
		return false;
	b->spare = NULL;
	if (b->spare_failures < DOUBLINGS_MAX)
		b->spare_failures++;
	b->spare_at = now_ns() + (DELAY_NS << b->spare_failures);
	log_info("the spare executor %d ended; the next one starts in %u s", x->pid, 1u << b->spare_failures);
	return true;
}

const char *spare_state(const struct broker *b)
{
	if (!b->cfg.spare)
		return "off";
	return !b->spare ? "none" : b->spare->prepared ? "ready" : "starting";
}
