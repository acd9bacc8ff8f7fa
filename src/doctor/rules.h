/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The five operational rules, M1 to M5, for whatever watches a host over time (the doctor itself only
 * looks once and uses M1). Common to all: a sample every 15 s, an evaluation every 60 s; missing data
 * is UNKNOWN, never OK; a rule that fires clears only below its lower threshold, for as long.
 * Times are seconds on any monotonic clock; no allocation beyond what rule_init makes.
 */
#ifndef DOCTOR_RULES_H
#define DOCTOR_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rule_state { RULE_UNKNOWN, RULE_OK, RULE_FIRING };

/* M2 utilisation and M5 memory: a value (0..100 and 0..1) over a window. */
struct rule_level {
	double fire, clear;    /* fires above, clears below */
	double share;	       /* of samples that must be above fire (M2: 0.9), 0: the mean alone */
	int64_t fire_s, clear_s; /* for how long */
	int64_t sample_s;
	int64_t low_since; /* since when it is below clear without a gap; -1: it is not */
	/* ring of samples */
	struct {
		int64_t t;
		double v;
	} *sample;
	size_t cap, head, n;
	enum rule_state state;
};

/* M2: mean over 15 min > 95 and so >= 90 % of samples; clears when that mean stayed < 85 for 15 min. */
bool rule_init_m2(struct rule_level *r);
/* M5: every sample of 10 min > 0.90; clears when every one was < 0.85. */
bool rule_init_m5(struct rule_level *r);
void rule_free(struct rule_level *r);
void rule_sample(struct rule_level *r, int64_t t, double v);
/* UNKNOWN until the window is covered, or when more than a quarter of its samples are missing; a
 * firing rule stays firing while data are missing. */
enum rule_state rule_eval(struct rule_level *r, int64_t now);

/* M3: distinct driver errors in a sliding hour; fires at the 6th, clears at <= 2 for an hour. */
#define M3_EVENTS 64
struct rule_m3 {
	struct {
		int64_t t;
		uint32_t key; /* of device, code and process: same key in the same second is one event */
		uint32_t exe; /* 0: the device's or the driver's own; else whose program it was */
	} event[M3_EVENTS];
	size_t n;
	int64_t low_since; /* when the count last fell to <= 2; -1: it is above */
	enum rule_state state;
};
/* Xids an application causes by itself: m3_application's. */
bool m3_is_application(int xid);
void m3_init(struct rule_m3 *r);
void m3_event(struct rule_m3 *r, int64_t t, uint32_t key);
/* One that counts only if within the hour another program had the same. key: of device and code; exe: of
 * the program or tenant, not 0. */
void m3_application(struct rule_m3 *r, int64_t t, uint32_t key, uint32_t exe);
/* Time during which the log could not be read counts neither as quiet nor as clear. */
enum rule_state m3_eval(struct rule_m3 *r, int64_t now, bool log_readable);
/* Whom to send for. A driver changed within 7 days whose rate is over three times that of the 7 days before
 * is to be rolled back; one device alone is hardware; several are the applications' owners'. */
enum m3_advice { M3_ROLL_BACK, M3_HARDWARE, M3_APPLICATION };
enum m3_advice m3_advise(int64_t since_change_s, double rate_now, double rate_before, unsigned devices);

/* M4: availability 1 - unplanned / (window - planned). window_s: 30 days; age_s: what is known. */
#define M4_TARGET 0.999
#define M4_LEAST  86400
struct rule_m4 {
	int64_t window_s, age_s, planned_s, unplanned_s;
};
/* UNKNOWN with less than a day of history. *budget_s: unplanned seconds still allowed (may be < 0). */
enum rule_state m4_eval(const struct rule_m4 *r, int64_t *budget_s);
/* Burn alert: the share of bad seconds in both windows is at least rate times what the target allows
 * (14.4 over 1 h and 5 min; 6 over 6 h and 30 min). */
bool m4_burns(double bad_long, double bad_short, double rate);

/* M1 from one look: token running or pending, logged, or inferred (ACS-006, -007, -008). */
enum rule_state m1_eval(int token, int logged, int inferred); /* each 1 yes, 0 no, -1 unknown */

#endif
