/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin: commands to vgpud over control.sock; see vgpu-admin(8). */
#include "admin/admin.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_RUN_DIR "/run/openvgpu"

/* "--key value" or "--key=value"; false: argv[*i] is not `name`. *value NULL: it has none. The next word may be a negative
 * number, but an option that is taken for the value of another does what nobody asked for. */
static bool option_value(char **argv, int *i, const char *name, const char **value)
{
	size_t n = strlen(name);

	if (strncmp(argv[*i], name, n) || (argv[*i][n] && argv[*i][n] != '='))
		return false;
	if (argv[*i][n])
		*value = argv[*i] + n + 1;
	else
		*value = argv[*i + 1] && strncmp(argv[*i + 1], "--", 2) ? argv[++*i] : NULL;
	return true;
}

static struct vgpu_err *take_option(struct admin *a, char **argv, int *i)
{
	const char *arg = argv[*i];

	for (const struct option *o = a->command ? a->command->options : NULL; o && o->name; o++) {
		cleanup_err struct vgpu_err *e = NULL;
		const char *v = "";

		if (o->argument ? !option_value(argv, i, o->name, &v) : strcmp(arg, o->name) != 0)
			continue;
		if (!v)
			return err_new("%s: its value is missing (%s=%s)", o->name, o->name, o->argument);
		e = o->put(a->query, o->key, v);
		return e ? err_new("%s: %s", o->name, e->text) : NULL;
	}
	return err_new("%s: no such option%s%s", arg, a->command ? " of " : "", a->command ? a->command->name : "");
}

static struct vgpu_err *take_operand(struct admin *a, const char *word)
{
	for (int i = 0; i < 2 && a->command->operand[i].name; i++) {
		const struct operand *o = &a->command->operand[i];
		cleanup_err struct vgpu_err *e = NULL;

		if (json_object_get(a->query, o->key))
			continue;
		e = o->put(a->query, o->key, word);
		return e ? err_new("%s: %s: %s", a->command->name, o->name, e->text) : NULL;
	}
	return err_new("%s: unexpected argument \"%s\"", a->command->name, word);
}

const struct command *command_named(const char *name)
{
	for (const struct command *c = commands; c->name; c++)
		if (!strcmp(name, c->name))
			return c;
	return NULL;
}

static struct vgpu_err *take_word(struct admin *a, const char *word)
{
	if (a->command)
		return take_operand(a, word);
	a->command = command_named(word);
	if (!a->command)
		return err_new("%s: no such command", word);
	if (a->command->send)
		json_object_set_new(a->query, "cmd", json_string(a->command->send));
	return NULL;
}

static bool take_flag(struct admin *a, const char *arg)
{
	bool *flag = !strcmp(arg, "--json") ? &a->json : !strcmp(arg, "--yes") ? &a->yes : NULL;

	if (flag)
		*flag = true;
	return flag != NULL;
}

static struct vgpu_err *check_operands(const struct admin *a)
{
	if (!a->command)
		return err_new("no command given");
	for (int i = 0; i < 2 && a->command->operand[i].name && !a->command->optional; i++)
		if (!json_object_get(a->query, a->command->operand[i].key))
			return err_new("%s: %s is missing", a->command->name, a->command->operand[i].name);
	return NULL;
}

static struct vgpu_err *parse_arguments(char **argv, struct admin *a)
{
	struct vgpu_err *e = NULL;

	for (int i = 1; argv[i]; i++)
		a->json |= !strcmp(argv[i], "--json"); /* an error is said the same way, wherever it stands */
	for (int i = 1; !e && argv[i]; i++) {
		const char *v = NULL;

		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			if (!a->command)
				exit(help_run(a));
			command_help(a->command);
			exit(fflush(stdout) ? EXIT_REFUSED : EXIT_DONE);
		}
		if (!strcmp(argv[i], "--version")) {
			puts("vgpu-admin " VGPU_VERSION_STRING);
			exit(0);
		}
		if (option_value(argv, &i, "--run-dir", &v)) {
			e = v ? NULL : err_new("--run-dir: its value is missing (--run-dir=DIR)");
			a->run_dir = v;
		} else if (!take_flag(a, argv[i]))
			e = argv[i][0] == '-' ? take_option(a, argv, &i) : take_word(a, argv[i]);
	}
	return e ? e : check_operands(a);
}

int main(int argc, char **argv)
{
	struct admin a = {.run_dir = getenv("VGPU_RUN_DIR"), .query = json_object()};
	cleanup_err struct vgpu_err *e = NULL;
	int rc;

	log_init("vgpu-admin", LOG_L_INFO);
	if (!a.run_dir || !*a.run_dir)
		a.run_dir = DEFAULT_RUN_DIR;
	e = parse_arguments(argv, &a);
	if (e)
		rc = fail(&a, err_new("%s (vgpu-admin%s%s --help)", e->text, a.command ? " " : "",
				      a.command ? a.command->name : ""), EXIT_USAGE);
	else
		rc = a.command->run ? a.command->run(&a) : ask_and_show(&a);
	json_decref(a.query);
	return rc;
}
