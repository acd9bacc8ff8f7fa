/* SPDX-License-Identifier: Apache-2.0 */
#include "bundle.h"
#include "redact.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#define BLOCK	       512u
#define MANIFEST_BYTES (32u << 20)

/* POSIX ustar header. */
struct ustar {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100];
	char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct ustar) == BLOCK, "a tar header is one block");

static unsigned checksum(const struct ustar *h)
{
	const uint8_t *p = (const uint8_t *)h;
	size_t at = offsetof(struct ustar, sum);
	unsigned sum = 8 * ' ';

	for (size_t i = 0; i < sizeof(*h); i++)
		sum += i >= at && i < at + 8 ? 0 : p[i];
	return sum;
}

/* ---- writing ---- */

struct writer {
	int fd;
	ZSTD_CCtx *z;
	const char *problem;
};

static void squeeze(struct writer *w, const void *p, size_t n, ZSTD_EndDirective end)
{
	ZSTD_inBuffer in = {p, n, 0};
	char buf[65536];
	size_t left;

	do {
		ZSTD_outBuffer out = {buf, sizeof(buf), 0};

		left = ZSTD_compressStream2(w->z, &out, &in, end);
		if (ZSTD_isError(left)) {
			w->problem = "compression failed";
			return;
		}
		for (size_t at = 0; at < out.pos;) {
			ssize_t k = write(w->fd, buf + at, out.pos - at);

			if (k < 0 && errno != EINTR) {
				w->problem = strerror(errno);
				return;
			}
			at += k > 0 ? (size_t)k : 0;
		}
	} while (end == ZSTD_e_end ? left : in.pos < in.size);
}

/* Splits a long name at a '/' into prefix and name; false when it fits nowhere. */
static bool set_name(struct ustar *h, const char *name)
{
	size_t n = strlen(name);

	if (n <= sizeof(h->name)) {
		memcpy(h->name, name, n);
		return true;
	}
	for (const char *s = name + n; s-- > name;)
		if (*s == '/' && (size_t)(s - name) <= sizeof(h->prefix) && n - (size_t)(s - name) - 1 <= sizeof(h->name)) {
			memcpy(h->prefix, name, (size_t)(s - name));
			memcpy(h->name, s + 1, n - (size_t)(s - name) - 1);
			return true;
		}
	return false;
}

static void add_file(struct writer *w, const char *name, const char *data, size_t len)
{
	static const char zero[BLOCK];
	struct ustar h = {.type = '0'};

	if (w->problem)
		return;
	set_name(&h, name);
	memcpy(h.mode, "0000444", 8);
	memcpy(h.uid, "0000000", 8);
	memcpy(h.gid, "0000000", 8);
	memcpy(h.mtime, "00000000000", 12);
	memcpy(h.magic, "ustar", 6);
	memcpy(h.version, "00", 2);
	snprintf(h.size, sizeof(h.size), "%011zo", len);
	snprintf(h.sum, sizeof(h.sum), "%06o", checksum(&h));
	h.sum[7] = ' ';
	squeeze(w, &h, sizeof(h), ZSTD_e_continue);
	squeeze(w, data, len, ZSTD_e_continue);
	squeeze(w, zero, (BLOCK - len % BLOCK) % BLOCK, ZSTD_e_continue);
}

static json_t *names_json(const struct ev_item *it)
{
	json_t *a = json_array();

	for (const char *n = ev_name(it, NULL); n; n = ev_name(it, n))
		json_array_append_new(a, json_string_nocheck(n));
	return a;
}

/* What a JSON string cannot hold (a name that is no UTF-8) makes the answer unusable, not the bundle. */
static bool all_utf8(const struct ev_item *it)
{
	for (const char *n = ev_name(it, NULL); n; n = ev_name(it, n)) {
		json_t *s = json_string(n);

		if (!s)
			return false;
		json_decref(s);
	}
	return true;
}

