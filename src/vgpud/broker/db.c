/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/broker/db.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Another process that writes to the file is a mistake, but one that may be about to end. Guests wait meanwhile. */
#define BUSY_START_MS 2000
#define BUSY_MS 20
#define ASIDE_MAX 9u

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

/* ERROR, a table or a column that is not there: what we ask is otherwise right. */
static enum db_fault fault_of(int rc)
{
	return rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB || rc == SQLITE_ERROR ? DB_DAMAGED : DB_UNUSABLE;
}

struct vgpu_err *db_error(struct broker *b, const char *what)
{
	int sys = b->db ? sqlite3_system_errno(b->db) : 0;

	b->db_fault = fault_of(b->db ? sqlite3_errcode(b->db) : SQLITE_NOMEM);
	return err_new("state-dir %s: state.db: %s: %s%s%s", b->cfg.state_dir, what, b->db ? sqlite3_errmsg(b->db) : "out of memory",
		       sys ? ": " : "", sys ? strerror(sys) : "");
}

static struct vgpu_err *fault(struct broker *b, enum db_fault f, const char *what)
{
	b->db_fault = f;
	return err_new("state-dir %s: state.db: %s", b->cfg.state_dir, what);
}

struct vgpu_err *db_run(struct broker *b, const char *sql, const char *types, ...)
{
	struct vgpu_err *e = NULL;
	sqlite3_stmt *st;
	va_list ap;

