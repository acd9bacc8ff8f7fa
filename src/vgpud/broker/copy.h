/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The copy of the state that the keeper holds for the next broker, which may be of another version: an upgrade leaves it
 * as it is. So nothing in it depends on how a struct lies in memory. It is text, a line per thing, behind a head:
 *
 *   pool name=default concurrent=0
 *   device name=cpu pool=default ...
 *   vm id=7 name=a quarantined=0 ... priority=4 weight=50 ...
 *
 * There are two slots. A broker writes the one that is not in force, its head last, so one killed meanwhile leaves the
 * former copy. What is not in the text keeps its initial value; a field or a line that this version does not know is
 * counted and left out, for the copy is read when there is nothing else to go on with. Another COPY_VERSION, a length
 * beyond COPY_MAX, a checksum that does not fit, a value out of range: the copy is refused whole.
 */
#ifndef VGPUD_COPY_H
#define VGPUD_COPY_H
#include "base/buf.h"
#include "vgpud/broker/broker.h"

#define COPY_VERSION 1u
#define COPY_MAX (16u << 20) /* bytes of text: VMS_MAX VMs of 1 KiB, and some */

struct copy_vm {
	struct vm_settings set;
	uint64_t quarantined;
	char pool[IPC_NAME_LEN], device[IPC_NAME_LEN], next[IPC_NAME_LEN], why[PLACE_WHY_LEN];
};

struct copy_pool {
	char name[IPC_NAME_LEN];
	uint64_t concurrent;
};

struct copy_device {
	char name[IPC_NAME_LEN], pool[IPC_NAME_LEN], uuid[IPC_UUID_LEN], pci[32], peers[DEVICE_PEERS_LEN], reason[DEVICE_REASON_LEN];
	uint64_t numa_node, state;
	uint64_t layout; /* VGPU_LAYOUT_VERSION of info; 0: no probe has said what the device is */
	struct vgpu_device_info info; /* zero when its size is another version's */
};

/* ---- text ---- */

/* 0; -ENOBUFS beyond the buffer's limit, -ENOMEM. */
int copy_put_pool(struct buf *out, const struct copy_pool *p);
int copy_put_device(struct buf *out, const struct copy_device *d);
int copy_put_vm(struct buf *out, const struct copy_vm *vm);

/* Called with each thing, in the text's order; an error ends the reading. */
struct copy_reader {
	struct vgpu_err *(*pool)(void *arg, const struct copy_pool *p);
	struct vgpu_err *(*device)(void *arg, const struct copy_device *d);
	struct vgpu_err *(*vm)(void *arg, const struct copy_vm *vm);
	void *arg;
	unsigned unknown; /* out: fields and lines left out */
};
/* Every string is terminated, every number in the range that copy.c and settings.c name; info is bytes. */
struct vgpu_err *copy_read(const char *text, struct copy_reader *r);

/* ---- the descriptor ---- */

struct copy_head {
	char magic[8];
	uint32_t version, size; /* size: of this head */
	uint64_t number;	/* the higher one is in force */
	uint64_t length, vms;	/* bytes of text; lines of kind vm */
	uint64_t unsaved;	/* 1: not all of it is in state.db */
	uint64_t sum;		/* of the head with 0 here, and the text */
};

/* 0 or -errno. vms: so many are in the text. */
int copy_store(int fd, const struct buf *text, uint64_t vms, bool unsaved);
enum copy_found { COPY_NONE, COPY_FOUND, COPY_REFUSED }; /* NONE: no broker has written one */
/* FOUND: the newest sound one is in *text and *h. REFUSED: what is there is of another version or damaged. */
enum copy_found copy_find(int fd, struct buf *text, struct copy_head *h);
#endif