static json_t *item_json(const struct ev_item *it, size_t index, char *member, size_t size)
{
	json_t *o = json_pack("{ssss}", "op", ev_op_name[it->op], "path", it->path);
	struct ustar h = {0};

	*member = 0;
	if (!o)
		return NULL;
	if (it->err)
		json_object_set_new(o, "err", json_integer(it->err));
	if (it->cut)
		json_object_set_new(o, "cut", json_true());
	if (it->redacted)
		json_object_set_new(o, "redacted", json_true());
	if (it->err)
		return o;
	if (it->op == EV_LIST && all_utf8(it)) {
		json_object_set_new(o, "names", names_json(it));
	} else if (it->op == EV_LIST) {
		json_object_set_new(o, "err", json_integer(EILSEQ));
	} else if (it->op == EV_LINK && it->text) {
		json_object_set_new(o, "target", json_string(it->data));
	} else if (it->op == EV_LINK) {
		json_object_set_new(o, "err", json_integer(EILSEQ));
	} else if (it->op == EV_STAT) {
		json_object_set_new(o, "stat", json_pack("[iiiII]", (int)it->mode, (int)it->uid, (int)it->gid,
							 (json_int_t)it->mtime, (json_int_t)it->size));
	} else {
		snprintf(member, size, "root%s", it->path);
		if (it->op == EV_DERIVED || strlen(it->path) > 200 || !set_name(&h, member))
			snprintf(member, size, "more/%zu", index);
		json_object_set_new(o, "member", json_string(member));
		json_object_set_new(o, "size", json_integer((json_int_t)it->len));
	}
	return o;
}

/* Redacts copies: the audit that may still run on ev keeps its evidence. */
static struct ev_item *cleaned(const struct ev_item *it, struct redact *r)
{
	struct ev_item *c = malloc(sizeof(*c));

	if (!c)
		abort();
	*c = *it;
	c->data = NULL;
	c->line = NULL;
	ev_set_data(c, it->data, it->len);
	redact_item(r, c);
	return c;
}

const char *bundle_write(struct ev *ev, int fd, const char *host_name)
{
	struct writer w = {.fd = fd, .z = ZSTD_createCCtx()};
	struct redact r = {.what = REDACT_SECRETS | REDACT_IDENTITY};
	size_t n = ev_count(ev), i = 0;
	struct ev_item **clean = calloc(n + 1, sizeof(*clean));
	json_t *items = json_array(), *manifest;
	static const char zero[2 * BLOCK];
	char member[300], *text;

	if (!clean || !w.z)
		abort();
	snprintf(r.host, sizeof(r.host), "%s", host_name ? host_name : "");
	for (const struct ev_item *it = ev_first(ev); it; it = it->newer) {
		json_t *o;

		clean[i] = cleaned(it, &r);
		o = item_json(clean[i], i, member, sizeof(member));
		if (o)
			json_array_append_new(items, o);
		i++;
	}
	manifest = json_pack("{sssisIs{sisi}so}", "format", "openvgpu.doctor.bundle", "version", 1, "created",
			     (json_int_t)time(NULL), "redacted", "secrets", (int)r.secrets, "identities", (int)r.identities,
			     "items", items);
	text = json_dumps(manifest, JSON_COMPACT);
	add_file(&w, "manifest.json", text, strlen(text));
	for (i = 0; i < n; i++) {
		json_decref(item_json(clean[i], i, member, sizeof(member)));
		if (*member)
			add_file(&w, member, clean[i]->data, clean[i]->len);
		free(clean[i]->data);
		free(clean[i]->line);
		free(clean[i]);
	}
	if (!w.problem)
		squeeze(&w, zero, sizeof(zero), ZSTD_e_end);
	free(text);
	free(clean);
	json_decref(manifest);
	ZSTD_freeCCtx(w.z);
	return w.problem;
}

/* ---- reading ---- */

struct member {
	char *name;
	size_t at, len;
	bool used;
};

static bool octal(const char *s, size_t n, size_t *v)
{
	*v = 0;
	while (n && *s >= '0' && *s <= '7') {
		*v = *v << 3 | (size_t)(*s++ - '0');
		n--;
	}
	return !n || !*s || *s == ' ';
}

/* Counts tar entries as they come, so that a flood of them is not first unpacked. *at: the next header. */
static bool flood(const char *tar, size_t len, size_t *at, unsigned *entries)
{
	size_t size;

	for (; *at + 512 <= len && tar[*at] && octal(tar + *at + 124, 12, &size) && size <= BUNDLE_BYTES; *at += 512 + (size + 511) / 512 * 512)
		if (++*entries > BUNDLE_ENTRIES)
			return true;
	return false;
}

