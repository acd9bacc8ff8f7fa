/* SPDX-License-Identifier: Apache-2.0 */
#include "rules.h"

#include <stdlib.h>
#include <string.h>

#define SAMPLE_S 15

static bool init(struct rule_level *r, double fire, double clear, double share, int64_t seconds)
{
	memset(r, 0, sizeof(*r));
	r->fire = fire;
	r->clear = clear;
	r->share = share;
	r->fire_s = r->clear_s = seconds;
	r->sample_s = SAMPLE_S;
	r->low_since = -1;
	r->cap = (size_t)(seconds / SAMPLE_S) + 2;
	r->sample = calloc(r->cap, sizeof(*r->sample));
	return r->sample != NULL;
}

bool rule_init_m2(struct rule_level *r)
{
	return init(r, 95, 85, 0.9, 15 * 60);
}

bool rule_init_m5(struct rule_level *r)
{
	return init(r, 0.90, 0.85, 1, 10 * 60);
}

void rule_free(struct rule_level *r)
{
	free(r->sample);
	r->sample = NULL;
}

void rule_sample(struct rule_level *r, int64_t t, double v)
{
	r->sample[r->head].t = t;
	r->sample[r->head].v = v;
	r->head = (r->head + 1) % r->cap;
	r->n += r->n < r->cap;
}

struct window {
	size_t n, above, below;
	double sum;
};

static struct window look(const struct rule_level *r, int64_t now, int64_t seconds)
{
	struct window w = {0};

	for (size_t i = 0; i < r->n; i++) {
		if (r->sample[i].t <= now - seconds || r->sample[i].t > now)
			continue;
		w.n++;
		w.sum += r->sample[i].v;
		w.above += r->sample[i].v > r->fire;
		w.below += r->sample[i].v < r->clear;
	}
	return w;
}

/* M5 asks for every sample beyond the threshold; M2 for the mean and a share of them. */
static bool fires(const struct rule_level *r, const struct window *w)
{
	return w->sum / (double)w->n > r->fire && (double)w->above >= r->share * (double)w->n;
}

/* M5's window is the time it must be low for; M2's mean is itself over a window, and must stay low. */
static bool clears(struct rule_level *r, const struct window *w, int64_t now)
{
	if (r->share >= 1)
		return w->below == w->n;
	if (w->sum / (double)w->n >= r->clear)
		r->low_since = -1;
	else if (r->low_since < 0)
		r->low_since = now;
	return r->low_since >= 0 && now - r->low_since >= r->clear_s;
}

enum rule_state rule_eval(struct rule_level *r, int64_t now)
{
	struct window w = look(r, now, r->fire_s);
	size_t due = (size_t)(r->fire_s / r->sample_s);

	if (w.n * 4 < due * 3) {
		r->low_since = -1;
		return r->state == RULE_FIRING ? RULE_FIRING : RULE_UNKNOWN;
	}
	if (r->state == RULE_FIRING)
		r->state = clears(r, &w, now) ? RULE_OK : RULE_FIRING;
	else
		r->state = fires(r, &w) ? RULE_FIRING : RULE_OK;
	if (r->state != RULE_FIRING)
		r->low_since = -1;
	return r->state;
}

/* ---- M3 ---- */

#define HOUR	 3600
#define M3_FIRES 6
#define M3_LOW	 2

bool m3_is_application(int xid)
{
	return xid == 13 || xid == 31 || xid == 43 || xid == 45;
}

void m3_init(struct rule_m3 *r)
{
	memset(r, 0, sizeof(*r));
	r->low_since = -1;
}

void m3_application(struct rule_m3 *r, int64_t t, uint32_t key, uint32_t exe)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->event[i].t == t && r->event[i].key == key && r->event[i].exe == exe)
			return;
	if (r->n == M3_EVENTS) /* the oldest falls out: 64 in an hour fire no more than 6 do */
		memmove(r->event, r->event + 1, --r->n * sizeof(*r->event));
	r->event[r->n].t = t;
	r->event[r->n].key = key;
	r->event[r->n++].exe = exe;
}

void m3_event(struct rule_m3 *r, int64_t t, uint32_t key)
{
	m3_application(r, t, key, 0);
}

static bool within(const struct rule_m3 *r, size_t i, int64_t now)
{
	return r->event[i].t > now - HOUR && r->event[i].t <= now;
}

static bool counts(const struct rule_m3 *r, size_t i, int64_t now)
{
	if (!within(r, i, now))
		return false;
	for (size_t k = 0; k < r->n && r->event[i].exe; k++)
		if (within(r, k, now) && r->event[k].key == r->event[i].key && r->event[k].exe && r->event[k].exe != r->event[i].exe)
			return true;
	return !r->event[i].exe;
}

enum rule_state m3_eval(struct rule_m3 *r, int64_t now, bool log_readable)
{
	size_t count = 0;

	for (size_t i = 0; i < r->n; i++)
		count += counts(r, i, now);
	if (count > M3_LOW || !log_readable)
		r->low_since = -1;
	else if (r->low_since < 0)
		r->low_since = now;
	if (count >= M3_FIRES)
		r->state = RULE_FIRING;
	else if (r->state == RULE_FIRING && (r->low_since < 0 || now - r->low_since < HOUR))
		r->state = RULE_FIRING;
	else
		r->state = log_readable ? RULE_OK : RULE_UNKNOWN;
	return r->state;
}

enum m3_advice m3_advise(int64_t since_change_s, double rate_now, double rate_before, unsigned devices)
{
	if (since_change_s <= 7 * 24 * HOUR && rate_now > 3 * rate_before)
		return M3_ROLL_BACK;
	return devices == 1 ? M3_HARDWARE : M3_APPLICATION;
}

/* ---- M4, M1 ---- */

enum rule_state m4_eval(const struct rule_m4 *r, int64_t *budget_s)
{
	int64_t window = r->age_s < r->window_s ? r->age_s : r->window_s; /* a young VM uses its age */
	int64_t due = window - r->planned_s;

	*budget_s = 0;
	if (r->age_s < M4_LEAST || due <= 0)
		return RULE_UNKNOWN;
	/* Whole seconds: 30 days allow 2592 s, which is 43 min 12 s. */
	*budget_s = due / 1000 - r->unplanned_s;
	return (double)r->unplanned_s > (1 - M4_TARGET) * (double)due + 1e-6 ? RULE_FIRING : RULE_OK;
}

bool m4_burns(double bad_long, double bad_short, double rate)
{
	double limit = rate * (1 - M4_TARGET) - 1e-12;

	return bad_long >= limit && bad_short >= limit;
}

enum rule_state m1_eval(int token, int logged, int inferred)
{
	if (token > 0 || logged > 0 || inferred > 0)
		return RULE_FIRING;
	return token < 0 || logged < 0 || inferred < 0 ? RULE_UNKNOWN : RULE_OK;
}
