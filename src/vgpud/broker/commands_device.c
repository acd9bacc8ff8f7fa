/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about pools and devices, and where VMs are. Refused ones change nothing. */
#include "vgpud/broker/commands.h"
#include "base/log.h"
#include "base/utf8.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *get(const struct call *c, const char *key)
{
	return json_string_value(json_object_get(c->query, key));
}

/* keys: all there may be but "cmd", NULL at the end. */
static struct vgpu_err *only(const struct call *c, const char *const *keys)
{
	const char *key;
	json_t *v;

	json_object_foreach(c->query, key, v) {
		bool known = !strcmp(key, "cmd");

		for (int i = 0; !known && keys[i]; i++)
			known = !strcmp(key, keys[i]);
		if (!known)
			return malformed(c, err_new("%.32s: %s knows no such argument", key, c->name));
	}
	return NULL;
}

struct vgpu_err *get_pool(const struct call *c, const char *key, struct pool **p)
{
	const char *name = get(c, key);

	*p = pool_by_name(c->broker, name ? name : POOL_DEFAULT);
	if (!name && json_object_get(c->query, key))
		return malformed(c, err_new("%s: not a name", key));
	return *p ? NULL : err_new("pool \"%.64s\" does not exist: vgpu-admin create-pool", name);
}

static struct vgpu_err *need_pool(const struct call *c, struct pool **p)
{
	return get(c, "name") ? get_pool(c, "name", p) : malformed(c, err_new("name: missing"));
}

static struct vgpu_err *need_device(const struct call *c, const char *key, struct device **d)
{
	const char *name = get(c, key);

	*d = name ? device_by_name(c->broker, name) : NULL;
	if (*d && !(*d)->doomed)
		return NULL;
	return name ? err_new("device \"%.64s\" does not exist: vgpu-admin list-devices", name) : malformed(c, err_new("%s: missing", key));
}

static struct vgpu_err *get_policy(const struct call *c, bool *concurrent)
{
	const char *s = get(c, "policy");

	if (!json_object_get(c->query, "policy"))
		return NULL;
	*concurrent = s && !strcmp(s, "concurrent");
	return *concurrent || (s && !strcmp(s, "exclusive")) ? NULL
								   : malformed(c, err_new("policy: must be exclusive or concurrent"));
}

/* ---- pools ---- */

static struct vgpu_err *cmd_list_pools(const struct call *c, json_t **data)
{
	*data = json_array();
	list_for_each(n, &c->broker->pools)
		json_array_append_new(*data, pool_view(list_entry(n, struct pool, node)));
	return NULL;
}

static struct vgpu_err *cmd_show_pool(const struct call *c, json_t **data)
{
	struct pool *p;
	struct vgpu_err *e = need_pool(c, &p);

	if (!e)
		*data = pool_view(p);
	return e;
}

static struct vgpu_err *cmd_create_pool(const struct call *c, json_t **data)
{
	static const char *const keys[] = {"name", "policy", NULL};
	const char *name = get(c, "name");
	bool concurrent = false;
	struct vgpu_err *e = only(c, keys);
	struct pool *p;

	if (!e)
		e = malformed(c, name ? check_name(name) : err_new("name: missing"));
	if (!e)
		e = get_policy(c, &concurrent);
	if (!e && pool_by_name(c->broker, name))
		e = err_new("pool \"%s\" exists already", name);
	if (!e && list_count(&c->broker->pools) >= POOLS_MAX)
		e = err_new("pool: there are %u already", POOLS_MAX);
	if (e)
		return e;
	p = pool_new(c->broker, name);
	if (!p)
		return err_new("out of memory");
	pool_set_policy(p, concurrent);
	e = command_record(c, (struct change){.object = p->name, .text = concurrent ? "concurrent" : "exclusive", .pool = p});
	if (e) {
		pool_free(p);
		return e;
	}
	state_copy(c->broker);
	*data = pool_view(p);
	return NULL;
}

