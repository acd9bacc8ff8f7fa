/* SPDX-License-Identifier: Apache-2.0 */
#include "site.h"
#include "yaml_json.h"

#include <errno.h>
#include <nettle/base64.h>
#include <nettle/eddsa.h>
#include <stdlib.h>
#include <string.h>

#define SITE_MAX (1u << 20)

/* ---- signature: "untrusted comment: …\n" then base64 of "Ed", 8 bytes of key number, the bytes ---- */

static bool signify_bytes(const char *text, uint8_t *out, size_t want)
{
	const char *line = strchr(text, '\n');
	struct base64_decode_ctx ctx;
	uint8_t buf[256];
	size_t n = sizeof(buf), len;

	if (strncmp(text, "untrusted comment:", 18) || !line)
		return false;
	len = strcspn(++line, "\n");
	base64_decode_init(&ctx);
	if (BASE64_DECODE_LENGTH(len) > sizeof(buf) || !base64_decode_update(&ctx, &n, buf, len, line) || !base64_decode_final(&ctx) ||
	    n != want || memcmp(buf, "Ed", 2))
		return false;
	memcpy(out, buf, n);
	return true;
}

bool signify_verify(const char *key, const char *signature, const void *message, size_t len)
{
	uint8_t pub[10 + ED25519_KEY_SIZE], sig[10 + ED25519_SIGNATURE_SIZE];

	return signify_bytes(key, pub, sizeof(pub)) && signify_bytes(signature, sig, sizeof(sig)) && !memcmp(pub + 2, sig + 2, 8) &&
	       ed25519_sha512_verify(pub + 10, len, message, sig + 10);
}

/* Derived, because a bundle's copy of the list may have lost identities, and with them the signature. */
static void check_signature(struct ev *ev, struct ev_item *item, void *arg)
{
	static const char *const word[] = {"none", "good", "bad", "unknown"};
	const struct ev_item *list = arg, *sig = ev_get(ev, EV_READ, SITE_SIGNATURE), *key = ev_get(ev, EV_READ, SITE_KEY);
	enum signature s;

	if (sig->err == ENOENT)
		s = SIGNATURE_NONE;
	else if (!sig->text || !key->text)
		s = SIGNATURE_UNKNOWN;
	else
		s = signify_verify(key->data, sig->data, list->data, list->len) ? SIGNATURE_GOOD : SIGNATURE_BAD;
	ev_set_data(item, word[s], strlen(word[s]));
}

/* ---- the list ---- */

static const struct section {
	const char *name;
	bool list;
	const char *keys; /* of an element, or of the mapping: each between blanks */
} sections[] = {
	{"firmware", true, " board version oldest "},
	{"gpus", true, " address id subsystem serial uuid part vbios inforom "},
	{"minima", false, " memory_gib processors gpus disk_gb "},
	{"advisories", true, " name product fixed "},
};

static const char *odd_key(const json_t *o, const char *keys)
{
	const char *key;
	json_t *v;
	char word[64];

	json_object_foreach((json_t *)o, key, v)
	{
		snprintf(word, sizeof(word), " %s ", key);
		if (!strstr(keys, word) || json_is_object(v))
			return key;
	}
	return NULL;
}

static bool sound(struct site *s)
{
	const char *name, *odd = NULL;
	json_t *v, *e;
	size_t i;

	json_object_foreach(s->doc, name, v)
	{
		const struct section *x = NULL;

		for (i = 0; i < sizeof(sections) / sizeof(*sections); i++)
			if (!strcmp(sections[i].name, name))
				x = &sections[i];
		if (!x || (x->list ? !json_is_array(v) : !json_is_object(v))) {
			snprintf(s->problem, sizeof(s->problem), "%.40s: no section of a site list", name);
			return false;
		}
		if (!x->list)
			odd = odd_key(v, x->keys);
		json_array_foreach(v, i, e)
			odd = odd ? odd : json_is_object(e) ? odd_key(e, x->keys) : "an element";
		if (odd) {
			snprintf(s->problem, sizeof(s->problem), "%.40s: %.40s does not belong there", name, odd);
			return false;
		}
	}
	return json_is_object(s->doc);
}

