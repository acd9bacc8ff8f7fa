/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail, in the order it closes (architecture 6). The namespaces are made by the keeper's clone().
 *
 *   jail_enter()   before the first thread: own uid, no capabilities, no new privileges, limits, landlock
 *   ... the driver is opened and its context created ...
 *   jail_close()   seccomp for every thread; after it the first guest byte may be read
 */
#ifndef VGPU_EXECUTOR_JAIL_H
#define VGPU_EXECUTOR_JAIL_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

struct jail {
	uint32_t uid;		/* to become when started as root */
	const char *namespaces; /* "root", "user" or "none": what the keeper could make */
	bool accept_no_landlock;
	uint64_t memory; /* RLIMIT_DATA in bytes, 0 = none */
	bool nvidia;	 /* the driver talks to /dev/nvidia*: it opens files at run time */
	int minor;	 /* of the device's /dev/nvidiaN; -1: any, it is not known */
	const char *driver_dir; /* readable besides the system's libraries; NULL: none */
};

struct vgpu_err *jail_enter(const struct jail *j);
struct vgpu_err *jail_close(const struct jail *j);
#endif