static const struct vm *vm_in(const struct pool *p)
{
	list_for_each(n, &p->broker->vms)
		if (list_entry(n, struct vm, node)->pool == p)
			return list_entry(n, struct vm, node);
	return NULL;
}

/* A VM that is on it, or will be; or still is, although of another pool by now. */
static const struct vm *vm_on(const struct device *d)
{
	list_for_each(n, &d->broker->vms)
		if (vm_counts_on(list_entry(n, struct vm, node), d))
			return list_entry(n, struct vm, node);
	return NULL;
}

static struct vgpu_err *cmd_remove_pool(const struct call *c, json_t **data)
{
	static const char *const keys[] = {"name", NULL};
	struct pool *p;
	struct vgpu_err *e = only(c, keys);

	if (!e)
		e = need_pool(c, &p);
	if (!e && !strcmp(p->name, POOL_DEFAULT))
		e = err_new("pool \"%s\" holds the devices no other pool has: it cannot be removed", p->name);
	if (!e && vm_in(p))
		e = err_new("pool \"%s\": VM \"%s\" belongs to it: vgpu-admin set-pool first", p->name, vm_in(p)->set.name);
	if (!e)
		e = command_record(c, (struct change){.object = p->name, .text = "", .drop_pool = p->name});
	if (e)
		return e;
	list_for_each(n, &c->broker->devices)
		if (list_entry(n, struct device, node)->pool == p)
			device_set_pool(list_entry(n, struct device, node), pool_by_name(c->broker, POOL_DEFAULT));
	pool_free(p);
	state_copy(c->broker);
	*data = json_object();
	return NULL;
}

static struct vgpu_err *cmd_set_policy(const struct call *c, json_t **data)
{
	static const char *const keys[] = {"name", "policy", NULL};
	struct pool *p;
	bool policy, old;
	struct vgpu_err *e = only(c, keys);

	if (!e)
		e = need_pool(c, &p);
	if (!e && !json_object_get(c->query, "policy"))
		e = malformed(c, err_new("policy: missing"));
	if (!e)
		e = get_policy(c, &policy);
	if (e)
		return e;
	old = p->concurrent;
	p->concurrent = policy;
	e = command_record(c, (struct change){.object = p->name, .text = policy ? "concurrent" : "exclusive", .pool = p});
	if (e) {
		p->concurrent = old;
		return e;
	}
	pool_set_policy(p, policy);
	state_copy(c->broker);
	*data = pool_view(p);
	return NULL;
}

/* Nobody's device changes its pool under him. */
static struct vgpu_err *claim(const struct call *c, struct device *d, struct pool *p, json_t **data)
{
	struct pool *old = d->pool;
	char text[COMMAND_TEXT_MAX];
	struct vgpu_err *e = NULL;

	if (d->wanted) /* what is stored of one that is being assigned would outlive a probe that says no */
		return err_new("device \"%s\" is being looked at: try again", d->name);
	if (vm_on(d))
		return err_new("device \"%s\": VM \"%s\" is on it: vgpu-admin move-vm or set-pool first%s", d->name,
			       vm_on(d)->set.name, vm_on(d)->next ? ", then let it connect anew" : "");
	snprintf(text, sizeof(text), "device %s: pool %s -> %s", d->name, old->name, p->name);
	d->pool = p;
	e = command_record(c, (struct change){.object = p->name, .text = text, .device = d});
	d->pool = old;
	if (e)
		return e;
	device_set_pool(d, p);
	state_copy(c->broker);
	*data = pool_view(p);
	return NULL;
}

static struct vgpu_err *need_pool_and_device(const struct call *c, struct pool **p, struct device **d)
{
	static const char *const keys[] = {"name", "device", NULL};
	struct vgpu_err *e = only(c, keys);

	if (!e)
		e = need_pool(c, p);
	return e ? e : need_device(c, "device", d);
}

static struct vgpu_err *cmd_add_to_pool(const struct call *c, json_t **data)
{
	struct device *d;
	struct pool *p;
	struct vgpu_err *e = need_pool_and_device(c, &p, &d);

