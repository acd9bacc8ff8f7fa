/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel, libvirt and QEMU messages with a known cause. The table (klog_rules) serves
 * `explain-log`, and the checks that take a message as proof. Absence of a message proves nothing:
 * the ring buffer wraps.
 */
#ifndef DOCTOR_KLOG_H
#define DOCTOR_KLOG_H

#include "evidence.h"

#include <regex.h>

struct klog_rule {
	const char *name;   /* how checks ask for it */
	const char *hint;   /* a literal every matching line contains: makes the scan cheap */
	const char *regex;  /* POSIX extended */
	char severity;      /* as struct check's */
	const char *cause, *remedy;
	const char *check; /* id of the check it belongs to, or NULL */
};

extern const struct klog_rule klog_rules[];
extern const size_t klog_nrules;

struct klog_hit {
	const struct klog_rule *rule;
	const struct ev_item *src;
	unsigned line;  /* 1-based */
	char text[240]; /* the message, cut */
	char match[4][96]; /* sub-expressions 1..4 */
};

#define KLOG_MAX 4096 /* hits kept; a flood says no more with more */

struct klog {
	struct klog_hit *hit;
	size_t n;
	bool overflow;
	bool any; /* some kernel log could be read */
	const struct ev_item *source[8]; /* what was asked for */
	size_t nsource;
};

/* Recorded on the host, or given by --log: asked before the kernel's own. */
#define KLOG_GIVEN "/var/lib/vgpu-doctor/kernel.log"

void klog_collect(struct klog *k, struct ev *ev);
/* Scans text (any bytes up to a NUL), dmesg's, syslog's, or the journal's as text or JSON; returns the
 * number of lines. */
unsigned klog_scan(struct klog *k, const struct ev_item *src, const char *text);
void klog_free(struct klog *k);
const struct klog_hit *klog_find(const struct klog *k, const char *name, const struct klog_hit *after);

#endif
