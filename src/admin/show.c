/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that ask once and show the answer. */
#include "admin/admin.h"
#include "base/log.h"
#include "nvml/child.h"
#include "nvml/json.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NVML_PATIENCE_MS 5000

int fail(const struct admin *a, struct vgpu_err *e, int status)
{
	json_t *o = a->json ? json_pack("{s:s, s:i}", "error", e->text, "status", status) : NULL;

	log_error("%s", e->text);
	if (o)
		view_print(stdout, o, NULL, VIEW_AS_JSON);
	json_decref(o);
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
	struct vgpu_err *e = link_open(&l, a->run_dir, 0, status);

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
	if (form == VIEW_AS_METRICS && a->json)
		return fail(a, err_new("%s: --prometheus or --json, not both", a->command->name), EXIT_USAGE);
	json_object_del(a->query, "prometheus");
	e = ask_once(a, &data, &status);
	if (e)
		return fail(a, e, status);
	if (!data && a->json)
		data = json_object(); /* who asked for JSON gets some */
	if (a->json || (json_is_object(data) ? json_object_size(data) > 0 : data != NULL))
		view_print(stdout, data, form == VIEW_AS_METRICS ? view_metrics : a->command->view, form);
	json_decref(data);
	return fflush(stdout) ? EXIT_REFUSED : EXIT_DONE;
}

/* vgpud computes, and does not know how its GPUs are: NVML does, on the same machine. */
static void add_gpus(json_t *health)
{
	static struct gpu_sample s;
	json_t *problems = json_object_get(health, "problems");
	size_t before = json_array_size(problems);

	gpu_sample_once(&s, NVML_PATIENCE_MS);
	if (s.rc == -ETIMEDOUT)
		json_array_append_new(problems, json_pack("{s:s, s:s}", "what", "GPUs", "text", gpu_error_text(s.rc)));
	gpus_problems(&s, problems);
	json_object_set_new(health, "gpus", gpus_json(&s));
	if (json_array_size(problems) > before)
		json_object_set_new(health, "healthy", json_false());
}

/* Its exit status is an answer too: for timers and scripts. */
int health_run(struct admin *a)
{
	json_t *data = NULL;
	int status, rc;
	struct vgpu_err *e = ask_once(a, &data, &status);

	if (e)
		return fail(a, e, status);
	add_gpus(data);
	view_print(stdout, data, a->command->view, a->json ? VIEW_AS_JSON : VIEW_AS_TEXT);
	rc = json_is_true(json_object_get(data, "healthy")) ? EXIT_DONE : EXIT_UNHEALTHY;
	json_decref(data);
	return fflush(stdout) ? EXIT_REFUSED : rc;
}
