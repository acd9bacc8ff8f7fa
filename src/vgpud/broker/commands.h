/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of control.sock have in common: commands.c (VMs, looking), commands_device.c (pools, devices). */
#ifndef VGPUD_COMMANDS_H
#define VGPUD_COMMANDS_H
#include "vgpud/broker/broker.h"

#define COMMAND_TEXT_MAX 400

struct call {
	struct broker *broker;
	const struct asker *who;
	const char *name; /* of the command */
	json_t *query;
	enum command_wait *wait;
};

struct command {
	const char *name; /* NULL: end */
	bool admin;
	struct vgpu_err *(*run)(const struct call *c, json_t **data);
};

extern const struct command device_commands[];

/* e, or NULL: what was asked could never be granted, however things are, and the asker is told so. */
static inline struct vgpu_err *malformed(const struct call *c, struct vgpu_err *e)
{
	if (e)
		*c->wait = WAIT_MALFORMED;
	return e;
}

struct vgpu_err *need_vm(const struct call *c, struct vm **vm);
/* The pool that `key` names; without it, the default. */
struct vgpu_err *get_pool(const struct call *c, const char *key, struct pool **p);
/* Stores what changed, with who did it, and tells those who listen. */
struct vgpu_err *command_record(const struct call *c, struct change change);
/* 1 to 48 of A-Z a-z 0-9 . _ - */
struct vgpu_err *check_name(const char *s);
#endif
