/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel command lines: the one that runs, and those the next boot would use. */
#ifndef DOCTOR_CMDLINE_H
#define DOCTOR_CMDLINE_H

#include "evidence.h"

struct cmd_token {
	char *name;  /* '-' as '_' (the kernel treats them alike) */
	char *value; /* NULL: no '=' */
};

struct cmdline {
	struct cmd_token *token;
	size_t n;
};

/* Splits as the kernel does: blanks, double quotes; "--" ends the kernel's part. Any text is fine. */
void cmdline_parse(struct cmdline *c, const char *text);
void cmdline_free(struct cmdline *c);
/* The last one wins. NULL when absent; its value is "" when there is no '='. name uses '_'. */
const char *cmdline_get(const struct cmdline *c, const char *name);
/* True if any occurrence of name has item in its comma-separated value ("pci", "nomsi"). */
bool cmdline_has_item(const struct cmdline *c, const char *name, const char *item);
/* The value part after "item=" in a comma-separated value, up to the next comma; NULL if none. */
const char *cmdline_item_value(const struct cmdline *c, const char *name, const char *item);

#define PENDING_MAX 32

/* A command line found in boot configuration. */
struct pending {
	const char *kind; /* "grub-default", "bls", "cmdline", "uki", "grub.cfg" */
	const struct ev_item *src;
	struct cmdline cmd;
};

struct boot {
	struct pending p[PENDING_MAX];
	size_t n;
	const struct ev_item *unreadable[PENDING_MAX]; /* sources there but not readable */
	size_t nunreadable;
	const struct ev_item *looked[PENDING_MAX]; /* what was asked for, found or not */
	size_t nlooked;
};

void boot_collect(struct boot *b, struct ev *ev);
void boot_free(struct boot *b);

/* The value of GRUB_CMDLINE_LINUX and _DEFAULT joined, from shell-like assignments; caller frees.
 * NULL when neither is set. */
char *grub_default_cmdline(const char *text);

/* Where a PE image, whose first bytes are p, keeps section name (".cmdline"); false if nowhere.
 * Offset and size are the image's word: check them against the file. */
bool pe_section(const uint8_t *p, size_t len, const char *name, size_t *off, size_t *size);

#endif
