/* SPDX-License-Identifier: Apache-2.0 */
#include "tree.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum mode mode_named(const char *name)
{
	for (int i = 0; i < MODES; i++)
		if (!strcmp(name, mode_name[i]))
			return (enum mode)i;
	fprintf(stderr, "no mode %s\n", name);
	exit(1);
}

void run_audit(struct run *r, struct ev *ev, const char *mode, const char *only)
{
	run_audit_at(r, ev, mode, only, HOST_INITRD, time(NULL));
}

void run_audit_at(struct run *r, struct ev *ev, const char *mode, const char *only, unsigned slow, int64_t now)
{
	memset(r, 0, sizeof(*r));
	host_collect(&r->host, ev, slow);
	r->audit.now = now;
	r->audit.ev = ev;
	r->audit.host = &r->host;
	r->audit.mode = mode_named(mode);
	r->audit.mode_reason = "given";
	audit_run(&r->audit, only, NULL);
}

void run_free(struct run *r)
{
	audit_free(&r->audit);
	host_free(&r->host);
}

json_t *load_hosts(const char *dir)
{
	char path[4096];
	json_t *o;

	snprintf(path, sizeof(path), "%s/hosts.json", dir);
	o = json_load_file(path, 0, NULL);
	if (!o) {
		fprintf(stderr, "%s: cannot be read\n", path);
		exit(1);
	}
	return o;
}
