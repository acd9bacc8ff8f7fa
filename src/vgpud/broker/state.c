/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What survives: state.db (db.h) holds VMs with their limits, pools, devices, faults and who changed what. The keeper
 * holds a copy of all but the last two (copy.h).
 *
 * While state.db cannot be read or written, sharing goes on from memory: changes by hand are refused, what happens by
 * itself (a quarantine, a VM that moves) is kept in memory and in the copy. It is tried again, seldom, and whenever a
 * change is asked for; what is in force is then stored whole. A damaged file is put aside under another name, never
 * written to. Only a vgpud that starts fresh, which has nothing in memory, refuses to.
 */
#include "vgpud/broker/db.h"
#include "vgpud/broker/copy.h"
#include "base/log.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ROWS_KEPT "10000" /* of faults and of audit */
/* From one try to the next, doubled up to the second: storing all of VMS_MAX VMs takes tens of ms. */
#define AGAIN_NS PERIOD_NS
#define AGAIN_MAX_NS (32 * PERIOD_NS)

/* ---- reading ---- */

/* The file is checked as a command is: a damaged row must end in an error, which is not the broker's end. */
static struct vgpu_err *bad_row(struct broker *b, const char *what, int64_t value)
{
	b->db_fault = DB_DAMAGED;
	return err_new("state-dir %s: state.db: damaged: %s: %lld is out of range or missing", b->cfg.state_dir, what,
		       (long long)value);
}

struct device_row {
	const char *name, *pool, *uuid, *pci, *peers, *reason;
	int64_t numa_node, state;
};

static struct vgpu_err *add_pool(struct broker *b, const char *name, bool concurrent)
{
	struct pool *p = pool_by_name(b, name);

	if (!p && strlen(name) < sizeof(p->name))
		p = pool_new(b, name);
	if (!p)
		return bad_row(b, "a pool's name", 0);
	pool_set_policy(p, concurrent);
	return NULL;
}

/* What was said about it, whether or not the configuration names it still. */
static struct vgpu_err *add_device(struct broker *b, const struct device_row *r)
{
	struct device *d = device_by_name(b, r->name);
	struct pool *p = pool_by_name(b, r->pool);
	struct ipc_device id = {0};

	if (!p || r->state < 0 || r->state > DEVICE_LOST || strlen(r->uuid) >= sizeof(id.uuid) || strlen(r->name) >= sizeof(d->name))
		return bad_row(b, "a device's pool, state or name", r->state);
	strcpy(id.uuid, r->uuid);
	if (!d)
		d = id.uuid[0] ? device_new(b, r->name, &id) : device_absent(b, r->name);
	if (!d)
		return err_new("out of memory");
	device_set_pool(d, p);
	if (d->absent)
		return NULL;
	d->state = (enum device_state)r->state;
	d->numa_node = (uint32_t)r->numa_node;
	snprintf(d->pci, sizeof(d->pci), "%s", r->pci);
	snprintf(d->peers, sizeof(d->peers), "%s", r->peers);
	snprintf(d->reason, sizeof(d->reason), "%s", r->reason);
	return NULL;
}

/* "": the first of the pool, where older versions had the only one. */
static struct device *device_of(struct broker *b, const struct pool *p, const char *name)
{
	struct device *d = device_by_name(b, name);

	if (d)
		return d;
	list_for_each(n, &b->devices)
		if (!name[0] && list_entry(n, struct device, node)->pool == p)
			return list_entry(n, struct device, node);
	return device_absent(b, name[0] ? name : "none");
}

static struct vgpu_err *add_vm(struct broker *b, struct vm_settings *s, const char *pool, const char *device, const char *next,
			       const char *why, struct vm **out)
{
	struct vm_home home = {.pool = pool_by_name(b, pool), .why = why};

	if (!home.pool)
		return bad_row(b, "a VM's pool", s->id);
	home.device = device_of(b, home.pool, device);
	home.next = next[0] ? device_of(b, home.pool, next) : NULL;
	return home.device ? vm_add(b, s, &home, out) : err_new("out of memory");
}