	if (!e && d->pool == p)
		e = err_new("device \"%s\" is in pool \"%s\" already", d->name, p->name);
	if (!e && strcmp(d->pool->name, POOL_DEFAULT) && strcmp(p->name, POOL_DEFAULT))
		e = err_new("device \"%s\" is claimed by pool \"%s\": vgpu-admin remove-from-pool first", d->name, d->pool->name);
	return e ? e : claim(c, d, p, data);
}

static struct vgpu_err *cmd_remove_from_pool(const struct call *c, json_t **data)
{
	struct device *d;
	struct pool *p;
	struct vgpu_err *e = need_pool_and_device(c, &p, &d);

	if (!e && d->pool != p)
		e = err_new("device \"%s\" is not in pool \"%s\"", d->name, p->name);
	if (!e && !strcmp(p->name, POOL_DEFAULT))
		e = err_new("device \"%s\": pool \"%s\" holds what no other pool has: vgpu-admin add-to-pool", d->name, p->name);
	return e ? e : claim(c, d, pool_by_name(c->broker, POOL_DEFAULT), data);
}

/* ---- where a VM is ---- */

static struct vgpu_err *relocate(const struct call *c, struct vm *vm, struct pool *p, struct device *d, const char *why, json_t **data)
{
	struct pool *old_pool = vm->pool;
	struct device *old = vm->next ? vm->next : vm->device;
	char old_why[PLACE_WHY_LEN], text[COMMAND_TEXT_MAX];
	struct vgpu_err *e;

	strcpy(old_why, vm->why);
	vm_go(vm, p, d, why);
	snprintf(text, sizeof(text), "%s %s -> %s %s%s", old_pool->name, old->name, p->name, d->name,
		 vm->next ? ", at its next connection" : "");
	e = command_record(c, (struct change){.object = vm->set.name, .text = text, .vm = vm});
	if (e) {
		vm_go(vm, old_pool, old, old_why);
		return e;
	}
	log_info("VM %s: %s", vm->set.name, text);
	state_copy(c->broker);
	*data = vm_view(vm, true);
	return NULL;
}

static struct vgpu_err *cmd_set_pool(const struct call *c, json_t **data)
{
	static const char *const keys[] = {"name", "pool", NULL};
	char why[PLACE_WHY_LEN];
	struct device *d;
	struct pool *p;
	struct vm *vm;
	struct vgpu_err *e = only(c, keys);

	if (!e)
		e = need_vm(c, &vm);
	if (!e)
		e = get(c, "pool") ? get_pool(c, "pool", &p) : malformed(c, err_new("pool: missing"));
	if (!e && vm->pool == p)
		e = err_new("VM \"%s\" is in pool \"%s\" already", vm->set.name, p->name);
	if (!e)
		e = vm_choose(p, vm, &vm->set, &d, why);
	if (!e)
		e = vm_check(d, vm, &vm->set);
	return e ? e : relocate(c, vm, p, d, why, data);
}

static struct vgpu_err *cmd_move_vm(const struct call *c, json_t **data)
{
	static const char *const keys[] = {"name", "device", NULL};
	char why[PLACE_WHY_LEN];
	struct device *d;
	struct vm *vm;
	struct vgpu_err *e = only(c, keys);

	if (!e)
		e = need_vm(c, &vm);
	if (!e)
		e = need_device(c, "device", &d);
	if (!e && d->pool != vm->pool)
		e = err_new("device \"%s\" is in pool \"%s\", VM \"%s\" in \"%s\": vgpu-admin set-pool", d->name, d->pool->name,
			    vm->set.name, vm->pool->name);
	if (!e && !device_serves(d))
		e = err_new("device \"%s\" is out of service: %s", d->name, d->reason);
	if (!e)
		e = vm_check(d, vm, &vm->set);
	if (e)
		return e;
	snprintf(why, sizeof(why), "chosen by uid %u", c->who->uid);
	return relocate(c, vm, vm->pool, d, why, data);
}

