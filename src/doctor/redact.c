/* SPDX-License-Identifier: Apache-2.0 */
#include "redact.h"
#include "pci.h"

#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

/* group: the sub-expression that is replaced. hint: a letter sequence every match contains (in lower
 * case), or NULL; it spares most lines the expression. */
static const struct rule {
	enum redact_what what;
	const char *hint, *regex;
	int group;
	bool form; /* the replacement keeps ':' and '-' where they are */
} rules[] = {
	{REDACT_SECRETS, "grub.pbkdf2", "(grub\\.pbkdf2\\.[A-Za-z0-9.]+)", 1},
	{REDACT_SECRETS, "password", "^[ \t]*password[ \t]+[^ \t]+[ \t]+(.+)$", 1},
	{REDACT_SECRETS, "passw", "passwd=['\"]([^'\"]*)['\"]", 1},
	{REDACT_SECRETS, "passw", "passw(or)?d[a-z_]*['\"]?[ \t]*[=:][ \t]*['\"]?([^]'\" \t,;<>{}]+)", 2},
	{REDACT_SECRETS, "secret", "secret[a-z_]*['\"]?[ \t]*[=:][ \t]*['\"]?([^]'\" \t,;<>{}]+)", 1},
	{REDACT_SECRETS, "token", "token[a-z_]*['\"]?[ \t]*[=:][ \t]*['\"]?([^]'\" \t,;<>{}]+)", 1},
	{REDACT_SECRETS, "key", "api_?key[a-z_]*['\"]?[ \t]*[=:][ \t]*['\"]?([^]'\" \t,;<>{}]+)", 1},
	{REDACT_SECRETS, "passphrase", "passphrase['\"]?[ \t]*[=:][ \t]*['\"]?([^'\" \t,;<>]+)", 1},
	{REDACT_SECRETS, "bearer", "bearer[ \t]+([-A-Za-z0-9._~+/=]+)", 1},
	{REDACT_SECRETS, "_", "(gh[pousr]_[A-Za-z0-9]{16,})", 1},
	{REDACT_SECRETS, "akia", "(AKIA[0-9A-Z]{12,})", 1},
	{REDACT_SECRETS, "eyj", "(eyJ[-A-Za-z0-9_]+\\.[-A-Za-z0-9_]+\\.[-A-Za-z0-9_]+)", 1},
	{REDACT_SECRETS, "$", "(\\$[0-9a-z]{1,3}\\$[./A-Za-z0-9$=,]{16,})", 1}, /* crypt(3) hashes */
	{REDACT_SECRETS, "://", "://[^ /:@]+:([^ /@]+)@", 1},
	{REDACT_IDENTITY, ":", "(([0-9a-f]{2}:){5}[0-9a-f]{2})", 1, true},
	{REDACT_IDENTITY, "-", "([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})", 1, true},
	{REDACT_IDENTITY, "serial", "serial[ _a-z]*['\"]?[ \t]*[=:][ \t]*['\"]?([^]'\" \t,;<>{}]+)", 1},
};

/* Ends in no letter that could begin a MAC address: cleaning twice is cleaning once. Plain text in shell, XML,
 * JSON and YAML alike. */
#define MASK  "(REDACTED)"
#define RULES (sizeof(rules) / sizeof(*rules))

static regex_t *program(size_t i)
{
	static regex_t cache[RULES];
	static bool done[RULES];

	if (!done[i] && regcomp(&cache[i], rules[i].regex, REG_EXTENDED | REG_ICASE))
		abort(); /* the table is constant; a test runs every rule */
	done[i] = true;
	return &cache[i];
}

struct text {
	char *p;
	size_t len, cap;
};

static void put(struct text *t, const char *s, size_t n)
{
	if (t->len + n + 1 > t->cap) {
		t->cap = (t->len + n + 1) * 2;
		t->p = realloc(t->p, t->cap);
		if (!t->p)
			abort();
	}
	memcpy(t->p + t->len, s, n);
	t->len += n;
	t->p[t->len] = 0;
}

/* A replacement that has the form of what it stands for. */
static void put_blank(struct text *t, const struct rule *rule, const char *s, size_t n)
{
	if (!rule->form) {
		put(t, MASK, strlen(MASK));
		return;
	}
	for (size_t i = 0; i < n; i++)
		put(t, s[i] == ':' || s[i] == '-' ? s + i : "0", 1);
}

static void apply(struct redact *r, size_t i, struct text *line)
{
	struct text out = {0};
	const char *s = line->p;
	regmatch_t m[3];

	if (rules[i].hint && !strcasestr(s, rules[i].hint))
		return;
	while (*s && !regexec(program(i), s, 3, m, s == line->p ? 0 : REG_NOTBOL)) {
		regmatch_t g = m[rules[i].group];

		if (g.rm_so < 0 || m[0].rm_eo <= 0)
			break;
		if (g.rm_eo == g.rm_so) { /* an empty value: nothing to hide, and nothing to lose */
			put(&out, s, (size_t)m[0].rm_eo);
			s += m[0].rm_eo;
			continue;
		}
		put(&out, s, (size_t)g.rm_so);
		if ((size_t)(g.rm_eo - g.rm_so) != strlen(MASK) || strncmp(s + g.rm_so, MASK, strlen(MASK)))
			*(rules[i].what == REDACT_SECRETS ? &r->secrets : &r->identities) += 1;
		put_blank(&out, &rules[i], s + g.rm_so, (size_t)(g.rm_eo - g.rm_so));
		s += g.rm_eo;
	}
	if (!out.p)
		return;
	put(&out, s, strlen(s));
	free(line->p);
	*line = out;
}

