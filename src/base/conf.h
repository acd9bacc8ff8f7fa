/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration text: "key = value" lines, '#' comments, blank lines. Every key is in a table, at most
 * once per text. Errors name file, line, key and reason.
 */
#ifndef VGPU_BASE_CONF_H
#define VGPU_BASE_CONF_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "base/err.h"

enum conf_kind {
	CONF_TEXT,     /* char[len] */
	CONF_SIZE,     /* uint64_t bytes within [min, max] */
	CONF_DURATION, /* uint64_t ns within [min, max] */
	CONF_NUMBER,   /* uint64_t within [min, max] */
	CONF_CHOICE,   /* unsigned, index into choices[] */
	CONF_RANGE,    /* uint64_t[2], "first-last" within [min, max] */
};

struct conf_key {
	const char *name;
	enum conf_kind kind;
	size_t offset; /* in the caller's struct */
	size_t len;    /* CONF_TEXT: room incl. NUL */
	uint64_t min, max;
	const char *const *choices; /* NULL-terminated */
};

/* keys: ends with name NULL. Fields not named keep their value. */
struct vgpu_err *conf_parse(const char *file, const char *text, const struct conf_key *keys, void *out);
/* One assignment from elsewhere, such as "-o key=value"; where: what to call it in errors. */
struct vgpu_err *conf_set(const char *where, const char *assignment, const struct conf_key *keys, void *out);
/* The keys with their values, as text that conf_parse() turns into the same again; what is empty is left out. */
int conf_print(FILE *out, const struct conf_key *keys, const void *values);
/* A whole file, at most 64 KiB, as a string the caller frees. */
struct vgpu_err *conf_read(const char *path, char **text);
#endif
