/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is made of a client's text, and of the token file's: no I/O, so that a fuzz target holds all of it
 * (fuzz/agent.c). A route's path that ends with '/' is followed by a name without one.
 */
#ifndef VGPU_AGENT_REQUEST_H
#define VGPU_AGENT_REQUEST_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

#define AGENT_TOKEN_MIN 16u /* characters */

struct request_path {
	const char *method, *path;
};

/* routes: an array of anything that begins with a struct request_path, up to a method NULL; stride: the size of one.
 * The number of the route, or -1. *rest: the name that follows. *known: some method has this path. HEAD is
 * answered as GET. */
int request_route(const void *routes, size_t stride, const char *method, const char *url, const char **rest, bool *known);
/* Resolves %41 in place; %00 and what is no number stays as it is, so that no text ends before its end. The length. */
size_t request_unescape(char *s);
/* "GET, HEAD, POST": the methods of this path, empty if there is none. */
void request_allow(const void *routes, size_t stride, const char *url, char *out, size_t n);
/* A Host header, or NULL: does it name this machine by address, as localhost, or by one of names (up to NULL)? Any other
 * name may be somebody else's who had it resolve to an address here, to make a browser ask us. */
bool request_host(const char *host, const char *const *names);
/* A Content-Type header, or NULL: is it application/json? */
bool request_json(const char *content_type);
/* An Authorization header, or NULL: does it carry the token? In a time that does not tell how much of it is right. */
bool request_token(const char *authorization, const char *token);
/* The body of an assignment as register-vm's query. */
struct vgpu_err *request_assignment(const char *body, size_t len, json_t **query);
/* Last-Event-ID, "EPOCH-N", or NULL. False: anything else, *epoch and *number are 0. */
bool request_after(const char *last_event_id, uint64_t *epoch, uint64_t *number);
/* A token file's text: cut to its one line. path: for errors. */
struct vgpu_err *request_token_file(char *text, const char *path);
#endif