static const char *text_of(sqlite3_stmt *st, int col)
{
	const char *s = (const char *)sqlite3_column_text(st, col);

	return s ? s : "";
}

static struct vgpu_err *load_pool(struct broker *b, sqlite3_stmt *st)
{
	return add_pool(b, text_of(st, 0), !strcmp(text_of(st, 1), "concurrent"));
}

static struct vgpu_err *load_device(struct broker *b, sqlite3_stmt *st)
{
	return add_device(b, &(struct device_row){text_of(st, 0), text_of(st, 1), text_of(st, 2), text_of(st, 3), text_of(st, 4),
		text_of(st, 5), sqlite3_column_int64(st, 6), sqlite3_column_int64(st, 7)});
}

static struct vgpu_err *load_row(struct broker *b, sqlite3_stmt *st)
{
	const char *name = (const char *)sqlite3_column_text(st, 1);
	int64_t id = sqlite3_column_int64(st, 0);
	struct vm_settings s = {.id = (uint32_t)id};
	struct vgpu_err *e;
	struct vm *vm;
	int col = 7;

	if (!name || id < 1 || id > INT32_MAX)
		return bad_row(b, "a VM's name or id", id);
	snprintf(s.name, sizeof(s.name), "%s", name);
	for (const struct setting *k = vm_setting; k->key; k++, col++) {
		int64_t v = sqlite3_column_int64(st, col);

		if (sqlite3_column_type(st, col) != SQLITE_INTEGER || !setting_fits(k, (uint64_t)v))
			return bad_row(b, k->key, v);
		setting_put(k, &s, (uint64_t)v);
	}
	e = add_vm(b, &s, text_of(st, 3), text_of(st, 4), text_of(st, 5), text_of(st, 6), &vm);
	if (!e)
		vm->quarantined = sqlite3_column_int(st, 2);
	return e;
}

static struct vgpu_err *each_row(struct broker *b, const char *sql, struct vgpu_err *(*fn)(struct broker *, sqlite3_stmt *))
{
	struct vgpu_err *e = NULL;
	sqlite3_stmt *st;
	int rc;

	if (sqlite3_prepare_v2(b->db, sql, -1, &st, NULL))
		return db_error(b, "reading");
	while (!e && (rc = sqlite3_step(st)) == SQLITE_ROW)
		e = fn(b, st);
	if (!e && rc != SQLITE_DONE)
		e = db_error(b, "reading");
	sqlite3_finalize(st);
	return e;
}

/* Seven of its own, then the settings in the table's order. */
static void columns(char *out, size_t n)
{
	size_t at = (size_t)snprintf(out, n, "id, name, quarantined, pool, device, next_device, placed");

	for (const struct setting *k = vm_setting; k->key; k++)
		at += (size_t)snprintf(out + at, n - at, ", %s", k->key);
}

/* Faults of before a restart count as if there had been none. */
static struct vgpu_err *load_fault(struct broker *b, sqlite3_stmt *st)
{
	const char *name = (const char *)sqlite3_column_text(st, 0);
	struct vm *vm = name ? vm_by_name(b, name) : NULL;
	int64_t age = (int64_t)wall_ms() - sqlite3_column_int64(st, 1);
	uint64_t ns = age > 0 ? (uint64_t)age * 1000000 : 0, now = now_ns();

	if (!name)
		return bad_row(b, "a fault's VM", 0);
	if (vm && ns < vm_fault_window(vm) && ns < now)
		vm_remember_fault(vm, now - ns);
	return NULL;
}

static struct vgpu_err *load_faults(struct broker *b)
{
	return each_row(b, "SELECT vm, at_ms FROM faults ORDER BY number", load_fault);
}

static struct vgpu_err *load(struct broker *b)
{
	char cols[512], sql[600];
	struct vgpu_err *e;

