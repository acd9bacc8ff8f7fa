/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies in a ring slot, and how the 1.75 MiB parameter area is divided.
 *
 * A call is one 64-byte descriptor: a 24-byte head and 40 bytes for the fields of its body (the
 * generated struct vgpu_in_NAME). A longer body, and bytes of variable length (kernel parameters,
 * names, a piece of a module image), lie in the parameter area; the descriptor says where. The
 * answer of a call is one 64-byte completion; a longer answer goes to the place in the parameter
 * area that the body names.
 *
 * Work ring:    payload is free again once work_tail has passed its entry (the executor copies it
 *               when it takes the entry); bounce bytes once work_done has.
 * Control ring: a payload belongs to the caller until its completion arrives.
 *
 * The guest never has more than VGPU_CH_CPL_ENTRIES calls open, so the executor never waits for
 * room in the completion ring: a full one is a broken protocol.
 */
#ifndef VGPU_WIRE_ENTRY_H
#define VGPU_WIRE_ENTRY_H
#include "wire/layout.h"

#define VGPU_INLINE_IN 40u
#define VGPU_INLINE_OUT 48u

/* Entry flags; every other bit must be zero. */
#define VGPU_E_REPLY 0x1u   /* post a completion with `tag` */
#define VGPU_E_FOLLOWS 0x2u /* control ring: not before the work index `follows` has been issued */

struct vgpu_entry {
	vg_u16 opcode; /* enum vgpu_op */
	vg_u16 flags;
	vg_u32 tag;	/* echoed in the completion */
	vg_u32 follows; /* low 32 bits of a work index: every entry below it has been issued */
	vg_u32 ctx;	/* context handle, 0 for calls that need none */
	vg_u32 pay_off; /* bytes from the channel's start; 0 = no payload */
	vg_u32 pay_len; /* bytes */
	vg_u8 body[VGPU_INLINE_IN];
};
_Static_assert(sizeof(struct vgpu_entry) == VGPU_ENTRY_SIZE, "one slot");

struct vgpu_completion {
	vg_u32 tag;
	vg_s32 result; /* CUresult */
	vg_u32 reply_len; /* bytes the answer has; more than the given room means it was cut */
	vg_u32 reserved;
	vg_u8 body[VGPU_INLINE_OUT];
};
_Static_assert(sizeof(struct vgpu_completion) == VGPU_ENTRY_SIZE, "one slot");

/* The parameter area: a ring for the work ring's payload, then blocks for control calls. */
#define VGPU_PARAM_RING_SIZE (1u << 20)
#define VGPU_BLOCK_OFF (VGPU_CH_PARAM_OFF + VGPU_PARAM_RING_SIZE)
#define VGPU_BLOCK_SIZE (64u << 10)
#define VGPU_BLOCKS ((VGPU_CH_BOUNCE_OFF - VGPU_BLOCK_OFF) / VGPU_BLOCK_SIZE)
_Static_assert(VGPU_BLOCK_OFF + VGPU_BLOCKS * VGPU_BLOCK_SIZE == VGPU_CH_BOUNCE_OFF, "whole blocks");

/* Where one side of a copy lies. */
enum vgpu_place {
	VGPU_AT_DEVICE = 0, /* device address */
	VGPU_AT_HOST = 1,   /* address inside extents mapped by host_map, same in guest and executor */
	VGPU_AT_BOUNCE = 2, /* byte offset into the bounce area */
	VGPU_AT_ARRAY = 3,  /* array handle; x (bytes) and y apart */
	VGPU_PLACES = 4,
};

/* struct vgpu_ch_host.private_ */
struct vgpu_host_words {
	vg_u64 api_hash;   /* of the executor's API table; the guest refuses another */
	vg_u32 late_error; /* CUresult of the last late refusal; late_errors counts them */
	vg_u32 ready;	   /* 1 once the executor serves the rings */
};
static inline struct vgpu_host_words *vgpu_host_words(struct vgpu_ch_host *h)
{
	return (struct vgpu_host_words *)(void *)h->private_;
}
#endif