/* All of it unpacked, or NULL: a bomb stops at BUNDLE_BYTES, a flood at BUNDLE_ENTRIES. */
static char *unpack(int fd, size_t *len, const char **problem)
{
	ZSTD_DCtx *z = ZSTD_createDCtx();
	char in[65536], *out = NULL;
	size_t cap = 0, n = 0, rc = 1, at = 0;
	unsigned entries = 0;
	ssize_t k;

	ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, 27);
	*problem = NULL;
	while (!*problem && (k = read(fd, in, sizeof(in))) > 0) {
		ZSTD_inBuffer src = {in, (size_t)k, 0};
		bool full = true;

		/* A full output buffer may mean that more waits inside the decoder. */
		while (!*problem && (src.pos < src.size || (full && rc))) {
			ZSTD_outBuffer dst;

			if (cap - n < 65536) {
				cap = cap ? cap * 2 : 1u << 18;
				out = realloc(out, cap);
				if (!out)
					abort();
			}
			dst = (ZSTD_outBuffer){out + n, cap - n, 0};
			rc = ZSTD_decompressStream(z, &dst, &src);
			full = dst.pos == dst.size;
			n += dst.pos;
			if (ZSTD_isError(rc))
				*problem = "not a zstd file, or broken";
			else if (flood(out, n, &at, &entries))
				*problem = "has more entries than any bundle: refused";
			else if (n > BUNDLE_BYTES)
				*problem = "unpacks to more than any bundle: refused";
		}
	}
	if (!*problem && (rc || !n))
		*problem = "not a whole zstd file";
	ZSTD_freeDCtx(z);
	if (*problem) {
		free(out);
		return NULL;
	}
	*len = n;
	return out;
}

static bool name_ok(const char *s)
{
	if (!strcmp(s, "manifest.json"))
		return true;
	if (strncmp(s, "root/", 5) && strncmp(s, "more/", 5))
		return false;
	for (const char *p = s; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
		if (!strncmp(p, "../", 3) || !strcmp(p, "..") || !strncmp(p, "./", 2) || *p == '/')
			return false;
	return true;
}

static const char *take_header(const struct ustar *h, struct member *m, size_t left)
{
	size_t sum;

	if (memcmp(h->magic, "ustar", 6) || !octal(h->sum, 8, &sum) || sum != checksum(h))
		return "not the tar archive of a bundle";
	if (h->type != '0')
		return "holds something else than plain files: refused";
	if (!octal(h->size, 12, &m->len) || m->len > left)
		return "a member reaches beyond the archive";
	if (asprintf(&m->name, "%.155s%s%.100s", h->prefix, *h->prefix ? "/" : "", h->name) < 0)
		abort();
	return name_ok(m->name) ? NULL : "a member's name is none of a bundle: refused";
}

static const char *index_members(const char *tar, size_t len, struct member **list, size_t *n)
{
	size_t at = 0, cap = 0;

	while (at + BLOCK <= len && tar[at]) {
		const char *bad;

		if (*n == cap) {
			cap = cap ? cap * 2 : 1024;
			*list = realloc(*list, cap * sizeof(**list));
			if (!*list)
				abort();
		}
		if (*n == BUNDLE_ENTRIES)
			return "more members than any bundle: refused";
		memset(&(*list)[*n], 0, sizeof(**list));
		bad = take_header((const struct ustar *)(tar + at), &(*list)[(*n)++], len - at - BLOCK);
		if (bad)
			return bad;
		(*list)[*n - 1].at = at + BLOCK;
		at += BLOCK + ((*list)[*n - 1].len + BLOCK - 1) / BLOCK * BLOCK;
	}
	return *n ? NULL : "empty";
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct member *)a)->name, ((const struct member *)b)->name);
}

static enum ev_op op_of(const char *s)
{
	for (int i = 0; s && i < EV_OPS; i++)
		if (!strcmp(s, ev_op_name[i]))
			return (enum ev_op)i;
	return EV_OPS;
}

static bool put_names(struct ev *ev, const char *path, const json_t *names)
{
	size_t i, len = 0, n = json_array_size(names);
	json_t *v;
	char *buf, *p;

	json_array_foreach(names, i, v) {
		const char *s = json_string_value(v);

		if (!s || !*s || strchr(s, '/') || !strcmp(s, ".") || !strcmp(s, ".."))
			return false;
		len += strlen(s) + 1;
	}
	p = buf = malloc(len + 1);
	if (!buf)
		abort();
	for (i = 0; i < n; i++)
		p = stpcpy(p, json_string_value(json_array_get(names, i))) + 1;
	ev_put(ev, EV_LIST, path, 0, buf, len);
	free(buf);
	return true;
}

