/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One channel as seen by its guest process: many threads encode into two rings under short locks;
 * a thread's wait stalls nobody else's.
 *
 * All functions return a CUresult and are safe from any thread. Once the executor is gone every
 * call returns the same error (client_death() says which), and nothing blocks any more.
 */
#ifndef VGPU_GUEST_CLIENT_H
#define VGPU_GUEST_CLIENT_H
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include "guest/port.h"
#include "wire/ops.h"
#include "wire/ring.h"

#define CLIENT_SLOTS 512u /* calls open at once; below VGPU_CH_CPL_ENTRIES */
#define CLIENT_STAGE_RING (1u << 20) /* of the bounce area: small copies */
#define CLIENT_STAGE_BLOCK (256u << 10) /* the rest: blocks for large ones */
#define CLIENT_STAGE_BLOCKS ((VGPU_CH_BOUNCE_SIZE - CLIENT_STAGE_RING) / CLIENT_STAGE_BLOCK)

enum slot_state { SLOT_FREE, SLOT_WAITING, SLOT_DONE };

struct vgpu_slot {
	_Atomic uint32_t state;
	uint32_t tag; /* slot number and a generation above it */
	struct vgpu_completion c;
};

struct vgpu_block { /* of the bounce area */
	bool taken;	  /* by a thread that fills or reads it */
	uint64_t until;	  /* else free once work_done >= until */
};

struct vgpu_client {
	struct vgpu_port *port;
	void *channel;
	struct vgpu_ch_host *host;
	struct vgpu_ch_guest *guest;
	_Atomic int dead; /* CUresult, 0 = alive */
	struct vgpu_spin spin;
	_Atomic uint32_t rung; /* host->sleeping as it was when this side last rang */

	pthread_mutex_t work_lock;
	uint64_t work_head, work_tail_seen;
	struct vgpu_bytes param, stage;

	pthread_mutex_t ctl_lock; /* control ring, payload blocks, slots */
	pthread_cond_t ctl_room;
	uint64_t ctl_head;
	uint32_t blocks_free; /* bit per payload block */
	uint32_t slot_free[CLIENT_SLOTS], nslot_free;
	struct vgpu_slot slot[CLIENT_SLOTS];

	pthread_mutex_t reap_lock; /* reader of the completion ring */
	uint64_t cpl_tail;
	pthread_mutex_t sleep_lock; /* who polls the port, who waits for that one */
	pthread_cond_t sleep_change;
	bool polling;

	pthread_mutex_t block_lock;
	struct vgpu_block block[CLIENT_STAGE_BLOCKS];
	uint64_t late_seen;
};

/* A control call; built by the generated vgpu_call_NAME() of wire/ops_enc.h. */
struct vgpu_request {
	uint16_t opcode, flags;
	uint32_t ctx;
	uint64_t follows; /* with VGPU_E_FOLLOWS: work index */
	const void *in;
	uint32_t in_size;
	void *out;
	uint32_t out_size;
	const void *payload;
	uint32_t payload_len;
	void *reply; /* receives at most reply_cap bytes; *reply_len says how many there are */
	uint32_t reply_cap, *reply_len;
	uint32_t reply_at; /* offset of reply_off, reply_cap in the body */
};

/* Starts the executor and attaches. 0, or a CUresult with one line in err[]. */
int client_start(struct vgpu_client *cl, struct vgpu_port *port, char *err, unsigned err_len);
int client_call(struct vgpu_client *cl, const struct vgpu_request *rq);
/* 0, or what every call returns from now on. Looks at the header only if `look`. */
int client_death(struct vgpu_client *cl, bool look);
/* The context's sticky error, the process's death, or 0: three loads. */
int client_error(struct vgpu_client *cl);
/* A refusal that came too late for its own call: returned once. */
int client_late_error(struct vgpu_client *cl);

/*
 * Work ring: begin() locks it and returns the entry to fill, with room for `pay` payload bytes at
 * *payload (may be 0); commit() publishes and unlocks. Between the two the caller must not block.
 * NULL: the executor is gone. commit() returns the index that work_done must reach.
 */
struct vgpu_entry *work_begin(struct vgpu_client *cl, uint16_t opcode, uint32_t ctx, uint32_t pay, void **payload);
uint64_t work_commit(struct vgpu_client *cl, struct vgpu_entry *e);
/* Like begin, and takes `len` bytes (<= CLIENT_STAGE_RING / 4) of the stage ring, bounce offset in *at. */
struct vgpu_entry *work_begin_staged(struct vgpu_client *cl, uint16_t opcode, uint32_t ctx, uint32_t pay, void **payload,
				     uint32_t len, uint32_t *at);
/* Index that every entry published so far is below. */
uint64_t work_position(struct vgpu_client *cl);
static inline bool work_is_done(struct vgpu_client *cl, uint64_t index)
{
	return vgpu_load64(&cl->host->work_done) >= index;
}

/* Completions of work entries: take a slot, put its tag into the entry with VGPU_E_REPLY, wait. */
struct vgpu_slot *slot_take(struct vgpu_client *cl);
int slot_wait(struct vgpu_client *cl, struct vgpu_slot *s, struct vgpu_completion *out);
/* For a copy of so many bytes, whose own time is known roughly: worth spinning for, or not at all. */
int slot_wait_copy(struct vgpu_client *cl, struct vgpu_slot *s, uint64_t bytes);
void slot_give(struct vgpu_client *cl, struct vgpu_slot *s);

/* Blocks of the bounce area. take() waits for a free one and returns its number, -1 when the
 * executor is gone; give() makes it free once work_done reaches `until`. */
int block_take(struct vgpu_client *cl);
void block_give(struct vgpu_client *cl, int block, uint64_t until);
uint32_t block_offset(int block);
static inline void *bounce_at(struct vgpu_client *cl, uint32_t offset)
{
	return (char *)cl->channel + VGPU_CH_BOUNCE_OFF + offset;
}
#endif