/* ---- devices ---- */

static struct vgpu_err *cmd_list_devices(const struct call *c, json_t **data)
{
	devices_step(c->broker, now_ns()); /* charge up to now */
	*data = json_array();
	list_for_each(n, &c->broker->devices)
		if (!list_entry(n, struct device, node)->doomed)
			json_array_append_new(*data, device_view(list_entry(n, struct device, node)));
	return NULL;
}

static struct vgpu_err *cmd_show_device(const struct call *c, json_t **data)
{
	struct device *d;
	struct vgpu_err *e = need_device(c, "name", &d);

	if (!e)
		*data = device_view(d);
	return e;
}

static struct vgpu_err *cmd_drain(const struct call *c, json_t **data)
{
	static const char *const keys[] = {"name", "reason", "end", NULL};
	const char *reason = get(c, "reason");
	char text[COMMAND_TEXT_MAX], old[DEVICE_REASON_LEN];
	struct device *d;
	enum device_state was;
	struct vgpu_err *e = only(c, keys);

	if (!e)
		e = need_device(c, "name", &d);
	if (!e && reason && strlen(reason) >= sizeof(d->reason))
		e = malformed(c, err_new("reason: longer than %zu bytes", sizeof(d->reason) - 1));
	if (!e && (d->state != DEVICE_UP || d->absent))
		e = err_new("device \"%s\" is %s already: %s", d->name, device_state_name(d), d->reason);
	if (!e && d->wanted)
		e = err_new("device \"%s\" is being looked at: try again", d->name);
	if (e)
		return e;
	was = d->state;
	strcpy(old, d->reason);
	d->state = DEVICE_DRAINED;
	snprintf(d->reason, sizeof(d->reason), "%s", reason ? reason : "drained by an administrator");
	snprintf(text, sizeof(text), "%.200s", d->reason);
	utf8_whole(text);
	e = command_record(c, (struct change){.object = d->name, .text = text, .device = d, .stops = true});
	if (e) {
		d->state = was;
		strcpy(d->reason, old);
		return e;
	}
	log_warning("device %s is drained: %s", d->name, d->reason);
	if (json_is_true(json_object_get(c->query, "end")))
		device_end_all(d);
	state_copy(c->broker);
	*data = device_view(d);
	return NULL;
}

/* Somebody who sees more than we do (NVML: an Xid, an ECC error) doubts it. At most one check in so long: health.c. */
static struct vgpu_err *cmd_check(const struct call *c, json_t **data)
{
	static const char *const keys[] = {"name", "reason", NULL};
	const char *reason = get(c, "reason");
	struct device *d;
	struct vgpu_err *e = only(c, keys);
	char why[COMMAND_TEXT_MAX];

	if (!e)
		e = need_device(c, "name", &d);
	if (!e && !device_serves(d))
		e = err_new("device \"%s\" is %s: undrain-device checks it", d->name, device_state_name(d));
	if (e)
		return e;
	snprintf(why, sizeof(why), "%.120s", reason ? reason : "an administrator doubts it");
	utf8_whole(why);
	device_suspect(d, why);
	*data = device_view(d);
	return NULL;
}

/* A probe decides; device_decided() goes on. */
static struct vgpu_err *ask_probe(const struct call *c, struct device *d, enum device_wanted wanted)
{
	if (d->probe || d->wanted)
		return err_new("device \"%s\" is being looked at: try again", d->name);
	if (device_probe(d, IPC_CHECK))
		return err_new("out of memory");
	d->wanted = wanted;
	d->wanted_by = *c->who;
	c->broker->waited_device = d;
	*c->wait = WAIT_DEVICE;
	return NULL;
}

static struct vgpu_err *cmd_undrain(const struct call *c, json_t **data)
{
	static const char *const keys[] = {"name", NULL};
	struct device *d;
	struct vgpu_err *e = only(c, keys);

