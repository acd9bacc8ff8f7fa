/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of a channel, as a table: state x event -> action and next state. Pure, so that a test walks it.
 *
 * The guest only ever says which generation it wants (0 = closed); everything else is the host's. What the
 * guest sees in the header is shown[] of the state. FREE is the only state that promises zeroed memory, and
 * it is reached only when no process can touch the memory any more, and only through SCRUBBING, unless
 * there never was a process.
 */
#ifndef VGPUD_CHANNEL_STATES_H
#define VGPUD_CHANNEL_STATES_H
#include "wire/layout.h"

enum ch_state {
	CH_FREE,
	CH_QUEUED,   /* wanted, waits for the spawn bucket; no process yet */
	CH_STARTING, /* process started, not yet serving */
	CH_RUN,
	CH_KILLING, /* killed; FREE once reaped */
	CH_DYING,   /* killed by us for a reason the guest will be told; DEAD once reaped */
	CH_DEAD,    /* reaped; memory as the process left it */
	CH_SCRUBBING, /* no process; its memory is being zeroed */
	CH_RETIRED, /* its memory could not be zeroed: not used again as long as the connection lasts */
	CH_STATES
};

enum ch_event {
	CH_WANT,  /* a generation other than the present one is wanted */
	CH_CLOSE, /* generation 0 is wanted, or the peer is gone */
	CH_TOKEN, /* the bucket allows a start */
	CH_READY, /* the executor serves */
	CH_EXIT,  /* reaped, or could not be started */
	CH_KILL,  /* watchdog, quarantine, protocol violation: error is set */
	CH_CLEAN, /* all its memory is zero */
	CH_STUCK, /* some of it cannot be zeroed */
	CH_EVENTS
};

enum ch_action {
	CH_NOTHING,
	CH_DO_QUEUE, /* take the wanted generation, ask for a token */
	CH_DO_SPAWN,
	CH_DO_KILL,
	CH_DO_SCRUB,  /* begin to zero the memory */
	CH_DO_FORGET, /* nothing ran, nothing is left: look at the wish again */
	CH_DO_REPORT, /* keep the memory, publish the error */
	CH_DO_REFUSE, /* no process for this wish, with an error */
};

struct ch_step {
	unsigned char action, next;
};

extern const struct ch_step ch_table[CH_STATES][CH_EVENTS];
extern const enum vgpu_channel_state ch_shown[CH_STATES];
extern const char *const ch_names[CH_STATES];
#endif
