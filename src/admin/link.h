/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to vgpud's control.sock: a JSON line out, a JSON line in. */
#ifndef VGPU_ADMIN_LINK_H
#define VGPU_ADMIN_LINK_H
#include <jansson.h>
#include <stdbool.h>
#include "base/buf.h"
#include "base/err.h"

enum {
	EXIT_DONE,
	EXIT_REFUSED,	  /* vgpud said no; nothing was changed */
	EXIT_USAGE,
	EXIT_UNREACHABLE, /* vgpud does not run, or not there */
	EXIT_DENIED,	  /* this user may not */
	EXIT_UNHEALTHY,	  /* show-health: something is wrong */
};

struct link {
	char path[108];
	int fd;
	struct buf in;
	bool malformed; /* vgpud refused the last question as none that could ever be granted */
};

/* patience_ms: whoever takes longer to let us in, or for one answer, does neither; 0: the wait has no end. */
struct vgpu_err *link_open(struct link *l, const char *run_dir, unsigned patience_ms, int *status);
/* From now on; 0: no end. */
void link_patience(struct link *l, unsigned ms);
/* *data: the answer's; an error with *status otherwise. */
struct vgpu_err *link_ask(struct link *l, json_t *query, json_t **data, int *status);
/* By another thread: whoever waits for an answer gets none. */
void link_hang_up(struct link *l);
void link_close(struct link *l);
#endif
