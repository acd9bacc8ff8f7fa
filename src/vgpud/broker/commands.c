/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands of control.sock: data on success, else one error and nothing changed. Whoever changes
 * something is recorded with it.
 */
#include "vgpud/broker/commands.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vgpu_err *need_vm(const struct call *c, struct vm **vm)
{
	const char *name = json_string_value(json_object_get(c->query, "name"));

	if (!name)
		return malformed(c, err_new("name: missing"));
	*vm = vm_by_name(c->broker, name);
	return *vm ? NULL : err_new("VM \"%.64s\" is not registered", name);
}

static struct vgpu_err *get_number(json_t *q, const char *key, uint64_t min, uint64_t max, uint64_t *out)
{
	json_t *v = json_object_get(q, key);

	if (!v)
		return NULL;
	if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) < min ||
	    (uint64_t)json_integer_value(v) > max)
		return err_new("%s: not a whole number from %llu to %llu", key, (unsigned long long)min,
			       (unsigned long long)max);
	*out = (uint64_t)json_integer_value(v);
	return NULL;
}

struct vgpu_err *command_record(const struct call *c, struct change change)
{
	struct vgpu_err *e;

	change.who = c->who;
	change.command = c->name;
	e = state_record(c->broker, &change);
	if (!e)
		event_add(c->broker, c->name, change.object, "%s%sby uid %u", change.text, change.text[0] ? ", " : "",
			  c->who->uid);
	return e;
}

/* ---- VMs ---- */

static struct vgpu_err *cmd_register(const struct call *c, json_t **data)
{
	const char *name = json_string_value(json_object_get(c->query, "name"));
	struct vm_settings s, initial;
	struct vm_home home = {0};
	char text[COMMAND_TEXT_MAX];
	struct vgpu_err *e;
	struct vm *vm;

	settings_initial(&initial);
	s = initial;
	e = malformed(c, settings_read(c->query, "pool", &s));
	if (!e)
		e = get_pool(c, "pool", &home.pool);
	if (!e && (!name || strlen(name) >= sizeof(s.name)))
		e = malformed(c, err_new("name: missing or longer than %zu characters", sizeof(s.name) - 1));
	if (!e)
		e = malformed(c, check_name(name));
	if (e)
		return e;
	strcpy(s.name, name);
	e = vm_add(c->broker, &s, &home, &vm);
	if (e)
		return e;
	settings_difference(&initial, &s, text, sizeof(text));
	e = command_record(c, (struct change){.object = s.name, .text = text, .vm = vm});
	if (e) {
		vm_remove(vm);
		return e;
	}
	state_copy(c->broker);
	vm_listen(vm); /* answered by control_listening(), when its socket is there */
	c->broker->waited_for = s.id;
	*c->wait = WAIT_LISTENING;
	return NULL;
}

static struct vgpu_err *cmd_remove(const struct call *c, json_t **data)
{
	struct vm *vm;
	struct vgpu_err *e = need_vm(c, &vm);

	if (!e && vm_connected(vm))
		e = err_new("VM \"%s\" is connected: shut it down or end its programs first", vm->set.name);
	if (!e)
		e = command_record(c, (struct change){.object = vm->set.name, .text = "", .drop = vm->set.id, .forget_faults = true});
	if (e)
		return e;
	log_info("VM %s removed", vm->set.name);
	vm_remove(vm);
	state_copy(c->broker);
	*data = json_object();
	return NULL;
}

static struct vgpu_err *cmd_set(const struct call *c, json_t **data)
{
	struct vm_settings old, s;
	char text[COMMAND_TEXT_MAX];
	struct vm *vm;
	struct vgpu_err *e = need_vm(c, &vm);

	if (e)
		return e;
	s = old = vm->set;
	e = malformed(c, settings_read(c->query, NULL, &s));
	if (!e)
		e = vm_change(vm, &s);
	if (e)
		return e;
	settings_difference(&old, &vm->set, text, sizeof(text));
	if (text[0])
		e = command_record(c, (struct change){.object = vm->set.name, .text = text, .vm = vm});
	if (e) {
		free(vm_change(vm, &old)); /* back to what was possible before */
		return e;
	}
	state_copy(c->broker);
	if (text[0])
		log_info("VM %s: %s", vm->set.name, text);
	*data = vm_view(vm, true);
	return NULL;
}

/* The new number is the next connection's; QEMU's socket keeps its name. */
static struct vgpu_err *cmd_set_id(const struct call *c, json_t **data)
{
	struct broker *b = c->broker;
	uint64_t id = 0;
	char text[COMMAND_TEXT_MAX];
	struct vm *vm;
	uint32_t old;
	struct vgpu_err *e = need_vm(c, &vm);

