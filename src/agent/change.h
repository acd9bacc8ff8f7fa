/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes, the only questions that go to vgpud when they are asked. One thread asks them, one at a time; the request
 * is suspended meanwhile, so that a vgpud which hangs holds none of the threads that answer.
 *
 * States:  queued -> asked -> ended      an answer, a refusal, or no answer in time
 *          queued -> ended               its time was over before its turn
 *          (none)                        the queue is full: change_new() gives none
 */
#ifndef VGPU_AGENT_CHANGE_H
#define VGPU_AGENT_CHANGE_H
#include <jansson.h>
#include "agent/agent.h"

enum change_kind { CHANGE_CREATE, CHANGE_DESTROY };
struct change;

int change_start(const struct agent *a);
/* What is queued ends as refused, and every suspended request goes on. After it change_new() gives none. */
void change_stop(void);
/* Takes the query; suspends the request: it is called again once change_ended(). NULL: as many wait as may, or no memory. */
struct change *change_new(struct MHD_Connection *c, enum change_kind kind, json_t *query);
/* HTTP's status, with what to say in *answer: a new reference. 0: it has not ended. */
unsigned change_ended(struct change *ch, json_t **answer);
/* The VM's, as it was asked for. */
const char *change_name(const struct change *ch);
/* Once it ended, or NULL. */
void change_free(struct change *ch);
#endif