static bool put_stat(struct ev *ev, const char *path, const json_t *st)
{
	struct ev_item *it;

	for (size_t i = 0; i < 5; i++)
		if (!json_is_integer(json_array_get(st, i)))
			return false;
	it = ev_put(ev, EV_STAT, path, 0, NULL, 0);
	it->mode = (uint32_t)json_integer_value(json_array_get(st, 0));
	it->uid = (uint32_t)json_integer_value(json_array_get(st, 1));
	it->gid = (uint32_t)json_integer_value(json_array_get(st, 2));
	it->mtime = json_integer_value(json_array_get(st, 3));
	it->size = json_integer_value(json_array_get(st, 4));
	return true;
}

static const char *put_item(struct ev *ev, const json_t *o, const char *tar, struct member *list, size_t n)
{
	const char *path = json_string_value(json_object_get(o, "path"));
	enum ev_op op = op_of(json_string_value(json_object_get(o, "op")));
	int err = (int)json_integer_value(json_object_get(o, "err"));
	struct member key = {.name = (char *)json_string_value(json_object_get(o, "member"))}, *m;
	struct ev_item *it;

	if (!path || op == EV_OPS || strlen(path) > 4095 || err < 0 || err > 4095)
		return "an item of the manifest is malformed";
	if (err) {
		ev_put(ev, op, path, err, NULL, 0);
		return NULL;
	}
	if (op == EV_LIST)
		return put_names(ev, path, json_object_get(o, "names")) ? NULL : "a listing in the manifest is malformed";
	if (op == EV_STAT)
		return put_stat(ev, path, json_object_get(o, "stat")) ? NULL : "a stat in the manifest is malformed";
	if (op == EV_LINK) {
		const char *t = json_string_value(json_object_get(o, "target"));

		if (t)
			ev_put(ev, op, path, 0, t, strlen(t));
		return t ? NULL : "a link in the manifest is malformed";
	}
	m = key.name ? bsearch(&key, list, n, sizeof(key), by_name) : NULL;
	if (!m || m->used)
		return "the manifest names a member that is not there";
	m->used = true;
	it = ev_put(ev, op, path, 0, tar + m->at, m->len);
	it->cut = json_is_true(json_object_get(o, "cut"));
	it->redacted = json_is_true(json_object_get(o, "redacted"));
	ev_classify(it);
	return NULL;
}

static const char *fill(struct ev *ev, const char *tar, struct member *list, size_t n)
{
	struct member key = {.name = (char *)"manifest.json"}, *m = bsearch(&key, list, n, sizeof(key), by_name);
	json_t *manifest = m && m->len <= MANIFEST_BYTES ? json_loadb(tar + m->at, m->len, JSON_REJECT_DUPLICATES, NULL) : NULL, *o;
	const char *format = json_string_value(json_object_get(manifest, "format")), *bad = NULL;
	size_t i;

	if (!format || strcmp(format, "openvgpu.doctor.bundle"))
		bad = "has no manifest of a bundle";
	else if (json_integer_value(json_object_get(manifest, "version")) != 1)
		bad = "is of a version this program does not know";
	else if (json_array_size(json_object_get(manifest, "items")) > BUNDLE_ENTRIES)
		bad = "more items than any bundle: refused";
	if (!bad)
		json_array_foreach(json_object_get(manifest, "items"), i, o) {
			bad = put_item(ev, o, tar, list, n);
			if (bad)
				break;
		}
	json_decref(manifest);
	return bad;
}

struct ev *bundle_read(int fd, const char **problem)
{
	size_t len, n = 0;
	struct member *list = NULL;
	char *tar = unpack(fd, &len, problem);
	struct ev *ev;

	if (!tar)
		return NULL;
	ev = ev_closed();
	*problem = index_members(tar, len, &list, &n);
	if (!*problem) {
		qsort(list, n, sizeof(*list), by_name);
		*problem = fill(ev, tar, list, n);
	}
	for (size_t i = 0; i < n; i++)
		free(list[i].name);
	free(list);
	free(tar);
	if (*problem) {
		ev_free(ev);
		return NULL;
	}
	return ev;
}
