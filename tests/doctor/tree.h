/* SPDX-License-Identifier: Apache-2.0 */
/* Audits of fixture trees inside one process, for the tests that need thousands of them. */
#ifndef TEST_DOCTOR_TREE_H
#define TEST_DOCTOR_TREE_H

#include "host.h"

struct run {
	struct host host;
	struct audit audit;
};

/* mode: by name. The store stays the caller's. only may be NULL. */
void run_audit(struct run *r, struct ev *ev, const char *mode, const char *only);
/* The same with another enum host_slow, and another time of the audit. */
void run_audit_at(struct run *r, struct ev *ev, const char *mode, const char *only, unsigned slow, int64_t now);
void run_free(struct run *r);
enum mode mode_named(const char *name);
/* hosts.json of a fixture directory. */
json_t *load_hosts(const char *dir);

#endif