void site_collect(struct site *s, struct ev *ev)
{
	s->src = ev_get(ev, EV_READ, SITE_FILE);
	if (s->src->err == ENOENT || s->src->err == ENOTDIR)
		return;
	if (ev_text_problem(s->src) || s->src->len > SITE_MAX) {
		snprintf(s->problem, sizeof(s->problem), "%s", ev_text_problem(s->src) ? ev_text_problem(s->src) : "too long");
		return;
	}
	s->doc = yaml_to_json(s->src->data, s->src->len, s->problem, sizeof(s->problem));
	if (s->doc && !sound(s)) {
		if (!*s->problem)
			snprintf(s->problem, sizeof(s->problem), "no mapping of sections");
		json_decref(s->doc);
		s->doc = NULL;
	}
	if (!s->doc)
		return;
	s->signed_item = ev_derive(ev, "signature:" SITE_FILE, check_signature, (void *)s->src);
	s->signature = !s->signed_item->line		       ? SIGNATURE_UNKNOWN
		       : !strcmp(s->signed_item->line, "none") ? SIGNATURE_NONE
		       : !strcmp(s->signed_item->line, "good") ? SIGNATURE_GOOD
		       : !strcmp(s->signed_item->line, "bad")  ? SIGNATURE_BAD
							       : SIGNATURE_UNKNOWN;
}

void site_free(struct site *s)
{
	json_decref(s->doc);
}

static int preload_one(struct ev *ev, const char *as, const char *path, bool needed)
{
	FILE *f = path ? fopen(path, "re") : NULL;
	char *buf;
	size_t n;

	if (!f) {
		int err = path ? errno : ENOENT;

		ev_put(ev, EV_READ, as, ENOENT, NULL, 0);
		return needed ? err : 0;
	}
	buf = malloc(SITE_MAX);
	if (!buf)
		abort();
	n = fread(buf, 1, SITE_MAX, f);
	ev_put(ev, EV_READ, as, ferror(f) ? EIO : 0, buf, n);
	free(buf);
	fclose(f);
	return 0;
}

int site_preload(struct ev *ev, const char *path, const char *key)
{
	char sig[4096];
	int err = preload_one(ev, SITE_FILE, path, true);

	snprintf(sig, sizeof(sig), "%s.sig", path);
	if (!err)
		err = preload_one(ev, SITE_SIGNATURE, sig, false);
	return err ? err : preload_one(ev, SITE_KEY, key, key != NULL);
}

const char *site_text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

long long site_number(const json_t *o, const char *key, long long otherwise)
{
	const char *s = site_text(o, key);
	char *end;
	long long v = strtoll(s, &end, 10);

	return end != s && !*end && v >= 0 ? v : otherwise;
}

static const char *without_epoch(const char *version)
{
	const char *colon = strchr(version, ':');

	return colon ? colon + 1 : version;
}

int version_compare(const char *a, const char *b)
{
	a = without_epoch(a);
	b = without_epoch(b);
	for (;;) {
		char *na, *nb;
		unsigned long x = strtoul(a, &na, 10), y = strtoul(b, &nb, 10);

		if (x != y)
			return x < y ? -1 : 1;
		if (*na != '.' && *nb != '.')
			return 0;
		a = *na == '.' ? na + 1 : "";
		b = *nb == '.' ? nb + 1 : "";
	}
}

bool advisory_concerns(const json_t *advisory, const char *version)
{
	const char *highest = NULL;
	unsigned long branch = strtoul(without_epoch(version), NULL, 10);
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(advisory, "fixed"), i, v)
	{
		const char *fixed = json_string_value(v);

		if (!fixed)
			continue;
		if (strtoul(without_epoch(fixed), NULL, 10) == branch)
			return version_compare(version, fixed) < 0;
		if (!highest || version_compare(highest, fixed) < 0)
			highest = fixed;
	}
	return highest && version_compare(version, highest) < 0;
}
