/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Status files, as operators of clusters gate start-up on: NAME-ready exists while its group (or, for
 * "doctor", the whole audit) has neither failure nor unknown. A stale file is removed.
 */
#ifndef DOCTOR_STATUS_DIR_H
#define DOCTOR_STATUS_DIR_H

#include "check.h"

/* dir: an open directory. 0 or -errno. */
int status_dir_write(int dir, const struct audit *a);

#endif
