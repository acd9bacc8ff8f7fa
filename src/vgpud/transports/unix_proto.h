/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.sock: how a local process gets the {memfd, eventfds} a VM gets through ivshmem.
 *
 * One SOCK_SEQPACKET connection = one guest process = one private BAR2. The client sends exactly one
 * hello; the server answers with exactly one reply and, on VGPU_UNIX_OK, VGPU_UNIX_FDS descriptors in
 * that same message (SCM_RIGHTS). Nothing further is ever sent in either direction. The connection's
 * life is the channel's: closing it (or dying) ends the executor and the memory; when the server closes
 * it, the host side is gone.
 *
 * The client plays guest kernel of its BAR2: it owns the wish page, uses channel 0 and the vectors 0
 * (VM-wide) and 1 (channel 0). A child after fork() must close its copy without using it.
 *
 * Strings are NUL-terminated within their field. All words are in host order (same machine).
 */
#ifndef VGPU_UNIX_PROTO_H
#define VGPU_UNIX_PROTO_H
#include <stdint.h>

#define VGPU_UNIX_MAGIC 0x58495656u /* "VVIX" */
#define VGPU_UNIX_VERSION 1u
#define VGPU_UNIX_VECTORS 2u

enum vgpu_unix_status {
	VGPU_UNIX_OK = 0,
	VGPU_UNIX_BAD_HELLO = 1,   /* magic, version, length or an unterminated name */
	VGPU_UNIX_NO_TENANT = 2,   /* no VM of that name; or it is not served over unix */
	VGPU_UNIX_DENIED = 3,	   /* this user may not act for that tenant */
	VGPU_UNIX_NO_MEMORY = 4,   /* BAR2 budget or descriptors exhausted */
	VGPU_UNIX_BUSY = 5,	   /* the tenant has all its channels taken */
	VGPU_UNIX_QUARANTINED = 6,
	VGPU_UNIX_DOWN = 7,	   /* vgpud is starting, restarting or ending: try again */
};

struct vgpu_unix_hello {
	uint32_t magic, version;
	char tenant[64]; /* "" = the only tenant of a private vgpud, else the VM's name */
};

/* Descriptors of an OK reply, in this order. */
enum vgpu_unix_fd {
	VGPU_UNIX_FD_BAR = 0,	/* memfd, sealed SHRINK|GROW|SEAL, all zero but for the header */
	VGPU_UNIX_FD_BELL_VM,	/* eventfd, client writes: the wish page changed */
	VGPU_UNIX_FD_BELL_CH,	/* eventfd, client writes: wake channel 0's executor */
	VGPU_UNIX_FD_IRQ_VM,	/* eventfd, client polls: header or channel state changed */
	VGPU_UNIX_FD_IRQ_CH,	/* eventfd, client polls: channel 0's interrupt */
	VGPU_UNIX_FDS
};

struct vgpu_unix_reply {
	uint32_t magic, version;
	uint32_t status;   /* enum vgpu_unix_status */
	uint32_t vectors;  /* VGPU_UNIX_VECTORS */
	uint64_t bar_size; /* bytes of the memfd */
	char text[128];	   /* why not, for a person; "" on OK */
};

_Static_assert(sizeof(struct vgpu_unix_hello) == 72, "no padding");
_Static_assert(sizeof(struct vgpu_unix_reply) == 152, "no padding");
#endif
