/* SPDX-License-Identifier: Apache-2.0 */
#include "rpmdb.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* rpm's own bound for a header. */
#define HEADER_MAX (256u << 20)
#define BLOB_MAX   (32u << 20) /* a kernel package's header has some MiB of file names */

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* ---- header: entries, data length, then entries of {tag, type, offset, count}, then data; big-endian ---- */

enum { TYPE_INT32 = 4, TYPE_STRING = 6, TYPE_STRING_ARRAY = 8, TYPE_I18N = 9 };

bool rpm_header_parse(struct rpm_header *h, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	if (len < 8 || be32(p) > HEADER_MAX / 16 || be32(p + 4) > HEADER_MAX)
		return false;
	h->entries = be32(p);
	h->len = be32(p + 4);
	if (8 + (size_t)h->entries * 16 + h->len > len)
		return false;
	h->index = p + 8;
	h->data = h->index + (size_t)h->entries * 16;
	return true;
}

static const uint8_t *find(const struct rpm_header *h, uint32_t tag)
{
	for (uint32_t i = 0; i < h->entries; i++)
		if (be32(h->index + (size_t)i * 16) == tag)
			return h->index + (size_t)i * 16;
	return NULL;
}

uint32_t rpm_count(const struct rpm_header *h, uint32_t tag)
{
	const uint8_t *e = find(h, tag);

	return e ? be32(e + 12) : 0;
}

const char *rpm_text(const struct rpm_header *h, uint32_t tag, uint32_t i)
{
	const uint8_t *e = find(h, tag);
	uint32_t at, type;

	if (!e || i >= be32(e + 12))
		return NULL;
	type = be32(e + 4);
	if (type != TYPE_STRING && type != TYPE_STRING_ARRAY && type != TYPE_I18N)
		return NULL;
	for (at = be32(e + 8); at < h->len; i--) {
		const uint8_t *end = memchr(h->data + at, 0, h->len - at);

		if (!end)
			return NULL;
		if (!i)
			return (const char *)h->data + at;
		at = (uint32_t)(end - h->data) + 1;
	}
	return NULL;
}

uint32_t rpm_number(const struct rpm_header *h, uint32_t tag, uint32_t i, uint32_t otherwise)
{
	const uint8_t *e = find(h, tag);
	uint64_t at;

	if (!e || be32(e + 4) != TYPE_INT32 || i >= be32(e + 12))
		return otherwise;
	at = (uint64_t)be32(e + 8) + (uint64_t)i * 4;
	return at + 4 <= h->len ? be32(h->data + at) : otherwise;
}

/* ---- rpmdb.sqlite ---- */

/* SQLite opens files by name; this one file is an open descriptor, which nothing may write or lock. */
struct one_file {
	sqlite3_file base;
	int fd;
};

static int file_fd(sqlite3_file *f)
{
	return ((struct one_file *)f)->fd;
}

static int vfs_close(sqlite3_file *f)
{
	(void)f;
	return SQLITE_OK;
}

static int vfs_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 at)
{
	ssize_t got = pread(file_fd(f), buf, (size_t)n, at);

	if (got < 0)
		return SQLITE_IOERR_READ;
	if (got < n)
		memset((char *)buf + got, 0, (size_t)(n - got));
	/* Bytes 18 and 19 say that a write-ahead log belongs to the file. None is read: rpm leaves an empty one. */
	for (sqlite3_int64 i = 18; i <= 19; i++)
		if (at <= i && i < at + got && ((uint8_t *)buf)[i - at] == 2)
			((uint8_t *)buf)[i - at] = 1;
	return got < n ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

static int vfs_write(sqlite3_file *f, const void *buf, int n, sqlite3_int64 at)
{
	(void)f, (void)buf, (void)n, (void)at;
	return SQLITE_READONLY;
}

static int vfs_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	(void)f, (void)size;
	return SQLITE_READONLY;
}

static int vfs_size(sqlite3_file *f, sqlite3_int64 *size)
{
	struct stat st;

	if (fstat(file_fd(f), &st))
		return SQLITE_IOERR_FSTAT;
	*size = st.st_size;
	return SQLITE_OK;
}

static int vfs_int(sqlite3_file *f, int n)
{
	(void)f, (void)n;
	return SQLITE_OK;
}

static int vfs_reserved(sqlite3_file *f, int *out)
{
	(void)f;
	*out = 0;
	return SQLITE_OK;
}

static int vfs_control(sqlite3_file *f, int op, void *arg)
{
	(void)f, (void)op, (void)arg;
	return SQLITE_NOTFOUND;
}

static int vfs_sector(sqlite3_file *f)
{
	(void)f;
	return 4096;
}

static int vfs_traits(sqlite3_file *f)
{
	(void)f;
	return SQLITE_IOCAP_IMMUTABLE;
}

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
	static const sqlite3_io_methods methods = {
		.iVersion = 1, .xClose = vfs_close, .xRead = vfs_read, .xWrite = vfs_write, .xTruncate = vfs_truncate,
		.xSync = vfs_int, .xFileSize = vfs_size, .xLock = vfs_int, .xUnlock = vfs_int, .xCheckReservedLock = vfs_reserved,
		.xFileControl = vfs_control, .xSectorSize = vfs_sector, .xDeviceCharacteristics = vfs_traits};

	(void)vfs;
	f->pMethods = NULL;
	if (!name || strncmp(name, "fd:", 3) || !(flags & SQLITE_OPEN_MAIN_DB))
		return SQLITE_CANTOPEN;
	((struct one_file *)f)->fd = atoi(name + 3);
	f->pMethods = &methods;
	if (out)
		*out = flags;
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
	(void)vfs, (void)name, (void)sync;
	return SQLITE_READONLY;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	(void)vfs, (void)name, (void)flags;
	*out = 0;
	return SQLITE_OK;
}