	if (!b->db)
		return err_new("nothing can be changed now, sharing goes on from memory: %.350s", b->state_trouble);
	if (sqlite3_prepare_v2(b->db, sql, -1, &st, NULL))
		return db_error(b, "writing");
	va_start(ap, types);
	for (int i = 0; types[i]; i++)
		if (types[i] == 'i')
			sqlite3_bind_int64(st, i + 1, va_arg(ap, int64_t));
		else
			sqlite3_bind_text(st, i + 1, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
	va_end(ap);
	if (sqlite3_step(st) != SQLITE_DONE)
		e = db_error(b, "writing");
	sqlite3_finalize(st);
	return e;
}

/* The one number a query gives; -1: it cannot be read. */
static int number(struct broker *b, const char *sql)
{
	sqlite3_stmt *st;
	int v = -1;

	if (sqlite3_prepare_v2(b->db, sql, -1, &st, NULL))
		return -1;
	if (sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	return v;
}

static struct vgpu_err *migrate(struct broker *b, int from)
{
	char set[64];

	for (int v = from; v < SCHEMA_VERSION; v++) {
		snprintf(set, sizeof(set), "PRAGMA user_version=%d; COMMIT", v + 1);
		if (sqlite3_exec(b->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) ||
		    sqlite3_exec(b->db, migrations[v], NULL, NULL, NULL) ||
		    sqlite3_exec(b->db, set, NULL, NULL, NULL))
			return db_error(b, "bringing it up to date");
	}
	return NULL;
}

#define REMOVED "although VMs are registered: it was removed or replaced"

/* A file of another's is not changed, not even its journal's kind. */
static struct vgpu_err *look(struct broker *b, bool known, int *version)
{
	int objects = number(b, "SELECT count(*) FROM sqlite_schema");
	char text[100];

	*version = objects < 0 ? -1 : number(b, "PRAGMA user_version");
	snprintf(text, sizeof(text), "it has version %d, this vgpud knows %d: a newer vgpud made it", *version, SCHEMA_VERSION);
	if (*version < 0)
		return db_error(b, "reading its version");
	if (*version > SCHEMA_VERSION)
		return fault(b, DB_NEWER, text);
	if (*version == 0 && objects)
		return fault(b, DB_DAMAGED, "a database, but not one of vgpud's");
	if (*version == 0 && known)
		return fault(b, DB_MISSING, "empty, " REMOVED);
	if (sqlite3_db_readonly(b->db, "main") == 1)
		return fault(b, DB_UNUSABLE, "it may be read, but not written");
	return NULL;
}

static void path_of(const struct broker *b, const char *name, char *path, size_t n)
{
	snprintf(path, n, "%s/%s", b->cfg.state_dir, name);
}

static bool there(const struct broker *b)
{
	char path[300];

	path_of(b, "state.db", path, sizeof(path));
	return !access(path, F_OK) || errno != ENOENT;
}

/* Two brokers that each think they know what state.db holds would undo each other's changes. The directory itself is
 * locked: nothing has to be written for that. */
static struct vgpu_err *lock(struct broker *b)
{
	int fd, sys;

	if (b->state_lock >= 0)
		return NULL;
	b->db_fault = DB_UNUSABLE;
	fd = open(b->cfg.state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(errno, "state-dir %s: state.db: opening its directory", b->cfg.state_dir);
	if (!flock(fd, LOCK_EX | LOCK_NB)) {
		b->state_lock = fd;
		return NULL;
	}
	sys = errno;
	close(fd);
	return sys == EWOULDBLOCK ? err_new("state-dir %s: another vgpud uses its state.db", b->cfg.state_dir)
				  : err_sys(sys, "state-dir %s: locking it", b->cfg.state_dir);
}

static struct vgpu_err *open_as(struct broker *b, bool known, const char *how)
{
	struct vgpu_err *e = NULL;
	char path[300];
	int version = 0;

	path_of(b, "state.db", path, sizeof(path));
	if (sqlite3_open_v2(path, &b->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL))
		e = db_error(b, "opening");
	sqlite3_busy_timeout(b->db, b->ready ? BUSY_MS : BUSY_START_MS);
	if (!e && sqlite3_exec(b->db, how, NULL, NULL, NULL))
		e = db_error(b, "opening");
	if (!e)
		e = look(b, known, &version);
	if (!e && sqlite3_exec(b->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;", NULL, NULL, NULL))
		e = db_error(b, "opening");
	if (!e)
		e = migrate(b, version);
	if (e) {
		db_leave(b);
		return e;
	}
	b->db_fault = DB_WELL;
	sqlite3_busy_timeout(b->db, BUSY_MS);
	return NULL;
}

/* A full disk may have no room for the journal's index, which lies in a file for other readers' sake: what is stored can
 * be read all the same, with the index in our memory. */
struct vgpu_err *db_open(struct broker *b, bool known)
{
	struct vgpu_err *e = lock(b), *again;

	if (e)
		return e;
	if (known && !there(b))
		return fault(b, DB_MISSING, "not there, " REMOVED);
	e = open_as(b, known, "");
	if (!e || b->db_fault != DB_UNUSABLE)
		return e;
	again = open_as(b, known, "PRAGMA locking_mode=EXCLUSIVE");
	if (!again || b->db_fault != DB_UNUSABLE) {
		free(e);
		return again;
	}
	free(again);
	return e;
}

struct vgpu_err *db_check(struct broker *b)
{
	struct vgpu_err *e = NULL;
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(b->db, "PRAGMA quick_check(1)", -1, &st, NULL))
		e = db_error(b, "checking");
	else if (sqlite3_step(st) != SQLITE_ROW)
		e = db_error(b, "checking");
	else if (strcmp((const char *)sqlite3_column_text(st, 0), "ok"))
		e = fault(b, DB_DAMAGED, (const char *)sqlite3_column_text(st, 0));
	sqlite3_finalize(st);
	if (e)
		db_leave(b);
	return e;
}

void db_leave(struct broker *b)
{
	if (b->db)
		sqlite3_db_config(b->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sqlite3_close(b->db); /* ends a transaction, too */
	b->db = NULL;
}

/* The journal goes with its file: SQLite finds it by its name. */
struct vgpu_err *db_put_aside(struct broker *b, char *name, size_t n)
{
	static const char *const parts[] = {"", "-wal", "-shm"};
	char from[300], to[300];

	for (unsigned i = 1; i <= ASIDE_MAX; i++) {
		snprintf(name, n, "state.db.aside-%u", i);
		snprintf(to, sizeof(to), "%s/%s", b->cfg.state_dir, name);
		if (!access(to, F_OK))
			continue;
		for (unsigned k = 0; k < 3; k++) {
			snprintf(from, sizeof(from), "%s/state.db%s", b->cfg.state_dir, parts[k]);
			snprintf(to, sizeof(to), "%s/%s%s", b->cfg.state_dir, name, parts[k]);
			if (rename(from, to) && errno != ENOENT)
				return err_sys(errno, "state-dir %s: renaming state.db%s to %s", b->cfg.state_dir, parts[k], name);
		}
		return NULL;
	}
	return err_new("state-dir %s: state.db.aside-1 to -%u are there already: remove what is not needed", b->cfg.state_dir,
		       ASIDE_MAX);
}

enum db_fault db_moved(const struct broker *b)
{
	int moved = 0;
	char path[300];
	struct stat st;

	if (!b->db || sqlite3_file_control(b->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) || !moved)
		return DB_WELL;
	path_of(b, "state.db", path, sizeof(path));
	if (!stat(path, &st))
		return DB_DAMAGED;
	return errno == ENOENT ? DB_MISSING : DB_UNUSABLE;
}