	columns(cols, sizeof(cols));
	snprintf(sql, sizeof(sql), "SELECT %s FROM vms ORDER BY id", cols);
	e = each_row(b, "SELECT name, policy FROM pools ORDER BY rowid", load_pool);
	if (!e)
		e = each_row(b, "SELECT name, pool, uuid, pci, peers, reason, numa_node, state FROM devices ORDER BY rowid", load_device);
	if (!e)
		e = each_row(b, sql, load_row);
	return e ? e : load_faults(b);
}

/* One that was not known when it was lost may only have been late with its driver: the next start looks again. */
static uint32_t stored_state(const struct device *d)
{
	return d->state == DEVICE_LOST && !d->known ? DEVICE_UP : d->state;
}

/* ---- the keeper's copy ---- */

static int copy_text(const struct broker *b, struct buf *out, uint64_t *vms)
{
	int rc = 0;

	list_for_each(it, &b->pools) {
		const struct pool *p = list_entry(it, struct pool, node);
		struct copy_pool c = {.concurrent = p->concurrent};

		strcpy(c.name, p->name);
		rc = rc ? rc : copy_put_pool(out, &c);
	}
	list_for_each(it, &b->devices) {
		const struct device *d = list_entry(it, struct device, node);
		struct copy_device c = {.numa_node = d->numa_node, .state = stored_state(d)};

		if (d->doomed)
			continue;
		strcpy(c.name, d->name);
		strcpy(c.pool, d->pool->name);
		strcpy(c.uuid, d->id.uuid);
		strcpy(c.pci, d->pci);
		strcpy(c.peers, d->peers);
		strcpy(c.reason, d->reason);
		if (d->known) {
			c.layout = VGPU_LAYOUT_VERSION;
			c.info = d->info;
		}
		rc = rc ? rc : copy_put_device(out, &c);
	}
	list_for_each(it, &b->vms) {
		const struct vm *vm = list_entry(it, struct vm, node);
		struct copy_vm c = {.set = vm->set, .quarantined = vm->quarantined};

		strcpy(c.pool, vm->pool->name);
		strcpy(c.device, vm->device->name);
		strcpy(c.next, vm->next ? vm->next->name : "");
		strcpy(c.why, vm->why);
		rc = rc ? rc : copy_put_vm(out, &c);
		++*vms;
	}
	return rc;
}

void state_copy(struct broker *b)
{
	uint64_t vms = 0;
	struct buf text;
	int rc;

	buf_init(&text, COPY_MAX);
	rc = copy_text(b, &text, &vms);
	if (!rc)
		rc = copy_store(IPC_BFD_STATE, &text, vms, b->state_trouble[0]);
	buf_free(&text);
	if (rc)
		log_warning("the keeper's copy of the state: %s", strerror(-rc));
}

static struct vgpu_err *take_vm(void *arg, const struct copy_vm *c)
{
	struct vm_settings s = c->set;
	struct vm *vm;
	struct vgpu_err *e = add_vm(arg, &s, c->pool, c->device, c->next, c->why, &vm);

	if (!e)
		vm->quarantined = c->quarantined;
	return e;
}

static struct vgpu_err *take_pool(void *arg, const struct copy_pool *c)
{
	return add_pool(arg, c->name, c->concurrent);
}

static struct vgpu_err *take_device(void *arg, const struct copy_device *c)
{
	return add_device(arg, &(struct device_row){c->name, c->pool, c->uuid, c->pci, c->peers, c->reason,
		(int64_t)c->numa_node, (int64_t)c->state});
}

/* text: of copy_find(). */
static struct vgpu_err *load_copy(struct broker *b, struct buf *text)
{
	struct copy_reader r = {.pool = take_pool, .device = take_device, .vm = take_vm, .arg = b};
	struct vgpu_err *e = copy_read(text->data, &r);

	if (r.unknown)
		log_warning("the keeper's copy of the state: %u things that a newer vgpud wrote are not in force", r.unknown);
	return e;
}

static struct vgpu_err *know_device(void *arg, const struct copy_device *c)
{
	struct device *d = device_by_name(arg, c->name);

