/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host in miniature: speaks unix_proto.h, starts one executor per connection, without a jail, a
 * broker or a lease that anyone else wants. What tests of the wire run against before (and without)
 * vgpud.
 */
#ifndef VGPU_TESTS_HARNESS_H
#define VGPU_TESTS_HARNESS_H
#include <stdint.h>
#include <sys/types.h>
#include "executor/executor.h"

#define HARNESS_QUOTA (512ull << 20)

/* A lease and a quota that always grant; counters in *c. */
struct harness_counters {
	_Atomic uint64_t taken, units_begun, units_ended, launches, bytes, unsupported, idled;
};
extern const struct exec_ops harness_ops; /* ops_ctx = struct harness_counters */

/* Serves `path` in a child process until it is killed. Returns its pid once it listens, or -1. */
pid_t harness_serve(const char *path, const char *driver);
/* The same in this process; never returns. */
int harness_loop(int listener, const char *driver);
int harness_listen(const char *path);
/* A BAR2 with a filled header; -1 on error. The device part comes from the driver, asked in a child. */
int harness_bar(const char *driver, uint64_t size);
#endif