static void hide_host(struct redact *r, struct text *line)
{
	size_t n = strlen(r->host);
	struct text out = {0};
	const char *s = line->p, *hit;

	/* A short name is a common word ("host", "vm1"): replaced only as a whole word. */
	while (n > 1 && (hit = strstr(s, r->host))) {
		bool whole = (hit == line->p || !isalnum((uint8_t)hit[-1])) && !isalnum((uint8_t)hit[n]);

		put(&out, s, (size_t)(hit - s));
		put(&out, whole ? "HOST" : hit, whole ? 4 : n);
		r->identities += whole;
		s = hit + n;
	}
	if (!out.p)
		return;
	put(&out, s, strlen(s));
	free(line->p);
	*line = out;
}

static void one_line(struct redact *r, const char *s, size_t n, struct text *out, bool *pem)
{
	struct text line = {0};
	bool begin = memmem(s, n, "-----BEGIN", 10) && memmem(s, n, "PRIVATE KEY", 11);
	bool end = memmem(s, n, "-----END", 8);

	if ((*pem || begin) && r->what & REDACT_SECRETS) {
		if (begin)
			put(out, "REDACTED PRIVATE KEY", 20);
		r->secrets += begin;
		/* Begin and end on one line (as in JSON, with \n written out): the line is gone too. */
		*pem = !end;
		return;
	}
	put(&line, s, n);
	for (size_t i = 0; i < RULES; i++)
		if (rules[i].what & r->what)
			apply(r, i, &line);
	if (r->what & REDACT_IDENTITY)
		hide_host(r, &line);
	put(out, line.p, line.len);
	free(line.p);
}

char *redact_bytes(struct redact *r, const char *in, size_t len, size_t *outlen)
{
	struct text out = {0};
	bool pem = false;

	put(&out, "", 0);
	for (size_t at = 0; at < len;) {
		size_t n = 0;

		while (at + n < len && in[at + n] != '\n' && in[at + n])
			n++;
		one_line(r, in + at, n, &out, &pem);
		if (at + n < len)
			put(&out, in + at + n, 1);
		at += n + 1;
	}
	*outlen = out.len;
	return out.p;
}

void redact_in_place(char *s, size_t size)
{
	struct redact r = {.what = REDACT_SECRETS};
	size_t n;
	char *clean = redact_bytes(&r, s, strlen(s), &n);

	if (r.secrets) {
		n = n < size - 1 ? n : size - 1;
		memcpy(s, clean, n);
		s[n] = 0;
	}
	free(clean);
}

/* SMBIOS: the strings behind each structure hold serial numbers; type 1 has a UUID at 8. */
static void redact_dmi(struct redact *r, struct ev_item *it)
{
	uint8_t *p = (uint8_t *)it->data;

	for (size_t at = 0; at + 4 <= it->len;) {
		size_t n = p[at + 1], end = at + n;

		if (n < 4 || end > it->len)
			return;
		if (p[at] == 1 && n >= 24)
			memset(p + at + 8, 0, 16);
		while (end + 1 < it->len && (p[end] || p[end + 1])) {
			if (p[end])
				p[end] = 'x';
			end++;
		}
		r->identities++;
		at = end + 2;
	}
}

static void redact_config(struct redact *r, struct ev_item *it)
{
	struct pci_config c;

	if (pci_decode(&c, (const uint8_t *)it->data, it->len) && c.dsn && c.serial) {
		memset(it->data + c.dsn + 4, 0, 8);
		r->identities++;
	}
}

static bool ends(const char *s, const char *tail)
{
	size_t n = strlen(s), t = strlen(tail);

	return n >= t && !strcmp(s + n - t, tail);
}

void redact_item(struct redact *r, struct ev_item *it)
{
	unsigned before = r->secrets + r->identities;
	char *clean;
	size_t n;

	if (it->err || (it->op != EV_READ && it->op != EV_DERIVED))
		return;
	if (ends(it->path, "/config") && !strncmp(it->path, "/sys/bus/pci/", 13)) {
		redact_config(r, it);
	} else if (!strncmp(it->path, "/sys/firmware/dmi/", 18)) {
		redact_dmi(r, it);
	} else if (strncmp(it->path, "/sys/firmware/", 14)) {
		clean = redact_bytes(r, it->data, it->len, &n);
		if (r->secrets + r->identities != before)
			ev_set_data(it, clean, n);
		free(clean);
	}
	it->redacted = r->secrets + r->identities != before;
}