static int vfs_fullname(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
	(void)vfs;
	snprintf(out, (size_t)size, "%s", name);
	return SQLITE_OK;
}

static sqlite3_vfs *descriptor_vfs(void)
{
	static sqlite3_vfs vfs = {.iVersion = 1, .szOsFile = sizeof(struct one_file), .mxPathname = 64, .zName = "doctor-fd",
				  .xOpen = vfs_open, .xDelete = vfs_delete, .xAccess = vfs_access, .xFullPathname = vfs_fullname};
	sqlite3_vfs *real = sqlite3_vfs_find(NULL);

	if (!real)
		return NULL;
	vfs.xRandomness = real->xRandomness;
	vfs.xSleep = real->xSleep;
	vfs.xCurrentTime = real->xCurrentTime;
	return sqlite3_vfs_register(&vfs, 0) == SQLITE_OK ? &vfs : NULL;
}

/* A hostile database could make a query run for ever: it gets this many of 1000 steps. */
#define STEPS_MAX 20000

static int too_long(void *left)
{
	return --*(int *)left < 0;
}

static int each_name(sqlite3 *db, rpm_wanted *wanted, rpm_take *take, void *arg)
{
	sqlite3_stmt *names = NULL, *one = NULL;
	int rc = sqlite3_prepare_v2(db, "SELECT key, hnum FROM Name", -1, &names, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(db, "SELECT blob FROM Packages WHERE hnum = ?", -1, &one, NULL);
	while (rc == SQLITE_OK && (rc = sqlite3_step(names)) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(names, 0);
		struct rpm_header h;

		rc = SQLITE_OK;
		if (!name || !wanted(name, arg))
			continue;
		sqlite3_bind_int64(one, 1, sqlite3_column_int64(names, 1));
		if (sqlite3_step(one) == SQLITE_ROW && rpm_header_parse(&h, sqlite3_column_blob(one, 0), (size_t)sqlite3_column_bytes(one, 0)))
			take(&h, arg);
		else
			rc = SQLITE_CORRUPT;
		sqlite3_reset(one);
	}
	sqlite3_finalize(one);
	sqlite3_finalize(names);
	return rc == SQLITE_DONE ? 0 : EBADMSG;
}

int rpmdb_sqlite(int fd, rpm_wanted *wanted, rpm_take *take, void *arg)
{
	sqlite3 *db = NULL;
	char name[32];
	int err = EBADMSG, left = STEPS_MAX;

	snprintf(name, sizeof(name), "fd:%d", fd);
	if (!descriptor_vfs())
		return ENOSYS;
	if (sqlite3_open_v2(name, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, "doctor-fd") == SQLITE_OK) {
		sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
		sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
		sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
		sqlite3_limit(db, SQLITE_LIMIT_LENGTH, BLOB_MAX);
		sqlite3_progress_handler(db, 1000, too_long, &left);
		err = each_name(db, wanted, take, arg);
	}
	sqlite3_close(db);
	return err;
}

/* ---- Packages.db: a page of slots {"Slot", package, block, blocks}, blocks of 16 bytes; little-endian ---- */

#define NDB_MAGIC  0x506d7052u /* "RpmP" */
#define SLOT_MAGIC 0x746f6c53u /* "Slot" */
#define BLOB_MAGIC 0x53626c42u /* "BlbS" */
#define NDB_BLOCK  16u
#define NDB_PAGE   4096u
#define NDB_PAGES  4096u /* of slots: a million packages */

static int ndb_blob(int fd, uint32_t package, uint64_t at, rpm_wanted *wanted, rpm_take *take, void *arg)
{
	uint8_t head[16], *blob;
	struct rpm_header h;
	uint32_t len;
	int err = EBADMSG;

	if (pread(fd, head, sizeof(head), (off_t)at) != sizeof(head) || le32(head) != BLOB_MAGIC || le32(head + 4) != package)
		return EBADMSG;
	len = le32(head + 12);
	if (len > BLOB_MAX)
		return EBADMSG;
	blob = malloc(len + 1);
	if (!blob)
		return ENOMEM;
	if (pread(fd, blob, len, (off_t)at + 16) == (ssize_t)len && rpm_header_parse(&h, blob, len)) {
		const char *name = rpm_text(&h, RPM_NAME, 0);

		if (name && wanted(name, arg))
			take(&h, arg);
		err = name ? 0 : EBADMSG;
	}
	free(blob);
	return err;
}

int rpmdb_ndb(int fd, rpm_wanted *wanted, rpm_take *take, void *arg)
{
	uint8_t page[NDB_PAGE];
	uint32_t pages = 1;
	int err = 0;

	for (uint32_t p = 0; p < pages && !err; p++) {
		if (pread(fd, page, sizeof(page), (off_t)p * NDB_PAGE) != sizeof(page))
			return EBADMSG;
		if (!p) {
			pages = le32(page + 12);
			if (le32(page) != NDB_MAGIC || !pages || pages > NDB_PAGES)
				return EBADMSG;
		}
		for (uint32_t at = p ? 0 : 32; at < NDB_PAGE && !err; at += 16) {
			if (le32(page + at) != SLOT_MAGIC)
				return EBADMSG;
			if (le32(page + at + 8)) /* block 0: a free slot */
				err = ndb_blob(fd, le32(page + at + 4), (uint64_t)le32(page + at + 8) * NDB_BLOCK, wanted, take, arg);
		}
	}
	return err;
}
