/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one keeper leaves to the next at an upgrade, as text: a line per thing, "conn id=3 vm=0 ...". The two may be of
 * different versions, so nothing in it depends on how a struct lies in memory, and descriptors are numbers that stay
 * open across execve().
 *
 * The reader refuses what it does not know, so that nothing is lost silently; what an older keeper did not write keeps
 * its initial value. A field that has to survive is a row of a table in handover.c.
 */
#ifndef VGPUD_HANDOVER_H
#define VGPUD_HANDOVER_H
#include "base/buf.h"
#include "base/err.h"
#include "vgpud/keeper/keeper.h"

#define HANDOVER_MAX (64u << 20) /* bytes of text: some 1 KiB per connection */

/* 0 or -errno. */
int handover_write(const struct keeper *k, struct buf *out);
/* Fills lists, numbers and descriptors of a keeper with empty lists, and *old with the configuration in force. Nothing
 * is watched yet and no descriptor is looked at. On an error, handover_forget(). */
struct vgpu_err *handover_read(struct keeper *k, const char *text, struct vgpud_config *old);
/* Frees what handover_read() allocated; closes nothing. */
void handover_forget(struct keeper *k);
/* Calls fn with every descriptor that is handed over; stops at and returns its first result that is not 0. */
int handover_each_fd(struct keeper *k, int (*fn)(int fd));
#endif
