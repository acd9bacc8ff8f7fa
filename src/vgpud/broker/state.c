/* SPDX-License-Identifier: Apache-2.0 */
/* What survives a restart: registered VMs, in SQLite. */
#include "vgpud/broker/broker.h"
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#define SCHEMA_VERSION 1
/* Another process on the same file is a mistake, but one that may be about to end. */
#define BUSY_MS 2000

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS vms ("
	" id INTEGER PRIMARY KEY CHECK (id > 0),"
	" name TEXT NOT NULL UNIQUE,"
	" priority INTEGER NOT NULL CHECK (priority IN (1, 2, 4)),"
	" weight INTEGER NOT NULL CHECK (weight BETWEEN 1 AND 100),"
	" quota INTEGER NOT NULL CHECK (quota > 0),"
	" job_timeout_ns INTEGER NOT NULL, hard_timeout_ns INTEGER NOT NULL,"
	" bar_size INTEGER NOT NULL CHECK (bar_size > 0),"
	" uid INTEGER NOT NULL"
	") STRICT;";

static struct vgpu_err *db_err(struct broker *b, const char *what)
{
	return err_new("state-dir %s: %s: %s", b->cfg.state_dir, what, b->db ? sqlite3_errmsg(b->db) : "out of memory");
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

struct vgpu_err *state_open(struct broker *b)
{
	char path[256], set[64];
	int v;

	snprintf(path, sizeof(path), "%s/state.db", b->cfg.state_dir);
	if (sqlite3_open_v2(path, &b->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL))
		return db_err(b, "opening state.db");
	sqlite3_busy_timeout(b->db, BUSY_MS);
	if (sqlite3_exec(b->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;", NULL, NULL, NULL))
		return db_err(b, "state.db");
	v = db_version(b);
	if (v != 0 && v != SCHEMA_VERSION)
		return err_new("state-dir %s: state.db has version %d, this vgpud knows %d", b->cfg.state_dir, v,
			       SCHEMA_VERSION);
	snprintf(set, sizeof(set), "PRAGMA user_version=%d", SCHEMA_VERSION);
	if (sqlite3_exec(b->db, schema, NULL, NULL, NULL) || sqlite3_exec(b->db, set, NULL, NULL, NULL))
		return db_err(b, "creating its tables");
	return NULL;
}

static struct vgpu_err *load_row(struct broker *b, sqlite3_stmt *st)
{
	struct vm_settings s = {
		.id = (uint32_t)sqlite3_column_int64(st, 0),
		.priority = (uint32_t)sqlite3_column_int(st, 2),
		.weight = (uint32_t)sqlite3_column_int(st, 3),
		.quota = (uint64_t)sqlite3_column_int64(st, 4),
		.job_timeout_ns = (uint64_t)sqlite3_column_int64(st, 5),
		.hard_timeout_ns = (uint64_t)sqlite3_column_int64(st, 6),
		.bar_size = (uint64_t)sqlite3_column_int64(st, 7),
		.uid = (uint32_t)sqlite3_column_int64(st, 8),
	};
	struct vm *vm;

	snprintf(s.name, sizeof(s.name), "%s", (const char *)sqlite3_column_text(st, 1));
	return vm_add(b, &s, &vm);
}

struct vgpu_err *state_load(struct broker *b)
{
	struct vgpu_err *e = NULL;
	sqlite3_stmt *st;
	int rc;

	if (sqlite3_prepare_v2(b->db, "SELECT id, name, priority, weight, quota, job_timeout_ns, hard_timeout_ns, "
				      "bar_size, uid FROM vms ORDER BY id", -1, &st, NULL))
		return db_err(b, "reading");
	while (!e && (rc = sqlite3_step(st)) == SQLITE_ROW)
		e = load_row(b, st);
	if (!e && rc != SQLITE_DONE)
		e = db_err(b, "reading");
	sqlite3_finalize(st);
	return e;
}

struct vgpu_err *state_put(struct broker *b, const struct vm_settings *s)
{
	const int64_t values[] = {s->priority, s->weight, (int64_t)s->quota, (int64_t)s->job_timeout_ns,
				  (int64_t)s->hard_timeout_ns, (int64_t)s->bar_size, s->uid};
	struct vgpu_err *e = NULL;
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(b->db, "INSERT OR REPLACE INTO vms VALUES (?,?,?,?,?,?,?,?,?)", -1, &st, NULL))
		return db_err(b, "writing");
	sqlite3_bind_int64(st, 1, s->id);
	sqlite3_bind_text(st, 2, s->name, -1, SQLITE_STATIC);
	for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		sqlite3_bind_int64(st, 3 + (int)i, values[i]);
	if (sqlite3_step(st) != SQLITE_DONE)
		e = db_err(b, "writing");
	sqlite3_finalize(st);
	return e;
}

struct vgpu_err *state_delete(struct broker *b, uint32_t id)
{
	struct vgpu_err *e = NULL;
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(b->db, "DELETE FROM vms WHERE id = ?", -1, &st, NULL))
		return db_err(b, "writing");
	sqlite3_bind_int64(st, 1, id);
	if (sqlite3_step(st) != SQLITE_DONE)
		e = db_err(b, "writing");
	sqlite3_finalize(st);
	return e;
}
