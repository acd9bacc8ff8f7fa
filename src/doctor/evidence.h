/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Evidence: the only way the doctor learns anything about a host.
 *
 * Every question is (operation, path) and is asked at most once: the answer is an immutable
 * struct ev_item that lives as long as the struct ev and is what checks judge, reports quote and
 * bundles carry. A question that could not be answered has an item too, with the errno.
 *
 * A store is open (below one root directory fd; a path never leaves it, symlinks included: openat2
 * RESOLVE_IN_ROOT) or closed (a bundle: what is not recorded is ENODATA, never "absent").
 * Preloading an item (ev_put) overrides whatever the root holds; bundles and tests are made of that.
 *
 * Not thread safe. Paths are absolute, '/'-separated, as the audited host sees them.
 */
#ifndef DOCTOR_EVIDENCE_H
#define DOCTOR_EVIDENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum ev_op {
	EV_READ,    /* a file's bytes */
	EV_LIST,    /* a directory's names, sorted, each NUL-terminated; "." and ".." left out */
	EV_LINK,    /* a symlink's target text */
	EV_STAT,    /* owner, mode, mtime, size; follows links */
	EV_DERIVED, /* what a collector made of something too large to keep: "initramfs:/boot/…" */
	EV_OPS
};

struct ev_item {
	enum ev_op op;
	int err;       /* 0 or the errno of the question */
	bool cut;      /* data stops before the source did (limit, or shorter than its stat says) */
	bool text;     /* READ, DERIVED: valid text, complete as far as can be told */
	bool redacted; /* a secret was replaced when the bundle was made */
	char *path;
	char *data; /* always followed by a NUL that len does not count */
	size_t len;
	char *line; /* text without its last newline, for one-value files; NULL unless text */
	uint32_t mode, uid, gid;
	int64_t mtime, size;
	struct ev_item *next; /* hash chain */
	struct ev_item *newer; /* order of asking */
};

struct ev;

/* A collector's function for EV_DERIVED: fills item->data/len/err. arg is what ev_derive was given. */
typedef void ev_derive_fn(struct ev *ev, struct ev_item *item, void *arg);

/* Called for each item the first time it is asked for, before anyone sees it; tests inject faults. */
typedef void ev_fault_fn(struct ev_item *item, void *arg);

/* dir: root directory. NULL with errno set when it cannot be opened. */
struct ev *ev_open(const char *dir);
/* A closed store: only what is put in. */
struct ev *ev_closed(void);
void ev_free(struct ev *ev);
bool ev_is_closed(const struct ev *ev);
/* True for the running system's own "/" : device files and NVML may be asked. */
bool ev_is_live(const struct ev *ev);

/* Never NULL. The item's err says whether there is an answer. */
const struct ev_item *ev_get(struct ev *ev, enum ev_op op, const char *path);
const struct ev_item *ev_getf(struct ev *ev, enum ev_op op, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A derived item; fn runs only when nothing is recorded under path (never on a closed store). */
const struct ev_item *ev_derive(struct ev *ev, const char *path, ev_derive_fn *fn, void *arg);
/* Puts an answer; a later one for the same question replaces nothing. data is copied. */
struct ev_item *ev_put(struct ev *ev, enum ev_op op, const char *path, int err, const void *data,
		       size_t len);
void ev_set_fault(struct ev *ev, ev_fault_fn *fn, void *arg);
/* Recomputes text and line after a fault function or a redaction changed data. */
void ev_classify(struct ev_item *item);
/* Replaces an item's bytes with a copy of data. */
void ev_set_data(struct ev_item *item, const void *data, size_t len);

/* A read-only fd below the root for streaming, or -errno; closed stores give -ENODATA. */
int ev_fd(struct ev *ev, const char *path);

/* Items in the order they were asked. */
const struct ev_item *ev_first(const struct ev *ev);
size_t ev_count(const struct ev *ev);

/* The names of a LIST item: for (n = ev_name(it, NULL); n; n = ev_name(it, n)). */
const char *ev_name(const struct ev_item *list, const char *prev);
bool ev_has_name(const struct ev_item *list, const char *name);

/* "Permission denied", "cut short", "not text"… or NULL when the item can be judged as text. */
const char *ev_text_problem(const struct ev_item *item);

extern const char *const ev_op_name[EV_OPS];

#endif
