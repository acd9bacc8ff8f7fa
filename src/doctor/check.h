/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks, results and the audit that turns the first into the second.
 *
 * A check is a row of data plus a function; the function looks at the host through the aud_*
 * accessors, which note what it looked at, and emits one result per subject. The engine, not the
 * check, guarantees the rule the whole tool stands on: a result built on evidence that could not be
 * read is UNKNOWN unless it is a finding (a finding proves itself).
 */
#ifndef DOCTOR_CHECK_H
#define DOCTOR_CHECK_H

#include "evidence.h"

#include <jansson.h>

enum mode { MODE_PASSTHROUGH, MODE_MIG, MODE_VGPU, MODE_SHARE, MODE_BARE, MODES };
extern const char *const mode_name[MODES];

enum status {
	ST_PASS,
	ST_FAIL,
	ST_WARN,
	ST_INFO,
	ST_NA,
	ST_UNKNOWN,
	ST_SKIPPED,
	ST_ERROR,
	STATUSES,
	ST_BAD /* a finding whose FAIL, WARN or INFO follows from its severity; only given to emit */
};
extern const char *const status_name[STATUSES];

/* Exit status of the program by precedence: fail 2 > unknown, error 3 > warn 1 > ok 0. */
int status_exit(const size_t count[STATUSES]);

struct audit;

struct check {
	const char *id;  /* stable for ever: reports, waivers and tickets name it */
	const char *row; /* of the host-check catalogue */
	const char *title;
	/* One letter per mode in enum order (passthrough, mig, vgpu, share, bare):
	 * C critical, H high, M medium, L low, I info, - does not matter there. */
	const char *severity;
	uint8_t impact, likelihood; /* 1..5 each, for the risk matrix */
	void (*run)(struct audit *a);
	const char *rationale;
	const char *evidence; /* what is looked at, for explain */
	const char *remedy;
	const char *refs;
	/* What it can come to where it matters, a letter each: pass, fail, warn, info, not applicable,
	 * unknown, skipped. (Skipped by --only and --skip, and not applicable in a mode, any check can be.) */
	const char *results;
};

/* Whether the check may come to this result. */
bool check_declares(const struct check *c, enum status st);

/* A group shares controls; its name is the id's prefix. */
struct check_group {
	const char *prefix, *title;
	const struct check *check;
	size_t n;
	const char *nist, *pci, *hipaa, *iso, *gdpr;
};
extern const struct check_group *const check_groups[];
extern const size_t check_ngroups;

const struct check *check_find(const char *id);
const struct check_group *check_group_of(const struct check *c);
size_t check_count(void);

struct ref {
	const struct ev_item *item;
	const char *problem; /* why it could not be used; NULL when it could */
	char excerpt[160];
};

struct result {
	const struct check *check;
	enum status status;
	char severity; /* C H M L I, or - when not applicable */
	char *subject, *message;
	struct ref *ref;
	size_t nref;
	char *waived_by; /* owner and reason; NULL: not waived */
};

struct host;

#define AUD_REFS 64

struct audit {
	struct ev *ev;
	struct host *host;
	enum mode mode;
	bool mode_given;
	const char *mode_reason;
	int64_t now; /* seconds since 1970, for what expires */
	struct result *result;
	size_t nresult;
	size_t count[STATUSES];
	/* of the check that runs */
	const struct check *cur;
	struct ref ref[AUD_REFS];
	size_t nref, ncommon;
	bool emitted;
};

/* skip and only: comma-separated ids or prefixes ("IOMMU", "PCI-003"), NULL for none. */
void audit_run(struct audit *a, const char *only, const char *skip);
void audit_free(struct audit *a);
void audit_recount(struct audit *a);

/* ---- for check functions ---- */

/* Ends the current subject: one result. Notes evidence since the last emit (or aud_common). */
void emit(struct audit *a, enum status st, const char *subject, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* A finding of another severity than the check's own. */
void emit_sev(struct audit *a, char severity, const char *subject, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* What was noted so far belongs to every following subject of this check. */
void aud_common(struct audit *a);

enum got { GOT_ABSENT, GOT_VALUE, GOT_NOTHING }; /* GOT_NOTHING: unreadable, noted as such */

/* Notes an item. problem NULL: usable. */
void aud_note(struct audit *a, const struct ev_item *it, const char *problem);
void aud_quote(struct audit *a, const struct ev_item *it, const char *excerpt);
/* A one-line text file. *out is valid as long as the evidence. */
enum got aud_line(struct audit *a, const char **out, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
enum got aud_long(struct audit *a, long long *out, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A text file of any number of lines. */
enum got aud_text(struct audit *a, const struct ev_item **out, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A directory's names; absent is GOT_ABSENT. */
enum got aud_list(struct audit *a, const struct ev_item **out, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A directory without which nothing below it can be called absent: its lack is unknown. */
bool aud_anchor(struct audit *a, const char *dir);
/* True when something noted for the current subject could not be read. */
bool aud_hidden(const struct audit *a);
/* 1 loaded or built in, 0 not, -1 cannot be told (noted). */
int aud_module(struct audit *a, const char *name);
/* A module parameter; the module not being loaded is GOT_ABSENT. */
enum got aud_param(struct audit *a, const char **out, const char *module, const char *param);
/* True when s is a kernel boolean's "on": Y, y, 1. */
bool is_on(const char *s);

#endif
