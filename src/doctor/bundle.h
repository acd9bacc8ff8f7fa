/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bundle: the evidence of one audit in a zstd-compressed tar archive that any tar can list.
 *
 *   manifest.json   every question asked, in order, with its answer or error, and what was redacted
 *   root/PATH       the bytes of a file that was read
 *   more/N          the same where PATH does not fit a tar header
 *
 * The reader believes nothing: plain files only, names only as above, each named once by the
 * manifest, bounded in number and size. It writes nothing to disk.
 */
#ifndef DOCTOR_BUNDLE_H
#define DOCTOR_BUNDLE_H

#include "evidence.h"

#define BUNDLE_BYTES   (256u << 20) /* unpacked */
#define BUNDLE_ENTRIES 100000u

/* Writes everything ev was asked to fd. Redacts unless told otherwise. NULL, or what went wrong. */
const char *bundle_write(struct ev *ev, int fd, const char *host_name);
/* A closed store from a bundle; NULL with *problem set. */
struct ev *bundle_read(int fd, const char **problem);

#endif