	if (!e)
		e = need_device(c, "name", &d);
	if (!e && d->absent)
		e = err_new("device \"%s\": %s", d->name, d->reason);
	if (!e && d->state == DEVICE_UP)
		e = err_new("device \"%s\" is in service", d->name);
	return e ? e : ask_probe(c, d, DEVICE_WANT_BACK);
}

static struct vgpu_err *free_name(const struct broker *b, const char *wish, char out[IPC_NAME_LEN])
{
	for (unsigned i = 0; i < DEVICES_MAX && !wish; i++) {
		snprintf(out, IPC_NAME_LEN, "gpu%u", i);
		if (!device_by_name(b, out))
			return NULL;
	}
	snprintf(out, IPC_NAME_LEN, "%s", wish ? wish : "");
	if (device_by_name(b, out))
		return err_new("device \"%s\" exists already", out);
	return check_name(out);
}

/* As NVIDIA writes it: "GPU-" or "MIG-", then 8-4-4-4-12 hex digits. */
static bool is_uuid(const char *s)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t i = 0;

	if (!s || (strncmp(s, "GPU-", 4) && strncmp(s, "MIG-", 4)))
		return false;
	for (s += 4; s[i] && (shape[i] == 'x' ? isxdigit((unsigned char)s[i]) != 0 : s[i] == shape[i]); i++)
		;
	return !s[i] && !shape[i];
}

/* An array of UUIDs, to a text with spaces between them; without it, none. */
static struct vgpu_err *get_peers(const struct call *c, char out[DEVICE_PEERS_LEN])
{
	json_t *list = json_object_get(c->query, "peers"), *one;
	size_t at = 0, i;

	out[0] = 0;
	if (list && (!json_is_array(list) || json_array_size(list) > DEVICE_PEERS_LEN / IPC_UUID_LEN))
		return err_new("peers: not a list of at most %d UUIDs", DEVICE_PEERS_LEN / IPC_UUID_LEN);
	json_array_foreach(list, i, one) {
		if (!is_uuid(json_string_value(one)))
			return err_new("peers: \"%.48s\" is not the UUID of a GPU", json_is_string(one) ? json_string_value(one) : "");
		at += (size_t)snprintf(out + at, DEVICE_PEERS_LEN - at, "%s%s", i ? " " : "", json_string_value(one));
	}
	return NULL;
}

static struct vgpu_err *may_assign(const struct broker *b, const char *uuid)
{
	unsigned n = 0;

	if (!is_uuid(uuid))
		return err_new("uuid: \"%.48s\" is not the UUID of a GPU or MIG instance, as vgpu-admin scan-gpus shows it", uuid ? uuid : "");
	if (!b->cfg.gpu_library[0])
		return err_new("uuid: there is no gpu-driver: NVIDIA's is not installed, or vgpud.conf chose one driver for all");
	list_for_each(it, &b->devices) {
		n++;
		if (!strcmp(list_entry(it, struct device, node)->id.uuid, uuid))
			return err_new("uuid: %s is assigned already: it is device \"%s\"", uuid,
				       list_entry(it, struct device, node)->name);
	}
	return n < DEVICES_MAX ? NULL : err_new("there are %u devices already", n);
}

static struct vgpu_err *cmd_assign(const struct call *c, json_t **data)
{
	static const char *const keys[] = {"uuid", "name", "pool", "pci", "numa_node", "peers", NULL};
	const char *uuid = get(c, "uuid"), *pci = get(c, "pci");
	json_t *node = json_object_get(c->query, "numa_node");
	struct ipc_device id = {0};
	char name[IPC_NAME_LEN], peers[DEVICE_PEERS_LEN];
	struct device *d = NULL;
	struct pool *p = NULL;
	struct vgpu_err *e = only(c, keys);