	if (!e)
		e = malformed(c, get_number(c->query, "id", 1, INT32_MAX, &id));
	if (!e && !id)
		e = malformed(c, err_new("id: missing"));
	if (!e && vm_by_id(b, (uint32_t)id) && vm_by_id(b, (uint32_t)id) != vm)
		e = err_new("id: %llu is VM \"%s\"'s", (unsigned long long)id, vm_by_id(b, (uint32_t)id)->set.name);
	if (!e && vm_connected(vm))
		e = err_new("VM \"%s\" is connected: shut it down or end its programs first", vm->set.name);
	if (e)
		return e;
	old = vm->set.id;
	snprintf(text, sizeof(text), "id %u -> %u", old, (unsigned)id);
	vm->set.id = (uint32_t)id;
	e = command_record(c, (struct change){.object = vm->set.name, .text = text, .vm = vm, .drop = old});
	vm->set.id = old;
	if (e)
		return e;
	vm_unlisten(vm);
	vm->set.id = (uint32_t)id;
	if (b->next_vm <= id)
		b->next_vm = (uint32_t)id + 1;
	state_copy(b);
	vm_listen(vm);
	b->waited_for = vm->set.id;
	*c->wait = WAIT_MOVED;
	return NULL;
}

static struct vgpu_err *cmd_quarantine(const struct call *c, json_t **data)
{
	struct vm *vm;
	struct vgpu_err *e = need_vm(c, &vm);

	if (!e && vm->quarantined)
		e = err_new("VM \"%s\" is quarantined already", vm->set.name);
	if (e)
		return e;
	vm->quarantined = true;
	e = command_record(c, (struct change){.object = vm->set.name, .text = "", .vm = vm, .stops = true});
	if (e) {
		vm->quarantined = false;
		return e;
	}
	log_warning("VM %s: quarantined by uid %u until vgpu-admin clear-quarantine", vm->set.name, c->who->uid);
	vm_quarantine(vm);
	state_copy(c->broker);
	*data = vm_view(vm, true);
	return NULL;
}

static struct vgpu_err *cmd_clear(const struct call *c, json_t **data)
{
	struct vm *vm;
	struct vgpu_err *e = need_vm(c, &vm);
	bool was;

	if (e)
		return e;
	was = vm->quarantined;
	vm->quarantined = false;
	e = command_record(c, (struct change){.object = vm->set.name, .text = "", .vm = vm, .forget_faults = true});
	if (e) {
		vm->quarantined = was;
		return e;
	}
	vm_release(vm);
	state_copy(c->broker);
	*data = vm_view(vm, true);
	return NULL;
}

/* The keeper, which may read the file, reads and checks it. */
static struct vgpu_err *cmd_reload(const struct call *c, json_t **data)
{
	struct vgpu_err *e = command_record(c, (struct change){.object = "", .text = ""});

	if (e)
		return e;
	c->broker->waited_for = keeper_ask(c->broker, KEEPER_RELOAD);
	*c->wait = WAIT_RELOAD;
	return NULL;
}

/* What cannot be recorded, on a full disk say, is no reason to refuse the version that may help. */
static struct vgpu_err *cmd_upgrade(const struct call *c, json_t **data)
{
	free(command_record(c, (struct change){.object = "", .text = ""}));
	log_info("upgrade asked for by uid %u", c->who->uid);
	c->broker->waited_for = keeper_ask(c->broker, KEEPER_UPGRADE);
	*c->wait = WAIT_UPGRADE;
	return NULL;
}

/* ---- looking ---- */

static struct vgpu_err *cmd_list(const struct call *c, json_t **data)
{
	const char *priority = json_string_value(json_object_get(c->query, "priority"));
	bool of_pool = json_object_get(c->query, "pool");
	struct pool *p = NULL;
	struct vgpu_err *e = of_pool ? get_pool(c, "pool", &p) : NULL;

	if (!e && json_object_get(c->query, "priority") && (!priority || !priority_value(priority)))
		e = err_new("priority: must be high, medium or low");
	if (e)
		return e;
	*data = json_array();
	list_for_each(n, &c->broker->vms) {
		struct vm *vm = list_entry(n, struct vm, node);

		if ((!of_pool || vm->pool == p) && (!priority || vm->set.priority == priority_value(priority)))
			json_array_append_new(*data, vm_view(vm, false));
	}
	return NULL;
}

static struct vgpu_err *cmd_show(const struct call *c, json_t **data)
{
	struct vm *vm;
	struct vgpu_err *e = need_vm(c, &vm);

	if (!e)
		*data = vm_view(vm, true);
	return e;
}