	if (!d || d->absent || strcmp(d->id.uuid, c->uuid) || c->layout != VGPU_LAYOUT_VERSION || !c->info.total_mem)
		return NULL;
	d->info = c->info;
	d->info.name[sizeof(d->info.name) - 1] = 0;
	d->known = true;
	device_learn_place(d);
	return NULL;
}

static struct vgpu_err *no_pool(void *arg, const struct copy_pool *c)
{
	return NULL;
}

static struct vgpu_err *no_vm(void *arg, const struct copy_vm *c)
{
	return NULL;
}

/* What the devices are has been found out by a former broker: guests do not wait for another probe. Last of all, for VMs
 * that are stored are not measured against their device one by one. */
static void know_devices(struct broker *b, const struct buf *copy)
{
	struct copy_reader r = {.pool = no_pool, .device = know_device, .vm = no_vm, .arg = b};

	free(copy_read(copy->data, &r));
}

/* What a file that turned out to be damaged had told. */
static void forget(struct broker *b)
{
	list_for_each(n, &b->vms)
		vm_remove(list_entry(n, struct vm, node));
	list_for_each(n, &b->devices) {
		struct device *d = list_entry(n, struct device, node);

		d->pool = pool_by_name(b, POOL_DEFAULT);
		d->state = DEVICE_UP;
		if (d->id.uuid[0] || d->absent)
			device_free(d);
	}
	list_for_each(n, &b->pools)
		if (strcmp(list_entry(n, struct pool, node)->name, POOL_DEFAULT))
			pool_free(list_entry(n, struct pool, node));
}

/* ---- writing ---- */

static struct vgpu_err *put_vm(struct broker *b, const struct vm *vm)
{
	char cols[512], sql[800];
	struct vgpu_err *e = NULL;
	sqlite3_stmt *st;
	int col = 8;
	size_t at;

	if (!b->db)
		return db_run(b, "", "");
	columns(cols, sizeof(cols));
	at = (size_t)snprintf(sql, sizeof(sql), "INSERT OR REPLACE INTO vms (%s) VALUES (?, ?, ?, ?, ?, ?, ?", cols);
	for (const struct setting *k = vm_setting; k->key; k++)
		at += (size_t)snprintf(sql + at, sizeof(sql) - at, ", ?");
	snprintf(sql + at, sizeof(sql) - at, ")");
	if (sqlite3_prepare_v2(b->db, sql, -1, &st, NULL))
		return db_error(b, "writing");
	sqlite3_bind_int64(st, 1, vm->set.id);
	sqlite3_bind_text(st, 2, vm->set.name, -1, SQLITE_STATIC);
	sqlite3_bind_int(st, 3, vm->quarantined);
	sqlite3_bind_text(st, 4, vm->pool->name, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 5, vm->device->name, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 6, vm->next ? vm->next->name : "", -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 7, vm->why, -1, SQLITE_STATIC);
	for (const struct setting *k = vm_setting; k->key; k++)
		sqlite3_bind_int64(st, col++, (int64_t)setting_get(k, &vm->set));
	if (sqlite3_step(st) != SQLITE_DONE)
		e = db_error(b, "writing");
	sqlite3_finalize(st);
	return e;
}

static struct vgpu_err *put_pool(struct broker *b, const struct pool *p)
{
	return db_run(b, "INSERT INTO pools VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET policy = excluded.policy", "ss", p->name,
		      p->concurrent ? "concurrent" : "exclusive");
}

static struct vgpu_err *put_device(struct broker *b, const struct device *d)
{
	return db_run(b, "INSERT INTO devices (name, pool, uuid, pci, peers, reason, numa_node, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
		      " ON CONFLICT (name) DO UPDATE SET pool = excluded.pool, uuid = excluded.uuid, pci = excluded.pci,"
		      " peers = excluded.peers, reason = excluded.reason, numa_node = excluded.numa_node, state = excluded.state",
		      "ssssssii", d->name, d->pool->name, d->id.uuid, d->pci, d->peers, d->reason, (int64_t)d->numa_node, (int64_t)stored_state(d));
}

