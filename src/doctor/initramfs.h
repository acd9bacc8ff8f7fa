/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the initramfs of the running kernel holds as far as GPUs and VFIO go. The image is streamed
 * (early uncompressed archives, then a compressed one) and never kept: the derived evidence is a
 * JSON digest "initramfs:PATH" of driver modules and modprobe configuration inside.
 */
#ifndef DOCTOR_INITRAMFS_H
#define DOCTOR_INITRAMFS_H

#include "evidence.h"

#include <jansson.h>

#define INITRD_BYTES   (4ull << 30) /* decompressed; more is a bomb */
#define INITRD_ENTRIES 200000u

struct initrd {
	const struct ev_item *src, *stat; /* NULL: no image known for this kernel */
	json_t *digest; /* {"entries":n,"modules":[names],"conf":{path:text}}; NULL unknown */
	bool looked;    /* false: the caller did not want to spend the time */
	char path[256];
};

void initrd_collect(struct initrd *i, struct ev *ev, const char *release, bool look);
void initrd_free(struct initrd *i);
/* True when a module file of this name ('_' for '-') is inside. */
bool initrd_has_module(const struct initrd *i, const char *module);

/* Digests an image from fd; NULL with *problem set when it could not be read to its end. */
json_t *initrd_digest(int fd, const char **problem);

#endif
