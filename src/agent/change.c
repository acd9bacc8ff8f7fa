/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/agent.h"
#include "admin/link.h"

static const unsigned http_status[] = {
	[EXIT_DONE] = MHD_HTTP_OK,
	[EXIT_REFUSED] = MHD_HTTP_CONFLICT,
	[EXIT_UNREACHABLE] = MHD_HTTP_SERVICE_UNAVAILABLE,
	[EXIT_DENIED] = MHD_HTTP_FORBIDDEN,
};

json_t *change_ask(const struct agent *a, json_t *query, unsigned *status)
{
	json_t *data = NULL;
	struct link l;
	int rc;
	cleanup_err struct vgpu_err *e = link_open(&l, a->run_dir, &rc);

	if (!e) {
		link_patience(&l, AGENT_PATIENCE_MS);
		e = link_ask(&l, query, &data, &rc);
	}
	link_close(&l);
	*status = http_status[rc];
	if (!e)
		source_look_soon();
	return e ? json_pack("{s:s}", "error", e->text) : data ? data : json_object();
}