static struct vgpu_err *put_all(struct broker *b)
{
	struct vgpu_err *e = db_run(b, "DELETE FROM vms", "");

	if (!e)
		e = db_run(b, "DELETE FROM devices", "");
	if (!e)
		e = db_run(b, "DELETE FROM pools", "");
	list_for_each(n, &b->pools)
		e = e ? e : put_pool(b, list_entry(n, struct pool, node));
	list_for_each(n, &b->devices) {
		const struct device *d = list_entry(n, struct device, node);

		e = e || d->doomed ? e : put_device(b, d);
	}
	list_for_each(n, &b->vms)
		e = e ? e : put_vm(b, list_entry(n, struct vm, node));
	return e;
}

static void roll_back(struct broker *b)
{
	if (b->db && !sqlite3_get_autocommit(b->db))
		sqlite3_exec(b->db, "ROLLBACK", NULL, NULL, NULL);
}

static struct vgpu_err *store_all(struct broker *b)
{
	struct vgpu_err *e = db_run(b, "BEGIN IMMEDIATE", "");

	if (!e)
		e = put_all(b);
	if (!e)
		e = db_run(b, "COMMIT", "");
	if (e)
		roll_back(b);
	return e;
}

/* ---- going on without state.db, and coming back to it ---- */

/* From here on nothing is counted as stored until all is. Said once, however often it is tried. */
static void trouble(struct broker *b, const struct vgpu_err *e)
{
	bool first = !b->state_trouble[0];

	if (!strcmp(b->state_trouble, e->text))
		return;
	snprintf(b->state_trouble, sizeof(b->state_trouble), "%s", e->text);
	log_error("%s: sharing goes on from memory; this is tried again until it can be stored", e->text);
	event_add(b, "state-not-stored", "", "%.150s", e->text);
	if (first) {
		b->state_wait = AGAIN_NS;
		b->state_again = now_ns() + AGAIN_NS;
		state_copy(b);
	}
}

/* The file, if it is sound, else a new one in its place. aside: what became of the former. */
static struct vgpu_err *reopen(struct broker *b, char *aside, size_t n)
{
	struct vgpu_err *e = NULL;

	for (unsigned i = 0; i < 3 && !b->db; i++) {
		free(e);
		if (b->db_fault == DB_DAMAGED) {
			e = db_put_aside(b, aside, n);
			if (e)
				return e;
			b->db_fault = DB_MISSING;
		}
		e = db_open(b, b->db_fault != DB_MISSING);
		if (!e)
			e = db_check(b);
		if (e && b->db_fault != DB_DAMAGED && b->db_fault != DB_MISSING)
			return e;
	}
	return e;
}

static bool recover(struct broker *b)
{
	cleanup_err struct vgpu_err *e = NULL;
	char aside[32] = "";

	e = reopen(b, aside, sizeof(aside));
	if (aside[0])
		snprintf(b->state_aside, sizeof(b->state_aside), "%s", aside);
	if (!e)
		e = store_all(b);
	if (e) {
		b->state_wait = b->state_wait < AGAIN_MAX_NS / 2 ? 2 * b->state_wait : AGAIN_MAX_NS;
		b->state_again = now_ns() + b->state_wait;
		db_leave(b); /* a file system that came back is another one */
		trouble(b, e);
		return false;
	}
	log_warning("state-dir %s: state.db: all that is in force is stored again%s%s", b->cfg.state_dir,
		    b->state_aside[0] ? " in a new file, without the faults and the audit of the former, which is " : "", b->state_aside);
	event_add(b, "state-stored", "", "all that is in force%s%s", b->state_aside[0] ? ", in a new file; the former is " : "",
		  b->state_aside);
	b->state_trouble[0] = b->state_aside[0] = 0;
	state_copy(b);
	return true;
}

/* Nobody writes to a file that is nobody's. */
static void look_moved(struct broker *b)
{
	cleanup_err struct vgpu_err *e = NULL;
	enum db_fault moved = db_moved(b);

	if (moved == DB_WELL)
		return;
	b->db_fault = moved;
	db_leave(b);
	e = err_new("state-dir %s: state.db: removed or replaced while it was in use", b->cfg.state_dir);
	trouble(b, e);
	b->state_again = 0;
}

