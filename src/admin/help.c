/* SPDX-License-Identifier: Apache-2.0 */
/* Help, of all commands or of one: out of the table of commands. */
#include "admin/admin.h"
#include <stdio.h>
#include <string.h>

static void print_options(const struct option *o)
{
	for (; o && o->name; o++) {
		char usage[64];

		snprintf(usage, sizeof(usage), "%s%s%s", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
		printf("  %-30s %s\n", usage, o->help);
	}
}

static void usage_of(const struct command *c, char *out, size_t size)
{
	const char *open = c->optional ? " [" : " ", *close = c->optional ? "]" : "";
	size_t at = (size_t)snprintf(out, size, "%s", c->name);

	for (int i = 0; i < 2 && c->operand[i].name && at < size; i++)
		at += (size_t)snprintf(out + at, size - at, "%s%s%s", open, c->operand[i].name, close);
}

static void all_commands(void)
{
	fputs("usage: vgpu-admin [--run-dir DIR] [--json] COMMAND ...\n", stdout);
	for (const struct command *c = commands; c->name; c++) {
		char usage[64];

		usage_of(c, usage, sizeof(usage));
		printf("  %-30s %s\n", usage, c->help);
	}
	puts("settings of register-vm, set-vm and update-vm:");
	print_options(settings);
	puts("options:\n"
	     "  --json         vgpud's answer as JSON\n"
	     "  --yes          do not ask before something is ended or forgotten\n"
	     "  --run-dir DIR  where vgpud runs (default: $VGPU_RUN_DIR or /run/openvgpu)\n"
	     "  --help         this; after a command: what it takes\n"
	     "  --version\n"
	     "exit status: 0 done, 1 refused, 2 wrong usage, 3 vgpud not reachable, 4 not permitted, 5 unhealthy");
}

void command_help(const struct command *c)
{
	char usage[64];

	usage_of(c, usage, sizeof(usage));
	printf("usage: vgpu-admin %s%s\n%s\n", usage, c->options ? " [OPTION]..." : "", c->help);
	print_options(c->options);
	if (c->confirm)
		printf("  %-30s do not ask, although %s\n", "--yes", c->confirm);
}

int help_run(struct admin *a)
{
	const char *name = json_string_value(json_object_get(a->query, "topic"));
	const struct command *c = name ? command_named(name) : NULL;

	if (name && !c)
		return fail(a, err_new("help: %s: no such command", name), EXIT_USAGE);
	if (c)
		command_help(c);
	else
		all_commands();
	return fflush(stdout) ? EXIT_REFUSED : EXIT_DONE;
}
