/* SPDX-License-Identifier: Apache-2.0 */
/* channel_states.h carried out. */
#include "vgpud/broker/broker.h"
#include "base/log.h"
#include "wire/geometry.h"
#include <errno.h>
#include <string.h>

static void store32(vg_u32 *to, uint32_t v)
{
	__atomic_store_n(to, v, __ATOMIC_RELEASE);
}

struct vgpu_channel_status channel_status(const struct channel *ch)
{
	return (struct vgpu_channel_status){
		.state = ch_shown[ch->state],
		.generation = ch->state == CH_FREE ? 0 : ch->generation,
		.error = ch->state == CH_DEAD || ch->state == CH_RETIRED ? ch->error : VGPU_ERR_NONE,
	};
}

/* State last: the guest reads error and generation after it. */
void channel_show(struct channel *ch)
{
	struct bconn *c = ch->conn;
	struct vgpu_channel_status *s = &c->header->channel[ch->index], now = channel_status(ch);

	store32(&s->error, now.error);
	store32(&s->generation, now.generation);
	store32(&s->state, now.state);
	irq_raise(c->irqs[VGPU_VECTOR_VM]);
	irq_raise(c->irqs[VGPU_VECTOR_CHANNEL(ch->index)]);
}

/* ---- zeroing: the channel and every extent that is its own, by the wish page, or once mapped for it and
 * not handed to another channel since ---- */

#define LOOKS 512u /* owner bytes between two looks at the broker's events */

static bool is_own(const struct channel *ch, uint32_t extent)
{
	/* The guest's memory: read once, or the two uses could see two values. */
	uint8_t owner = __atomic_load_n(&ch->conn->wish->owner[extent], __ATOMIC_RELAXED);
	bool mapped = ch->extents && ch->extents[extent / 8] & (1u << (extent % 8));

	return owner == ch->index + 1 || (mapped && owner == 0);
}

static bool next_extent(struct scrub_job *j)
{
	struct channel *ch = list_entry(j, struct channel, scrub);
	uint32_t n = vgpu_extent_count(ch->conn->bar_size), look = 0;

	for (; ch->next_extent < n && look < LOOKS; look++) {
		uint32_t i = ch->next_extent++;

		if (!is_own(ch, i))
			continue;
		j->at = VGPU_EXTENT_OFF + (uint64_t)i * VGPU_EXTENT_SIZE;
		j->end = j->at + VGPU_EXTENT_SIZE;
		return true;
	}
	return ch->next_extent < n;
}

static void scrubbed(struct scrub_job *j, int rc)
{
	struct channel *ch = list_entry(j, struct channel, scrub);
	struct vm *vm = ch->conn->vm;

	free(ch->extents);
	ch->extents = NULL;
	if (rc) {
		vm->retired++;
		log_error("VM %s channel %u: its memory cannot be zeroed (%s): not used again until the VM connects anew",
			  vm->set.name, ch->index, strerror(-rc));
	}
	channel_event(ch, rc ? CH_STUCK : CH_CLEAN);
}

static void do_scrub(struct channel *ch)
{
	struct bconn *c = ch->conn;

	if (c->gone)
		return; /* conn_maybe_free() empties the whole */
	scrub_drop(&ch->scrub); /* overwritten while it is in the list, it would stay there when the connection is freed */
	ch->next_extent = 0;
	ch->scrub = (struct scrub_job){.owner = c->vm, .fd = c->memfd, .next = next_extent, .done = scrubbed};
	ch->scrub.at = VGPU_CHANNEL_OFF + (uint64_t)ch->index * VGPU_CHANNEL_STRIDE;
	ch->scrub.end = ch->scrub.at + VGPU_CHANNEL_STRIDE;
	scrub_add(&c->broker->scrub, &ch->scrub);
}

static void do_kill(struct channel *ch)
{
	struct ipc_id m = {ch->exec ? ch->exec->id : 0};

	if (ch->exec)
		to_keeper(ch->conn->broker, IPC_KILL, &m, sizeof(m));
}

