/* SPDX-License-Identifier: Apache-2.0 */
#include "klog.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* "6,1234,5678,-;text" of /dev/kmsg, "[  1.0] text" of dmesg, "date host kernel: text" of syslog. */
static const char *message(const char *line)
{
	const char *semi = strchr(line, ';'), *p;

	if (line[0] >= '0' && line[0] <= '9' && semi && strspn(line, "0123456789,-") == (size_t)(semi - line))
		return semi + 1;
	p = strstr(line, "kernel: ");
	if (p)
		line = p + 8;
	if (*line == '[' && (p = strchr(line, ']')))
		line = p + 1 + (p[1] == ' ');
	return line;
}

static void copy(char *out, size_t size, const char *s, size_t n)
{
	n = n < size ? n : size - 1;
	memcpy(out, s, n);
	out[n] = 0;
}

static void push(struct klog *k, const struct klog_rule *r, const struct ev_item *src, unsigned line,
		 const char *msg, const regmatch_t *m)
{
	struct klog_hit *h;

	if (k->n == KLOG_MAX) {
		k->overflow = true;
		return;
	}
	if (!(k->n & (k->n + 1))) {
		k->hit = realloc(k->hit, (2 * k->n + 2) * sizeof(*h));
		if (!k->hit)
			abort();
	}
	h = &k->hit[k->n++];
	memset(h, 0, sizeof(*h));
	h->rule = r;
	h->src = src;
	h->line = line;
	copy(h->text, sizeof(h->text), msg, strlen(msg));
	for (int i = 0; i < 4; i++)
		if (m[i + 1].rm_so >= 0)
			copy(h->match[i], sizeof(h->match[i]), msg + m[i + 1].rm_so,
			     (size_t)(m[i + 1].rm_eo - m[i + 1].rm_so));
}

static regex_t *compiled(size_t i)
{
	static regex_t *cache; /* the table is constant, so are its programs */
	static bool *done;

	if (!cache) {
		cache = calloc(klog_nrules, sizeof(*cache));
		done = calloc(klog_nrules, sizeof(*done));
		if (!cache || !done)
			abort();
	}
	if (!done[i] && regcomp(&cache[i], klog_rules[i].regex, REG_EXTENDED))
		abort(); /* a test compiles every rule */
	done[i] = true;
	return &cache[i];
}

static void scan_line(struct klog *k, const struct ev_item *src, unsigned line, const char *msg)
{
	regmatch_t m[5];

	for (size_t i = 0; i < klog_nrules; i++)
		if (strstr(msg, klog_rules[i].hint) && !regexec(compiled(i), msg, 5, m, 0)) {
			push(k, &klog_rules[i], src, line, msg, m);
			return; /* the first rule that knows a line explains it */
		}
}

/* A line of journalctl -o json: MESSAGE is a text, or a list of bytes where it is not valid text. False:
 * no such line. */
static bool journal_line(const char *line, size_t n, char *out, size_t size)
{
	json_t *o = json_loadb(line, n, 0, NULL), *m = json_object_get(o, "MESSAGE"), *byte;
	bool is = json_is_string(m) || json_is_array(m);
	size_t i, len = 0;

	if (json_is_string(m))
		copy(out, size, json_string_value(m), strcspn(json_string_value(m), "\n"));
	json_array_foreach(m, i, byte)
		if (len < size - 1 && json_integer_value(byte) > 0)
			out[len++] = (char)json_integer_value(byte);
	if (json_is_array(m))
		out[len] = 0;
	json_decref(o);
	return is;
}

unsigned klog_scan(struct klog *k, const struct ev_item *src, const char *text)
{
	char buf[1024]; /* a kernel record is at most this */
	unsigned line = 0;

	while (*text) {
		size_t n = strcspn(text, "\n");

		++line;
		if (*text == '{' && journal_line(text, n, buf, sizeof(buf))) {
			scan_line(k, src, line, buf);
		} else {
			copy(buf, sizeof(buf), text, n);
			scan_line(k, src, line, message(buf));
		}
		text += n + (text[n] == '\n');
	}
	return line;
}

void klog_collect(struct klog *k, struct ev *ev)
{
	static const char *const path[] = {KLOG_GIVEN, "/dev/kmsg", "/var/log/dmesg", "/var/log/kern.log", "/var/log/messages"};

	for (size_t i = 0; i < sizeof(path) / sizeof(*path); i++) {
		const struct ev_item *it = ev_get(ev, EV_READ, path[i]);

		k->source[k->nsource++] = it;
		if (it->err || !it->len)
			continue;
		/* Cut or odd bytes: what is there is still proof of what it says. */
		k->any = k->any || it->text;
		klog_scan(k, it, it->data);
		if (it->text)
			break;
	}
}

void klog_free(struct klog *k)
{
	free(k->hit);
}

const struct klog_hit *klog_find(const struct klog *k, const char *name, const struct klog_hit *after)
{
	for (size_t i = after ? (size_t)(after - k->hit) + 1 : 0; i < k->n; i++)
		if (!strcmp(k->hit[i].rule->name, name))
			return &k->hit[i];
	return NULL;
}
