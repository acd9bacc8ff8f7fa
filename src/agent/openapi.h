/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The document of /v1/openapi.json, made of the routes: what each asks for, every status it answers with, and what the
 * bodies are. A test holds the answers to it.
 */
#ifndef VGPU_AGENT_OPENAPI_H
#define VGPU_AGENT_OPENAPI_H
#include <jansson.h>
#include <stdbool.h>
#include "agent/request.h"

struct openapi_path {
	struct request_path at;	     /* a path that ends with / takes a name */
	const char *summary;
	const char *type, *schema;   /* of the answer when all is well; schema: of openapi.c's, NULL: a text */
	unsigned short statuses[8];  /* up to 0; the first when all is well; 401 and 421 go without saying */
	bool open;		     /* without a token, on the loopback */
};

/* paths: stride bytes apart, `count` of them. A new reference, or NULL. */
json_t *openapi_document(const void *paths, size_t stride, size_t count, bool loopback);
#endif
