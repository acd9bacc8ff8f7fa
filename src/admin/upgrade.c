/* SPDX-License-Identifier: Apache-2.0 */
/* upgrade: asks for it, then waits until the new program answers. */
#include "admin/admin.h"
#include <inttypes.h>
#include <stdio.h>

#define PATIENCE_MS 30000u /* a broker that has a large state.db to bring up to date */
#define TRIES 5		   /* the broker that leaves may take a connection or two with it */

struct running {
	char version[32];
	int64_t upgrades; /* so many programs it was before */
};

static struct vgpu_err *ask(const struct admin *a, const char *cmd, json_t **data, int *status)
{
	json_t *query = json_pack("{s:s}", "cmd", cmd);
	struct link l;
	struct vgpu_err *e = link_open(&l, a->run_dir, 0, status);

	if (!e) {
		link_patience(&l, PATIENCE_MS);
		e = link_ask(&l, query, data, status);
	}
	link_close(&l);
	json_decref(query);
	return e;
}

static struct vgpu_err *look(const struct admin *a, struct running *r, int *status)
{
	json_t *data = NULL;
	struct vgpu_err *e = ask(a, "status", &data, status);

	if (!e) {
		const char *version = json_string_value(json_object_get(data, "version"));

		snprintf(r->version, sizeof(r->version), "%s", version ? version : "?");
		r->upgrades = json_integer_value(json_object_get(data, "upgrades"));
	}
	json_decref(data);
	return e;
}

static struct vgpu_err *upgrade(const struct admin *a, struct running *before, struct running *after, int *status)
{
	json_t *nothing = NULL;
	struct vgpu_err *e = look(a, before, status);

	if (!e)
		e = ask(a, "upgrade", &nothing, status);
	json_decref(nothing);
	if (e)
		return e;
	for (int i = 0; i < TRIES; i++) {
		free(e);
		e = look(a, after, status);
		if (!e)
			break;
	}
	if (!e && after->upgrades == before->upgrades) {
		*status = EXIT_REFUSED;
		e = err_new("the new program could not take over, vgpud %s goes on: see its log", after->version);
	}
	return e;
}

int upgrade_run(struct admin *a)
{
	struct running before, after;
	int status;
	struct vgpu_err *e = upgrade(a, &before, &after, &status);

	if (e)
		return fail(a, e, status);
	if (a->json)
		printf("{\"version\": \"%s\", \"before\": \"%s\"}\n", after.version, before.version);
	else
		printf("vgpud %s has taken over from %s\n", after.version, before.version);
	return fflush(stdout) ? EXIT_REFUSED : EXIT_DONE;
}
