/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file state.db: opening it, bringing it up to date, putting it aside; what it holds is state.c's. Not usable is one
 * of these, for what helps differs:
 *
 *   UNUSABLE  permission, no space, a directory, a device that fails: it may be there again any time, unchanged
 *   MISSING   there is none, although VMs are registered: it was removed
 *   DAMAGED   no database, or not one of ours: putting it aside helps, never writing to it
 *   NEWER     a newer vgpud's: nobody but that one touches it
 */
#ifndef VGPUD_DB_H
#define VGPUD_DB_H
#include "vgpud/broker/broker.h"
#include <sqlite3.h>

enum db_fault { DB_WELL, DB_UNUSABLE, DB_MISSING, DB_DAMAGED, DB_NEWER };

/* Whatever returns an error leaves in b->db_fault which of the faults it is. */

/* known: VMs are registered, although the file may not say so; else a file that is not there is made. On an error
 * b->db is NULL. */
struct vgpu_err *db_open(struct broker *b, bool known);
/* Is it sound throughout? If not, it is left as it is. */
struct vgpu_err *db_check(struct broker *b);
/* Closes the file as it is: nothing is written back. */
void db_leave(struct broker *b);
/* Renames the file to state.db.aside-1 to -9, in its directory. name[]: which. */
struct vgpu_err *db_put_aside(struct broker *b, char *name, size_t n);
/* DB_WELL, unless the open file is not the one in the directory any more: DAMAGED, another lies in its place, which is put
 * aside; UNUSABLE, it cannot be looked at now. */
enum db_fault db_moved(const struct broker *b);
/* A statement without rows; types: 'i' int64_t, 's' const char *. */
struct vgpu_err *db_run(struct broker *b, const char *sql, const char *types, ...);
/* What the last failed call says. */
struct vgpu_err *db_error(struct broker *b, const char *what);
#endif
