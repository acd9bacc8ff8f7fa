/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rpm database, read only: rpmdb.sqlite (Fedora, RHEL 9) through SQLite on the open descriptor,
 * and Packages.db (SUSE's "ndb"). RHEL 8's Berkeley DB is not read.
 */
#ifndef DOCTOR_RPMDB_H
#define DOCTOR_RPMDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One package's header; texts are NUL-terminated inside data. */
struct rpm_header {
	const uint8_t *index, *data;
	uint32_t entries, len; /* of index (16 bytes each) and of data */
};

/* False when the bytes are no header. */
bool rpm_header_parse(struct rpm_header *h, const void *bytes, size_t len);
/* A text, or the i-th of a list of texts; NULL when there is none. */
const char *rpm_text(const struct rpm_header *h, uint32_t tag, uint32_t i);
/* The i-th number, or otherwise. */
uint32_t rpm_number(const struct rpm_header *h, uint32_t tag, uint32_t i, uint32_t otherwise);
/* How many values the tag has. */
uint32_t rpm_count(const struct rpm_header *h, uint32_t tag);

enum { RPM_NAME = 1000, RPM_VERSION = 1001, RPM_RELEASE = 1002, RPM_DIGESTS = 1035, RPM_DIRINDEXES = 1116,
       RPM_BASENAMES = 1117, RPM_DIRNAMES = 1118, RPM_DIGESTALGO = 5011 };
enum { RPM_MD5 = 1, RPM_SHA256 = 8 };

/* wanted decides by name whether a package's header is handed to take. 0, or an errno: EBADMSG for a
 * file that is no such database. The descriptor stays open. */
typedef bool rpm_wanted(const char *name, void *arg);
typedef void rpm_take(const struct rpm_header *h, void *arg);
int rpmdb_sqlite(int fd, rpm_wanted *wanted, rpm_take *take, void *arg);
int rpmdb_ndb(int fd, rpm_wanted *wanted, rpm_take *take, void *arg);

#endif