void state_period(struct broker *b, uint64_t now)
{
	if (!b->ready)
		return;
	look_moved(b);
	if (b->state_trouble[0] && now >= b->state_again)
		recover(b);
}

void state_retry(struct broker *b)
{
	look_moved(b);
	if (b->state_trouble[0])
		recover(b);
}

static void stored(struct broker *b, const struct vgpu_err *e)
{
	if (e)
		trouble(b, e);
	state_copy(b);
}

void state_place(struct vm *vm)
{
	struct broker *b = vm->broker;
	cleanup_err struct vgpu_err *e = b->state_trouble[0] ? NULL : put_vm(b, vm);

	stored(b, e);
}

void state_device(struct device *d)
{
	struct broker *b = d->broker;
	cleanup_err struct vgpu_err *e = b->state_trouble[0] ? NULL : put_device(b, d);

	stored(b, e);
}

void state_forget_device(struct device *d)
{
	struct broker *b = d->broker;
	cleanup_err struct vgpu_err *e = NULL;

	if (!b->state_trouble[0])
		e = db_run(b, "DELETE FROM devices WHERE name = ?", "s", d->name);
	stored(b, e);
}

/* A fault's row is not worth waiting for the disk: without power, the last ones may be lost. */
static struct vgpu_err *put_fault(struct broker *b, const struct vm *vm, const char *kind)
{
	struct vgpu_err *e;

	if (!b->db)
		return db_run(b, "", "");
	sqlite3_exec(b->db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL);
	e = db_run(b, "INSERT INTO faults (at_ms, vm, kind) VALUES (?, ?, ?)", "iss", (int64_t)wall_ms(), vm->set.name, kind);
	if (!e)
		e = db_run(b, "DELETE FROM faults WHERE number <= (SELECT max(number) FROM faults) - " ROWS_KEPT, "");
	if (!e && vm->quarantined)
		e = db_run(b, "UPDATE vms SET quarantined = 1 WHERE id = ?", "i", (int64_t)vm->set.id);
	sqlite3_exec(b->db, "PRAGMA synchronous=FULL", NULL, NULL, NULL);
	return e;
}

void state_fault(struct vm *vm, const char *kind)
{
	struct broker *b = vm->broker;
	cleanup_err struct vgpu_err *e = b->state_trouble[0] ? NULL : put_fault(b, vm, kind);

	if (e || vm->quarantined)
		stored(b, e);
}

static struct vgpu_err *audit(struct broker *b, const struct change *c)
{
	struct vgpu_err *e = db_run(b, "INSERT INTO audit (at_ms, uid, pid, command, object, change) VALUES (?, ?, ?, ?, ?, ?)",
				 "iiisss", (int64_t)wall_ms(), (int64_t)c->who->uid, (int64_t)c->who->pid, c->command,
				 c->object, c->text);

	return e ? e : db_run(b, "DELETE FROM audit WHERE number <= (SELECT max(number) FROM audit) - " ROWS_KEPT, "");
}

static struct vgpu_err *put_change(struct broker *b, const struct change *c)
{
	struct vgpu_err *e = db_run(b, "BEGIN IMMEDIATE", "");

	if (!e && c->drop)
		e = db_run(b, "DELETE FROM vms WHERE id = ?", "i", (int64_t)c->drop);
	if (!e && c->drop_device)
		e = db_run(b, "DELETE FROM devices WHERE name = ?", "s", c->drop_device);
	if (!e && c->drop_pool)
		e = db_run(b, "UPDATE devices SET pool = '" POOL_DEFAULT "' WHERE pool = ?", "s", c->drop_pool);
	if (!e && c->drop_pool)
		e = db_run(b, "DELETE FROM pools WHERE name = ?", "s", c->drop_pool);
	if (!e && c->pool)
		e = put_pool(b, c->pool);
	if (!e && c->device)
		e = put_device(b, c->device);
	if (!e && c->vm)
		e = put_vm(b, c->vm);
	if (!e && c->forget_faults)
		e = db_run(b, "DELETE FROM faults WHERE vm = ?", "s", c->object);
	if (!e)
		e = audit(b, c);
	if (!e)
		e = db_run(b, "COMMIT", "");
	if (e)
		roll_back(b);
	return e;
}

