/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What modprobe would do: the merged modprobe.d directories and the lists of modules to load.
 * Of files with one name the first directory's counts; files without ".conf" are ignored, which
 * is remembered because it surprises people. Module names are kept with '_' for '-'.
 */
#ifndef DOCTOR_MODPROBE_H
#define DOCTOR_MODPROBE_H

#include "evidence.h"

enum mod_verb { MOD_BLACKLIST, MOD_OPTIONS, MOD_INSTALL, MOD_REMOVE, MOD_SOFTDEP, MOD_ALIAS, MOD_LOAD, MOD_VERBS };

struct mod_line {
	enum mod_verb verb;
	char *module; /* for an alias: the module, not the pattern */
	char *rest;   /* options, command, "pre: a b post: c", the alias pattern; never NULL */
	const struct ev_item *src;
	unsigned line;
	bool initramfs; /* from the copy inside the initramfs */
};

#define MOD_SOURCES 256

struct modconf {
	struct mod_line *l;
	size_t n;
	const struct ev_item *source[MOD_SOURCES]; /* every file and directory asked for */
	size_t nsource;
	const struct ev_item *ignored[16]; /* files without .conf that contain directives */
	size_t nignored;
};

void modconf_collect(struct modconf *m, struct ev *ev);
void modconf_free(struct modconf *m);
/* Adds the lines of one file's text. */
void modconf_parse(struct modconf *m, const struct ev_item *src, const char *text, bool initramfs);
/* The first line with this verb and module on disk, NULL if none; after: continue behind it. */
const struct mod_line *modconf_find(const struct modconf *m, enum mod_verb v, const char *module,
				    const struct mod_line *after);
/* Value of key in options text "a=1 b=2"; the length goes to *n. NULL if absent. */
const char *mod_option(const char *options, const char *key, size_t *n);

#endif
