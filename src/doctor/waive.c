/* SPDX-License-Identifier: Apache-2.0 */
#include "waive.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <yaml.h>

#define WAIVERS_MAX 1000u
#define DAY	    86400
#define M1_DAYS	    30

static bool bad(struct waivers *ws, const yaml_node_t *at, const char *what)
{
	snprintf(ws->error, sizeof(ws->error), "line %zu: %s", at ? at->start_mark.line + 1 : 1, what);
	return false;
}

static bool take_text(struct waivers *ws, const yaml_node_t *n, char *out, size_t size)
{
	size_t len = n->type == YAML_SCALAR_NODE ? n->data.scalar.length : 0;

	if (!len || len >= size || memchr(n->data.scalar.value, 0, len))
		return bad(ws, n, "a field is empty, too long or no text");
	memcpy(out, n->data.scalar.value, len);
	out[len] = 0;
	return true;
}

/* YYYY-MM-DD → the second after that day. */
static bool take_date(const char *s, int64_t *t)
{
	struct tm tm = {0}, back;
	int used = 0;
	time_t v;

	if (sscanf(s, "%4d-%2d-%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &used) != 3 || s[used])
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	back = tm;
	v = timegm(&back);
	*t = v + DAY;
	return v != -1 && back.tm_mday == tm.tm_mday && back.tm_mon == tm.tm_mon;
}

static bool take_field(struct waivers *ws, struct waiver *w, const char *key, const yaml_node_t *v)
{
	char date[32];
	const struct {
		const char *key;
		char *out;
		size_t size;
	} fields[] = {{"id", w->id, sizeof(w->id)},	       {"subject", w->subject, sizeof(w->subject)},
		      {"reason", w->reason, sizeof(w->reason)}, {"owner", w->owner, sizeof(w->owner)}};

	for (size_t i = 0; i < 4; i++)
		if (!strcmp(key, fields[i].key))
			return take_text(ws, v, fields[i].out, fields[i].size);
	if (strcmp(key, "expires"))
		return bad(ws, v, "unknown field; there are id, subject, reason, owner, expires");
	if (!take_text(ws, v, date, sizeof(date)))
		return false;
	return take_date(date, &w->expires) || bad(ws, v, "expires is a day, written YYYY-MM-DD");
}

static bool is_m1(const char *id)
{
	return !strcasecmp(id, "ACS-006") || !strcasecmp(id, "ACS-007") || !strcasecmp(id, "ACS-008");
}

static bool take_one(struct waivers *ws, yaml_document_t *doc, const yaml_node_t *n, int64_t now)
{
	struct waiver *w = &ws->w[ws->n];

	if (n->type != YAML_MAPPING_NODE)
		return bad(ws, n, "a waiver is a mapping");
	for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
		const yaml_node_t *k = yaml_document_get_node(doc, p->key), *v = yaml_document_get_node(doc, p->value);
		char key[32];

		if (!take_text(ws, k, key, sizeof(key)) || !take_field(ws, w, key, v))
			return false;
	}
	if (!*w->id || !*w->subject || !*w->reason || !*w->owner || !w->expires)
		return bad(ws, n, "a waiver needs id, subject, reason, owner and expires");
	if (!check_find(w->id))
		return bad(ws, n, "there is no check of this id");
	if (is_m1(w->id) && w->expires > now + (M1_DAYS + 1) * DAY)
		return bad(ws, n, "an ACS override can be waived for 30 days at most");
	ws->n++;
	return true;
}

static bool take_document(struct waivers *ws, yaml_document_t *doc, int64_t now)
{
	const yaml_node_t *root = yaml_document_get_root_node(doc), *list = NULL;

	if (!root || root->type != YAML_MAPPING_NODE)
		return bad(ws, root, "the file is a mapping with the key waivers");
	for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
		const yaml_node_t *k = yaml_document_get_node(doc, p->key);
		char key[32];

		if (!take_text(ws, k, key, sizeof(key)) || strcmp(key, "waivers"))
			return bad(ws, k, "the only key is waivers");
		list = yaml_document_get_node(doc, p->value);
	}
	if (!list || list->type != YAML_SEQUENCE_NODE)
		return bad(ws, root, "waivers is a list");
	if ((size_t)(list->data.sequence.items.top - list->data.sequence.items.start) > WAIVERS_MAX)
		return bad(ws, list, "too many waivers");
	ws->w = calloc(WAIVERS_MAX, sizeof(*ws->w));
	if (!ws->w)
		abort();
	for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top; i++)
		if (!take_one(ws, doc, yaml_document_get_node(doc, *i), now))
			return false;
	return true;
}

bool waivers_parse(struct waivers *ws, const char *text, size_t len, int64_t now)
{
	yaml_parser_t parser;
	yaml_document_t doc;
	bool ok;

	memset(ws, 0, sizeof(*ws));
	if (!yaml_parser_initialize(&parser))
		abort();
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	if (!yaml_parser_load(&parser, &doc)) {
		snprintf(ws->error, sizeof(ws->error), "line %zu: %s", parser.problem_mark.line + 1, parser.problem ? parser.problem : "no YAML");
		yaml_parser_delete(&parser);
		return false;
	}
	ok = take_document(ws, &doc, now);
	yaml_document_delete(&doc);
	yaml_parser_delete(&parser);
	return ok;
}

void waivers_free(struct waivers *ws)
{
	free(ws->w);
}

static void apply_one(const struct waiver *w, struct result *r, int64_t now)
{
	char *text = NULL;

	if (r->status != ST_FAIL && r->status != ST_WARN && r->status != ST_UNKNOWN)
		return;
	if (strcasecmp(w->id, r->check->id) || (strcmp(w->subject, "*") && strcmp(w->subject, r->subject)))
		return;
	if (now >= w->expires) {
		if (asprintf(&text, "%s (the waiver of %s has expired)", r->message, w->owner) < 0)
			abort();
		free(r->message);
		r->message = text;
		return;
	}
	if (asprintf(&r->waived_by, "%s by %s: %s", status_name[r->status], w->owner, w->reason) < 0)
		abort();
	r->status = ST_INFO;
}

void waivers_apply(const struct waivers *ws, struct audit *a, int64_t now)
{
	for (size_t i = 0; i < a->nresult; i++)
		for (size_t k = 0; k < ws->n && !a->result[i].waived_by; k++)
			apply_one(&ws->w[k], &a->result[i], now);
	audit_recount(a);
}
