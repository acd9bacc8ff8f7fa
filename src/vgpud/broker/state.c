/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What survives: state.db (SQLite, WAL) holds VMs with their limits, pools, devices, faults and who changed
 * what. Should it be unreadable when a broker starts anew under a living keeper, the VMs come from the copy
 * the keeper holds, and go on; a vgpud that starts fresh refuses instead, for it would serve nobody.
 */
#include "vgpud/broker/broker.h"
#include "base/log.h"
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Another process on the same file is a mistake, but one that may be about to end. */
#define BUSY_MS 2000
#define ROWS_KEPT "10000" /* of faults and of audit */

/* Step n brings user_version from n to n + 1. Never edited once released, only added to. */
static const char *const migrations[] = {
	"CREATE TABLE IF NOT EXISTS vms ("
	" id INTEGER PRIMARY KEY CHECK (id > 0),"
	" name TEXT NOT NULL UNIQUE,"
	" priority INTEGER NOT NULL CHECK (priority IN (1, 2, 4)),"
	" weight INTEGER NOT NULL CHECK (weight BETWEEN 1 AND 100),"
	" quota INTEGER NOT NULL CHECK (quota > 0),"
	" job_timeout_ns INTEGER NOT NULL, hard_timeout_ns INTEGER NOT NULL,"
	" bar_size INTEGER NOT NULL CHECK (bar_size > 0),"
	" uid INTEGER NOT NULL"
	") STRICT;",

	"ALTER TABLE vms ADD COLUMN cap INTEGER NOT NULL DEFAULT 0 CHECK (cap BETWEEN 0 AND 100);"
	"ALTER TABLE vms ADD COLUMN reservation INTEGER NOT NULL DEFAULT 0 CHECK (reservation BETWEEN 0 AND 100);"
	"ALTER TABLE vms ADD COLUMN quarantined INTEGER NOT NULL DEFAULT 0 CHECK (quarantined IN (0, 1));"
	"CREATE TABLE faults ("
	" number INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, vm TEXT NOT NULL, kind TEXT NOT NULL) STRICT;"
	"CREATE INDEX faults_vm ON faults (vm, at_ms);"
	"CREATE TABLE audit ("
	" number INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, uid INTEGER NOT NULL, pid INTEGER NOT NULL,"
	" command TEXT NOT NULL, object TEXT NOT NULL, change TEXT NOT NULL) STRICT;",

	"ALTER TABLE vms ADD COLUMN max_launches_per_second INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE vms ADD COLUMN max_bytes_per_second INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE vms ADD COLUMN queue_depth INTEGER NOT NULL DEFAULT 0;",

	"ALTER TABLE vms ADD COLUMN fault_limit INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE vms ADD COLUMN fault_window_ns INTEGER NOT NULL DEFAULT 0;",

	"CREATE TABLE pools ("
	" name TEXT PRIMARY KEY, policy TEXT NOT NULL CHECK (policy IN ('exclusive', 'concurrent'))) STRICT;"
	"INSERT INTO pools VALUES ('" POOL_DEFAULT "', 'exclusive');"
	"CREATE TABLE devices ("
	" name TEXT PRIMARY KEY, pool TEXT NOT NULL, uuid TEXT NOT NULL, pci TEXT NOT NULL, numa_node INTEGER NOT NULL,"
	" peers TEXT NOT NULL, state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2), reason TEXT NOT NULL) STRICT;"
	"ALTER TABLE vms ADD COLUMN numa_node INTEGER NOT NULL DEFAULT 4294967295;"
	"ALTER TABLE vms ADD COLUMN pool TEXT NOT NULL DEFAULT '" POOL_DEFAULT "';"
	"ALTER TABLE vms ADD COLUMN device TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE vms ADD COLUMN next_device TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE vms ADD COLUMN placed TEXT NOT NULL DEFAULT '';",
};
#define SCHEMA_VERSION ((int)(sizeof(migrations) / sizeof(migrations[0])))