static void do_spawn(struct channel *ch)
{
	int rc = exec_spawn(ch);

	if (!rc)
		return;
	ch->error = rc == -EDQUOT ? VGPU_ERR_QUOTA : rc == -ENODEV ? VGPU_ERR_NO_DEVICE : VGPU_ERR_SPAWN;
	channel_event(ch, CH_EXIT);
}

static uint32_t wanted(const struct channel *ch)
{
	if (ch->conn->gone)
		return 0;
	return ch->conn->wish->wanted[ch->index];
}

static void try_token(struct channel *ch)
{
	struct vm *vm = ch->conn->vm;

	if (vm->quarantined) {
		channel_fail(ch, VGPU_ERR_QUARANTINED);
		return;
	}
	if (!device_awaited(vm->device) && vm_take_token(vm, now_ns()))
		channel_event(ch, CH_TOKEN);
}

static void act(struct channel *ch, enum ch_action a)
{
	switch (a) {
	case CH_NOTHING:
	case CH_DO_REPORT:
		channel_show(ch);
		break;
	case CH_DO_QUEUE:
		ch->generation = wanted(ch);
		ch->error = VGPU_ERR_NONE;
		channel_show(ch);
		try_token(ch);
		break;
	case CH_DO_SPAWN:
		do_spawn(ch);
		break;
	case CH_DO_KILL:
		channel_show(ch);
		do_kill(ch);
		break;
	case CH_DO_SCRUB:
		channel_show(ch);
		do_scrub(ch);
		break;
	case CH_DO_REFUSE:
		ch->generation = wanted(ch);
		ch->error = VGPU_ERR_SPAWN;
		channel_show(ch);
		break;
	case CH_DO_FORGET:
		channel_show(ch);
		channel_look(ch);
		break;
	}
}

void channel_event(struct channel *ch, enum ch_event ev)
{
	struct ch_step step = ch_table[ch->state][ev];

	if (step.action == CH_NOTHING && step.next == ch->state)
		return;
	log_debug("VM %s channel %u: %s -> %s", ch->conn->vm->set.name, ch->index, ch_names[ch->state],
		  ch_names[step.next]);
	ch->state = step.next;
	act(ch, step.action);
}

/* End it from our side; the guest is told why. */
void channel_fail(struct channel *ch, uint32_t error)
{
	if (ch->error == VGPU_ERR_NONE)
		ch->error = error;
	channel_event(ch, CH_KILL);
}

/* The only thing ever read from the guest here: one word, compared. */
void channel_look(struct channel *ch)
{
	uint32_t w = wanted(ch);

	/* Bells of before are heard while the keeper is still telling what there is: a channel whose executor has not been
	 * announced yet would be given a second one, in the midst of its ring. conns_settle() looks when all is known. */
	if (!ch->conn->broker->ready)
		return;
	if (ch->state == CH_FREE ? w != 0 : w != ch->generation)
		channel_event(ch, w ? CH_WANT : CH_CLOSE);
}

/* After an earlier broker: nothing of it runs. Its generation is the one its latest executor was started
 * for, so another that is wanted now was never served. Nobody knows how far the earlier broker had zeroed. */
void channel_adopt(struct channel *ch)
{
	uint32_t w = wanted(ch);

	if (w && w == ch->generation) {
		ch->error = VGPU_ERR_EXECUTOR_CRASHED; /* it ended unseen */
		ch->state = CH_DEAD;
		channel_show(ch);
		return;
	}
	ch->state = CH_SCRUBBING;
	act(ch, CH_DO_SCRUB);
}

void channel_period(struct channel *ch, uint64_t now)
{
	channel_look(ch);
	if (ch->state == CH_QUEUED)
		try_token(ch);
	if (ch->exec)
		exec_watch(ch->exec, now);
}
