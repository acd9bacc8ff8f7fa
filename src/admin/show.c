/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that ask once and show the answer. */
#include "admin/admin.h"
#include "base/log.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int fail(struct vgpu_err *e, int status)
{
	log_error("%s", e->text);
	free(e);
	return status;
}

/* On a terminal; a script is not asked. */
static bool confirmed(const struct admin *a)
{
	char answer[16] = "";

	if (!a->command->confirm || a->yes || !isatty(STDIN_FILENO))
		return true;
	fprintf(stderr, "%s %s: %s Type yes to go on: ", a->command->name,
		json_string_value(json_object_get(a->query, "name")), a->command->confirm);
	return fgets(answer, sizeof(answer), stdin) && !strcmp(answer, "yes\n");
}

static struct vgpu_err *ask_once(struct admin *a, json_t **data, int *status)
{
	struct link l;
	struct vgpu_err *e = link_open(&l, a->run_dir, status);

	if (!e)
		e = link_ask(&l, a->query, data, status);
	link_close(&l);
	return e;
}

static enum view_form form_of(const struct admin *a)
{
	bool metrics = json_is_true(json_object_get(a->query, "prometheus"));

	return metrics ? VIEW_AS_METRICS : a->json || !a->command->view ? VIEW_AS_JSON : VIEW_AS_TEXT;
}

int ask_and_show(struct admin *a)
{
	enum view_form form = form_of(a);
	json_t *data = NULL;
	struct vgpu_err *e;
	int status;

	if (!confirmed(a)) {
		fputs("nothing was changed\n", stderr);
		return EXIT_REFUSED;
	}
	json_object_del(a->query, "prometheus");
	e = ask_once(a, &data, &status);
	if (e)
		return fail(e, status);
	if (json_is_object(data) ? json_object_size(data) > 0 : data != NULL)
		view_print(stdout, data, a->command->view, form);
	json_decref(data);
	return fflush(stdout) ? EXIT_REFUSED : EXIT_DONE;
}

/* Its exit status is an answer too: for timers and scripts. */
int health_run(struct admin *a)
{
	json_t *data = NULL;
	int status, rc;
	struct vgpu_err *e = ask_once(a, &data, &status);

	if (e)
		return fail(e, status);
	view_print(stdout, data, a->command->view, a->json ? VIEW_AS_JSON : VIEW_AS_TEXT);
	rc = json_is_true(json_object_get(data, "healthy")) ? EXIT_DONE : EXIT_UNHEALTHY;
	json_decref(data);
	return fflush(stdout) ? EXIT_REFUSED : rc;
}