static struct vgpu_err *db_err(struct broker *b, const char *what)
{
	return err_new("state-dir %s: state.db: %s: %s", b->cfg.state_dir, what,
		       b->db ? sqlite3_errmsg(b->db) : "out of memory");
}

/* ---- statements: 'i' int64_t, 's' const char * ---- */

static struct vgpu_err *run(struct broker *b, const char *sql, const char *types, ...)
{
	struct vgpu_err *e = NULL;
	sqlite3_stmt *st;
	va_list ap;

	if (!b->db)
		return err_new("state-dir %s: state.db is not usable since vgpud's broker started: see the log",
			       b->cfg.state_dir);
	if (sqlite3_prepare_v2(b->db, sql, -1, &st, NULL))
		return db_err(b, "writing");
	va_start(ap, types);
	for (int i = 0; types[i]; i++)
		if (types[i] == 'i')
			sqlite3_bind_int64(st, i + 1, va_arg(ap, int64_t));
		else
			sqlite3_bind_text(st, i + 1, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
	va_end(ap);
	if (sqlite3_step(st) != SQLITE_DONE)
		e = db_err(b, "writing");
	sqlite3_finalize(st);
	return e;
}

static int db_version(struct broker *b)
{
	sqlite3_stmt *st;
	int v = -1;

	if (sqlite3_prepare_v2(b->db, "PRAGMA user_version", -1, &st, NULL))
		return -1;
	if (sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	return v;
}

/* ---- opening ---- */

/* VMs in the keeper's copy: 0 also while there is none. */
static uint64_t copy_count(void)
{
	uint64_t n;

	return pread(IPC_BFD_STATE, &n, sizeof(n), 0) == sizeof(n) ? n : 0;
}

/* A file that was removed or replaced under a living keeper is not a state of no VMs. */
static struct vgpu_err *not_emptied(struct broker *b)
{
	uint64_t n = copy_count();

	if (!n || db_version(b) != 0)
		return NULL;
	return err_new("state-dir %s: state.db: empty, although %llu VMs are registered: it was removed or replaced",
		       b->cfg.state_dir, (unsigned long long)n);
}

static struct vgpu_err *migrate(struct broker *b)
{
	int v = db_version(b);
	char set[64];

	if (v < 0)
		return db_err(b, "reading its version");
	if (v > SCHEMA_VERSION)
		return err_new("state-dir %s: state.db has version %d, this vgpud knows %d: a newer vgpud made it",
			       b->cfg.state_dir, v, SCHEMA_VERSION);
	for (; v < SCHEMA_VERSION; v++) {
		snprintf(set, sizeof(set), "PRAGMA user_version=%d; COMMIT", v + 1);
		if (sqlite3_exec(b->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) ||
		    sqlite3_exec(b->db, migrations[v], NULL, NULL, NULL) ||
		    sqlite3_exec(b->db, set, NULL, NULL, NULL)) {
			struct vgpu_err *e = db_err(b, "bringing it up to date");

			sqlite3_exec(b->db, "ROLLBACK", NULL, NULL, NULL);
			return e;
		}
	}
	return NULL;
}

static struct vgpu_err *open_db(struct broker *b)
{
	int flags = SQLITE_OPEN_READWRITE | (copy_count() ? 0 : SQLITE_OPEN_CREATE);
	struct vgpu_err *e;
	char path[256];

	snprintf(path, sizeof(path), "%s/state.db", b->cfg.state_dir);
	if (sqlite3_open_v2(path, &b->db, flags, NULL))
		return db_err(b, "opening");
	sqlite3_busy_timeout(b->db, BUSY_MS);
	e = not_emptied(b);
	if (e)
		return e;
	if (sqlite3_exec(b->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;", NULL, NULL, NULL))
		return db_err(b, "opening");
	return migrate(b);
}

/* ---- reading ---- */

/* The file is checked as a command is: a damaged row must end in an error, which is not the broker's end. */
static struct vgpu_err *bad_row(struct broker *b, const char *what, int64_t value)
{
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
		return db_err(b, "reading");
	while (!e && (rc = sqlite3_step(st)) == SQLITE_ROW)
		e = fn(b, st);
	if (!e && rc != SQLITE_DONE)
		e = db_err(b, "reading");
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
	return e ? e : each_row(b, "SELECT vm, at_ms FROM faults ORDER BY number", load_fault);
}

/* ---- the keeper's copy: three counts, then so many VMs, pools and devices ---- */

struct saved_vm {
	struct vm_settings set;
	uint64_t quarantined;
	char pool[IPC_NAME_LEN], device[IPC_NAME_LEN], next[IPC_NAME_LEN], why[PLACE_WHY_LEN];
};

struct saved_pool {
	char name[IPC_NAME_LEN];
	uint64_t concurrent;
};

struct saved_device {
	char name[IPC_NAME_LEN], pool[IPC_NAME_LEN], uuid[IPC_UUID_LEN], pci[32], peers[DEVICE_PEERS_LEN], reason[DEVICE_REASON_LEN];
	uint32_t numa_node, state;
};

struct copy {
	bool failed;
	off_t at;
	uint64_t n[3];
};

static void copy_put(struct copy *c, unsigned kind, const void *p, size_t size)
{
	c->failed |= pwrite(IPC_BFD_STATE, p, size, c->at) != (ssize_t)size;
	c->at += (off_t)size;
	c->n[kind]++;
}

void state_copy(struct broker *b)
{
	struct copy c = {.at = sizeof(c.n)};

	list_for_each(it, &b->vms) {
		const struct vm *vm = list_entry(it, struct vm, node);
		struct saved_vm s = {.set = vm->set, .quarantined = vm->quarantined};

		strcpy(s.pool, vm->pool->name);
		strcpy(s.device, vm->device->name);
		strcpy(s.next, vm->next ? vm->next->name : "");
		strcpy(s.why, vm->why);
		copy_put(&c, 0, &s, sizeof(s));
	}
	list_for_each(it, &b->pools) {
		const struct pool *p = list_entry(it, struct pool, node);
		struct saved_pool s = {.concurrent = p->concurrent};

		strcpy(s.name, p->name);
		copy_put(&c, 1, &s, sizeof(s));
	}
	list_for_each(it, &b->devices) {
		const struct device *d = list_entry(it, struct device, node);
		struct saved_device s = {.numa_node = d->numa_node, .state = d->state};

		if (d->doomed)
			continue;
		strcpy(s.name, d->name);
		strcpy(s.pool, d->pool->name);
		strcpy(s.uuid, d->id.uuid);
		strcpy(s.pci, d->pci);
		strcpy(s.peers, d->peers);
		strcpy(s.reason, d->reason);
		copy_put(&c, 2, &s, sizeof(s));
	}
	if (c.failed || pwrite(IPC_BFD_STATE, c.n, sizeof(c.n), 0) != sizeof(c.n))
		log_warning("the keeper's copy of the state: %m");
}

static struct vgpu_err *take_vm(struct broker *b, const void *p)
{
	struct saved_vm s = *(const struct saved_vm *)p;
	struct vm *vm;
	struct vgpu_err *e = add_vm(b, &s.set, s.pool, s.device, s.next, s.why, &vm);

	if (!e)
		vm->quarantined = s.quarantined;
	return e;
}

static struct vgpu_err *take_pool(struct broker *b, const void *p)
{
	const struct saved_pool *s = p;

	return add_pool(b, s->name, s->concurrent);
}

static struct vgpu_err *take_device(struct broker *b, const void *p)
{
	const struct saved_device *s = p;

	return add_device(b, &(struct device_row){s->name, s->pool, s->uuid, s->pci, s->peers, s->reason, s->numa_node, s->state});
}

static bool load_copy(struct broker *b)
{
	static const struct {
		unsigned kind;
		size_t size;
		struct vgpu_err *(*take)(struct broker *b, const void *p);
	} parts[] = {{1, sizeof(struct saved_pool), take_pool}, {2, sizeof(struct saved_device), take_device},
		     {0, sizeof(struct saved_vm), take_vm}};
	static const uint64_t most[] = {VMS_MAX, POOLS_MAX, DEVICES_MAX};
	static union {
		struct saved_vm vm;
		struct saved_pool pool;
		struct saved_device device;
	} one;
	cleanup_err struct vgpu_err *e = NULL;
	uint64_t n[3];

	if (pread(IPC_BFD_STATE, n, sizeof(n), 0) != sizeof(n))
		return false; /* no broker of this keeper got so far */
	for (unsigned i = 0; i < 3 && !e; i++) {
		uint64_t at = sizeof(n);

		if (parts[i].kind >= 1)
			at += n[0] * sizeof(struct saved_vm);
		if (parts[i].kind == 2)
			at += n[1] * sizeof(struct saved_pool);
		for (uint64_t k = 0; k < n[parts[i].kind] && k < most[parts[i].kind] && !e; k++, at += parts[i].size) {
			if (pread(IPC_BFD_STATE, &one, parts[i].size, (off_t)at) != (ssize_t)parts[i].size)
				return false;
			e = parts[i].take(b, &one);
		}
	}
	return !e;
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

struct vgpu_err *state_open(struct broker *b)
{
	struct vgpu_err *e = open_db(b);

	if (!e)
		e = load(b);
	if (!e) {
		state_copy(b);
		return NULL;
	}
	sqlite3_close(b->db);
	b->db = NULL;
	forget(b);
	if (!load_copy(b))
		return e;
	log_error("%s: the VMs go on from memory, nothing can be changed: repair or remove the file, then restart "
		  "vgpud", e->text);
	snprintf(b->state_trouble, sizeof(b->state_trouble), "%s", e->text);
	free(e);
	return NULL;
}

/* ---- writing ---- */

static void trouble(struct broker *b, const struct vgpu_err *e)
{
	snprintf(b->state_trouble, sizeof(b->state_trouble), "%s", e ? e->text : "");
	if (e)
		log_error("%s", e->text);
}

static struct vgpu_err *put_vm(struct broker *b, const struct vm *vm)
{
	char cols[512], sql[800];
	struct vgpu_err *e = NULL;
	sqlite3_stmt *st;
	int col = 8;
	size_t at;

	columns(cols, sizeof(cols));
	at = (size_t)snprintf(sql, sizeof(sql), "INSERT OR REPLACE INTO vms (%s) VALUES (?, ?, ?, ?, ?, ?, ?", cols);
	for (const struct setting *k = vm_setting; k->key; k++)
		at += (size_t)snprintf(sql + at, sizeof(sql) - at, ", ?");
	snprintf(sql + at, sizeof(sql) - at, ")");
	if (sqlite3_prepare_v2(b->db, sql, -1, &st, NULL))
		return db_err(b, "writing");
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
		e = db_err(b, "writing");
	sqlite3_finalize(st);
	return e;
}

static struct vgpu_err *put_pool(struct broker *b, const struct pool *p)
{
	return run(b, "INSERT INTO pools VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET policy = excluded.policy", "ss", p->name,
		   p->concurrent ? "concurrent" : "exclusive");
}

static struct vgpu_err *put_device(struct broker *b, const struct device *d)
{
	return run(b, "INSERT INTO devices (name, pool, uuid, pci, peers, reason, numa_node, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
		      " ON CONFLICT (name) DO UPDATE SET pool = excluded.pool, uuid = excluded.uuid, pci = excluded.pci,"
		      " peers = excluded.peers, reason = excluded.reason, numa_node = excluded.numa_node, state = excluded.state",
		   "ssssssii", d->name, d->pool->name, d->id.uuid, d->pci, d->peers, d->reason, (int64_t)d->numa_node, (int64_t)d->state);
}

void state_place(struct vm *vm)
{
	cleanup_err struct vgpu_err *e = NULL;

	if (!vm->broker->db)
		return;
	e = put_vm(vm->broker, vm);
	trouble(vm->broker, e);
	state_copy(vm->broker);
}

void state_device(struct device *d)
{
	cleanup_err struct vgpu_err *e = NULL;

	if (!d->broker->db)
		return;
	e = put_device(d->broker, d);
	trouble(d->broker, e);
	state_copy(d->broker);
}

void state_forget_device(struct device *d)
{
	cleanup_err struct vgpu_err *e = NULL;

	if (!d->broker->db)
		return;
	e = run(d->broker, "DELETE FROM devices WHERE name = ?", "s", d->name);
	trouble(d->broker, e);
	state_copy(d->broker);
}

/* A fault's row is not worth waiting for the disk: without power, the last ones may be lost. */
void state_fault(struct vm *vm, const char *kind)
{
	struct broker *b = vm->broker;
	cleanup_err struct vgpu_err *e = NULL;

	if (!b->db)
		return;
	sqlite3_exec(b->db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL);
	e = run(b, "INSERT INTO faults (at_ms, vm, kind) VALUES (?, ?, ?)", "iss", (int64_t)wall_ms(), vm->set.name, kind);
	if (!e)
		e = run(b, "DELETE FROM faults WHERE number <= (SELECT max(number) FROM faults) - " ROWS_KEPT, "");
	if (!e && vm->quarantined)
		e = run(b, "UPDATE vms SET quarantined = 1 WHERE id = ?", "i", (int64_t)vm->set.id);
	sqlite3_exec(b->db, "PRAGMA synchronous=FULL", NULL, NULL, NULL);
	trouble(b, e);
	state_copy(b);
}

static struct vgpu_err *audit(struct broker *b, const struct change *c)
{
	struct vgpu_err *e = run(b, "INSERT INTO audit (at_ms, uid, pid, command, object, change) VALUES (?, ?, ?, ?, ?, ?)",
				 "iiisss", (int64_t)wall_ms(), (int64_t)c->who->uid, (int64_t)c->who->pid, c->command,
				 c->object, c->text);

	return e ? e : run(b, "DELETE FROM audit WHERE number <= (SELECT max(number) FROM audit) - " ROWS_KEPT, "");
}

struct vgpu_err *state_record(struct broker *b, const struct change *c)
{
	struct vgpu_err *e = run(b, "BEGIN IMMEDIATE", "");

	if (!e && c->drop)
		e = run(b, "DELETE FROM vms WHERE id = ?", "i", (int64_t)c->drop);
	if (!e && c->drop_device)
		e = run(b, "DELETE FROM devices WHERE name = ?", "s", c->drop_device);
	if (!e && c->drop_pool)
		e = run(b, "UPDATE devices SET pool = '" POOL_DEFAULT "' WHERE pool = ?", "s", c->drop_pool);
	if (!e && c->drop_pool)
		e = run(b, "DELETE FROM pools WHERE name = ?", "s", c->drop_pool);
	if (!e && c->pool)
		e = put_pool(b, c->pool);
	if (!e && c->device)
		e = put_device(b, c->device);
	if (!e && c->vm)
		e = put_vm(b, c->vm);
	if (!e && c->forget_faults)
		e = run(b, "DELETE FROM faults WHERE vm = ?", "s", c->object);
	if (!e)
		e = audit(b, c);
	if (!e)
		e = run(b, "COMMIT", "");
	if (e && b->db && !sqlite3_get_autocommit(b->db))
		sqlite3_exec(b->db, "ROLLBACK", NULL, NULL, NULL);
	trouble(b, e);
	return e;
}

/* ---- views ---- */

struct vgpu_err *state_rows(struct broker *b, const char *sql, const char *const *keys, const char *arg, json_t **out)
{
	sqlite3_stmt *st;
	int rc;

	if (!b->db || sqlite3_prepare_v2(b->db, sql, -1, &st, NULL))
		return b->db ? db_err(b, "reading") : run(b, "", "");
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
	return db_err(b, "reading");
}