static struct vgpu_err *cmd_status(const struct call *c, json_t **data)
{
	*data = status_view(c->broker);
	scheduler_view(*data, c->broker);
	times_add_waits(*data, c->broker);
	return NULL;
}

static struct vgpu_err *cmd_histograms(const struct call *c, json_t **data)
{
	*data = times_view(c->broker);
	return NULL;
}

static struct vgpu_err *cmd_health(const struct call *c, json_t **data)
{
	*data = health_view(c->broker);
	return NULL;
}

static struct vgpu_err *cmd_connections(const struct call *c, json_t **data)
{
	*data = connections_view(c->broker);
	return NULL;
}

static struct vgpu_err *cmd_timeline(const struct call *c, json_t **data)
{
	uint64_t from = 0;
	struct vgpu_err *e = malformed(c, get_number(c->query, "since_bucket", 0, INT64_MAX, &from));

	if (!e)
		*data = timeline_view(c->broker, from);
	return e;
}

static struct vgpu_err *cmd_events(const struct call *c, json_t **data)
{
	uint64_t since = 0;
	struct vgpu_err *e = malformed(c, get_number(c->query, "since", 0, INT64_MAX, &since));

	if (e)
		return e;
	if (json_is_true(json_object_get(c->query, "wait")) && since >= c->broker->events.last)
		*c->wait = WAIT_EVENT;
	else
		*data = events_after(&c->broker->events, since);
	return NULL;
}

/* Newest last, as a log is read. */
static struct vgpu_err *rows(const struct call *c, const char *sql, const char *const *keys, json_t **data)
{
	const char *name = json_string_value(json_object_get(c->query, "name"));

	return state_rows(c->broker, sql, keys, name, data);
}

static struct vgpu_err *cmd_audit(const struct call *c, json_t **data)
{
	static const char *const keys[] = {"number", "at_ms", "uid", "pid", "command", "object", "change", NULL};

	return rows(c, "SELECT * FROM (SELECT number, at_ms, uid, pid, command, object, change FROM audit"
		       " WHERE ?1 IS NULL OR object = ?1 ORDER BY number DESC LIMIT 1000) ORDER BY number", keys, data);
}

/* Whoever reaches the socket may ask, so an answer is cheap. */
static struct vgpu_err *cmd_faults(const struct call *c, json_t **data)
{
	static const char *const keys[] = {"number", "at_ms", "vm", "kind", NULL};

	return rows(c, "SELECT * FROM (SELECT number, at_ms, vm, kind FROM faults"
		       " WHERE ?1 IS NULL OR vm = ?1 ORDER BY number DESC LIMIT 100) ORDER BY number", keys, data);
}

static const struct command commands[] = {
	{"register-vm", true, cmd_register},	   {"remove-vm", true, cmd_remove},
	{"set-vm", true, cmd_set},		   {"set-vm-id", true, cmd_set_id},
	{"quarantine-vm", true, cmd_quarantine},   {"clear-quarantine", true, cmd_clear},
	{"list-vms", false, cmd_list},		   {"show-vm", false, cmd_show},
	{"status", false, cmd_status},		   {"health", false, cmd_health},
	{"connections", false, cmd_connections},   {"timeline", false, cmd_timeline},
	{"events", false, cmd_events},		   {"audit", true, cmd_audit},
	{"histograms", false, cmd_histograms},	   {"faults", false, cmd_faults},
	{"reload-config", true, cmd_reload},	   {"upgrade", true, cmd_upgrade},
	{NULL},
};

static const struct command *find(const struct command *k, const char *name)
{
	while (k->name && strcmp(k->name, name))
		k++;
	return k->name ? k : NULL;
}

struct vgpu_err *command_run(struct broker *b, const struct asker *who, json_t *q, json_t **data, enum command_wait *wait)
{
	const char *cmd = json_string_value(json_object_get(q, "cmd"));
	const struct command *k = cmd ? find(commands, cmd) : NULL;
	struct vgpu_err *e;

	if (cmd && !k)
		k = find(device_commands, cmd);
	*wait = k ? WAIT_NOT : WAIT_MALFORMED;
	if (!k)
		return err_new("cmd: \"%.32s\" is unknown", cmd ? cmd : "");
	if (k->admin && !who->admin) {
		*wait = WAIT_DENIED;
		return err_new("%s: only root or vgpud's own user may do this", cmd);
	}
	if (k->admin)
		state_retry(b);
	e = k->run(&(struct call){b, who, cmd, q, wait}, data);
	if (e && b->state_trouble[0])
		state_copy(b); /* the copy may be of what has just been taken back */
	return e;
}
