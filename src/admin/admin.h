/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-admin: one table of commands. Arguments, help, completion and what is sent to vgpud follow from it.
 */
#ifndef VGPU_ADMIN_H
#define VGPU_ADMIN_H
#include <jansson.h>
#include <stdbool.h>
#include "admin/link.h"
#include "admin/views.h"
#include "base/err.h"

/* How the text of an argument or option becomes JSON. */
typedef struct vgpu_err *put_fn(json_t *query, const char *key, const char *text);

struct operand {
	const char *name; /* in help; NULL: none */
	const char *key;
	put_fn *put;
	const char *words; /* what completion offers: "high medium low", "@vms", "@pools"; NULL: nothing */
};

struct option {
	const char *name, *argument, *key, *help;
	put_fn *put;
	const char *words;
};

struct admin;

struct command {
	const char *name, *help;
	const char *send; /* vgpud's command; NULL: no question of its own */
	struct operand operand[2];
	const struct option *options; /* end with name NULL; NULL: none */
	const struct view_column *view; /* NULL: JSON only, or nothing to show */
	const char *confirm; /* asked on a terminal unless --yes; NULL: harmless */
	int (*run)(struct admin *a); /* NULL: ask, show */
	bool optional; /* its operands may be left out */
};

struct admin {
	const char *run_dir;
	const struct command *command;
	bool json, yes;
	json_t *query;
};

extern const struct command commands[]; /* ends with name NULL */
extern const struct option settings[];
const struct command *command_named(const char *name); /* NULL: there is none */

/* show.c */
int ask_and_show(struct admin *a);
/* Says it, with --json on standard output too; frees it. */
int fail(const struct admin *a, struct vgpu_err *e, int status);

/* help.c */
void command_help(const struct command *c);

/* top.c, events.c, gpus.c, libvirt.c, complete.c, upgrade.c */
int top_run(struct admin *a);
int events_run(struct admin *a);
int health_run(struct admin *a);
int scan_vms_run(struct admin *a);
int scan_gpus_run(struct admin *a);
int assign_gpu_run(struct admin *a);
int completion_run(struct admin *a);
int upgrade_run(struct admin *a);
int help_run(struct admin *a);
#endif