	if (!e)
		e = may_assign(c->broker, uuid);
	if (!e)
		e = get_pool(c, "pool", &p);
	if (!e)
		e = free_name(c->broker, get(c, "name"), name);
	if (!e)
		e = malformed(c, get_peers(c, peers));
	if (!e && pci && (strlen(pci) >= sizeof(d->pci) || pci[strspn(pci, "0123456789abcdefABCDEF:.")]))
		e = malformed(c, err_new("pci: \"%.48s\" is not the address of a PCI function", pci));
	if (e)
		return e;
	strcpy(id.uuid, uuid);
	d = device_new(c->broker, name, &id);
	if (!d)
		return err_new("out of memory");
	d->state = DEVICE_DRAINED;
	snprintf(d->reason, sizeof(d->reason), "being assigned");
	snprintf(d->pci, sizeof(d->pci), "%s", pci ? pci : "");
	strcpy(d->peers, peers);
	if (json_is_integer(node) && json_integer_value(node) >= 0 && json_integer_value(node) < UINT32_MAX)
		d->numa_node = (uint32_t)json_integer_value(node);
	device_set_pool(d, p);
	e = ask_probe(c, d, DEVICE_WANT_ASSIGNED);
	if (e)
		d->doomed = true;
	devices_reap(c->broker);
	return e;
}

static struct vgpu_err *cmd_unassign(const struct call *c, json_t **data)
{
	static const char *const keys[] = {"name", NULL};
	struct device *d;
	struct vgpu_err *e = only(c, keys);

	if (!e)
		e = need_device(c, "name", &d);
	if (!e && !d->id.uuid[0])
		e = err_new("device \"%s\" is vgpud.conf's, not assigned", d->name);
	if (!e && vm_on(d))
		e = err_new("device \"%s\": VM \"%s\" is on it: vgpu-admin move-vm or set-pool first", d->name, vm_on(d)->set.name);
	if (!e && d->wanted)
		e = err_new("device \"%s\" is being looked at: try again", d->name);
	if (!e)
		e = command_record(c, (struct change){.object = d->name, .text = d->id.uuid, .drop_device = d->name});
	if (e)
		return e;
	d->doomed = true;
	device_end_all(d);
	devices_reap(c->broker);
	state_copy(c->broker);
	*data = json_object();
	return NULL;
}

struct vgpu_err *device_decided(struct device *d, const char *error)
{
	static const char *const names[] = {[DEVICE_WANT_BACK] = "undrain-device", [DEVICE_WANT_ASSIGNED] = "assign-gpu"};
	enum device_wanted wanted = d->wanted;
	struct call c = {.broker = d->broker, .who = &d->wanted_by, .name = names[wanted]};
	enum device_state was = d->state;
	struct vgpu_err *e;

	d->wanted = DEVICE_WANT_NOTHING;
	if (error) {
		d->doomed = wanted == DEVICE_WANT_ASSIGNED;
		return err_new("device \"%s\" is not fit for use: %s", wanted == DEVICE_WANT_ASSIGNED ? d->id.uuid : d->name, error);
	}
	d->state = DEVICE_UP;
	e = command_record(&c, (struct change){.object = d->name, .text = d->id.uuid, .device = d});
	if (e) {
		d->state = was;
		d->doomed = wanted == DEVICE_WANT_ASSIGNED;
		state_copy(d->broker);
		return e;
	}
	d->reason[0] = 0;
	log_info("device %s is in service", d->name);
	state_copy(d->broker);
	return NULL;
}

const struct command device_commands[] = {
	{"list-pools", false, cmd_list_pools},	     {"show-pool", false, cmd_show_pool},
	{"create-pool", true, cmd_create_pool},	     {"remove-pool", true, cmd_remove_pool},
	{"set-policy", true, cmd_set_policy},	     {"add-to-pool", true, cmd_add_to_pool},
	{"remove-from-pool", true, cmd_remove_from_pool}, {"set-pool", true, cmd_set_pool},
	{"move-vm", true, cmd_move_vm},		     {"list-devices", false, cmd_list_devices},
	{"drain-device", true, cmd_drain},	     {"undrain-device", true, cmd_undrain},
	{"check-device", true, cmd_check},
	{"assign-gpu", true, cmd_assign},	     {"unassign-gpu", true, cmd_unassign},
	{"show-device", false, cmd_show_device},     {NULL},
};
