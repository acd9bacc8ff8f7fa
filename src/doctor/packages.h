/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Installed packages, from dpkg, rpm (SQLite and ndb) or pacman, and whether the driver's files are
 * still those of their packages. The databases are large: evidence is the digest of what matters.
 */
#ifndef DOCTOR_PACKAGES_H
#define DOCTOR_PACKAGES_H

#include "check.h"

/* A package's version; several names: the first that is installed. Ends with NULL. */
enum got package_version(struct audit *a, char *out, size_t size, const char *name, ...) __attribute__((sentinel));

/* Of the driver's files (modules, libnvidia-ml, libcuda): "FILES n" and a line "WRONG path" or "GONE path"
 * for each that is not as its package installed it. Reads them all: some 100 MB. */
const struct ev_item *packages_verify(struct ev *ev);

#endif