struct vgpu_err *state_record(struct broker *b, const struct change *c)
{
	struct vgpu_err *e;

	if (b->state_trouble[0])
		return c->stops ? NULL : err_new("nothing can be changed now, sharing goes on from memory: %.350s", b->state_trouble);
	e = put_change(b, c);
	if (e)
		trouble(b, e);
	if (e && c->stops) {
		free(e);
		e = NULL;
	}
	return e;
}

/* ---- a broker begins ---- */

/* From the copy, if it holds what state.db does not. */
static struct vgpu_err *load_newest(struct broker *b, struct buf *copy, bool unsaved)
{
	struct vgpu_err *e;

	if (!unsaved)
		return load(b);
	e = load_copy(b, copy);
	if (e) {
		log_error("the keeper's copy of the state: %s: what was not stored is lost", e->text);
		free(e);
		forget(b);
		return load(b);
	}
	e = err_new("state-dir %s: state.db: not all of what is in force is stored", b->cfg.state_dir);
	trouble(b, e);
	free(e);
	return load_faults(b);
}

/* Not with the file: with the copy, if there is one. NULL: it goes on. */
static struct vgpu_err *go_on(struct broker *b, struct vgpu_err *why, struct buf *copy, enum copy_found found)
{
	struct vgpu_err *e;

	db_leave(b);
	forget(b);
	if (b->db_fault == DB_WELL)
		b->db_fault = DB_DAMAGED; /* it could be read, but it is no state that vgpud makes */
	if (found == COPY_REFUSED)
		log_error("the keeper's copy of the state is of another version of vgpud or damaged: not used");
	if (found != COPY_FOUND)
		return why;
	e = load_copy(b, copy);
	if (e) {
		log_error("the keeper's copy of the state: %s", e->text);
		free(e);
		return why;
	}
	trouble(b, why);
	free(why);
	return NULL;
}

struct vgpu_err *state_open(struct broker *b)
{
	struct copy_head head;
	struct buf copy;
	enum copy_found found;
	struct vgpu_err *e;

	buf_init(&copy, COPY_MAX);
	found = copy_find(IPC_BFD_STATE, &copy, &head);
	b->db_fault = DB_WELL;
	e = db_open(b, found == COPY_REFUSED || (found == COPY_FOUND && head.vms));
	if (!e)
		e = load_newest(b, &copy, found == COPY_FOUND && head.unsaved);
	if (e)
		e = go_on(b, e, &copy, found);
	if (!e && found == COPY_FOUND)
		know_devices(b, &copy);
	if (!e)
		state_copy(b);
	buf_free(&copy);
	return e;
}

/* ---- views ---- */

struct vgpu_err *state_rows(struct broker *b, const char *sql, const char *const *keys, const char *arg, json_t **out)
{
	sqlite3_stmt *st;
	int rc;

	if (!b->db || sqlite3_prepare_v2(b->db, sql, -1, &st, NULL))
		return b->db ? db_error(b, "reading") : db_run(b, "", "");
	sqlite3_bind_text(st, 1, arg, -1, SQLITE_STATIC);
	*out = json_array();
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		json_t *o = json_object();

		for (int i = 0; keys[i]; i++)
			json_object_set_new(o, keys[i], sqlite3_column_type(st, i) == SQLITE_INTEGER
				? json_integer(sqlite3_column_int64(st, i))
				: json_string((const char *)sqlite3_column_text(st, i)));
		json_array_append_new(*out, o);
	}
	sqlite3_finalize(st);
	if (rc == SQLITE_DONE)
		return NULL;
	json_decref(*out);
	*out = NULL;
	return db_error(b, "reading");
}
