/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/broker/copy.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- text ---- */

struct field {
	const char *name;
	size_t at;
	size_t room;  /* of a string, with its NUL; 0: a uint64_t */
	uint64_t max; /* of a number */
	size_t bytes; /* not 0: so many, as hexadecimal digits */
};

#define TEXT(type, name) {#name, offsetof(struct type, name), sizeof(((struct type *)0)->name), 0, 0}
#define NUMBER(type, name, max) {#name, offsetof(struct type, name), 0, max, 0}

static const struct field pool_fields[] = {TEXT(copy_pool, name), NUMBER(copy_pool, concurrent, 1), {NULL}};

static const struct field device_fields[] = {
	TEXT(copy_device, name), TEXT(copy_device, pool), TEXT(copy_device, uuid), TEXT(copy_device, pci),
	TEXT(copy_device, peers), TEXT(copy_device, reason), NUMBER(copy_device, numa_node, UINT32_MAX),
	NUMBER(copy_device, state, DEVICE_LOST), NUMBER(copy_device, layout, UINT32_MAX),
	{"info", offsetof(struct copy_device, info), .bytes = sizeof(struct vgpu_device_info)}, {NULL}};

/* Besides these: its number, and the settings of settings.c. */
static const struct field vm_fields[] = {
	{"name", offsetof(struct copy_vm, set.name), IPC_NAME_LEN, 0, 0}, NUMBER(copy_vm, quarantined, 1),
	TEXT(copy_vm, pool), TEXT(copy_vm, device), TEXT(copy_vm, next), TEXT(copy_vm, why), {NULL}};

static bool plain(char c)
{
	return c > ' ' && c < 0x7f && c != '%';
}

static int put_text(struct buf *out, const char *s)
{
	int rc = 0;

	while (*s && !rc) {
		size_t n = 0;

		while (plain(s[n]))
			n++;
		rc = n ? buf_put(out, s, n) : buf_printf(out, "%%%02x", (unsigned)(unsigned char)*s);
		s += n ? n : 1;
	}
	return rc;
}

static int put_bytes(struct buf *out, const uint8_t *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	int rc = 0;

	for (size_t i = 0; i < n && !rc; i++)
		rc = buf_put(out, (char[]){digits[p[i] >> 4], digits[p[i] & 15]}, 2);
	return rc;
}

static int put_fields(struct buf *out, const struct field *f, const void *of)
{
	int rc = 0;

	for (; f->name && !rc; f++) {
		const char *p = (const char *)of + f->at;
		uint64_t v;

		if (!f->room && !f->bytes) {
			memcpy(&v, p, sizeof(v));
			rc = buf_printf(out, " %s=%" PRIu64, f->name, v);
			continue;
		}
		rc = buf_printf(out, " %s=", f->name);
		if (!rc)
			rc = f->bytes ? put_bytes(out, (const uint8_t *)p, f->bytes) : put_text(out, p);
	}
	return rc;
}

static int put_line(struct buf *out, const char *what, const struct field *f, const void *of)
{
	int rc = buf_printf(out, "%s", what);

	if (!rc)
		rc = put_fields(out, f, of);
	return rc ? rc : buf_put(out, "\n", 1);
}

int copy_put_pool(struct buf *out, const struct copy_pool *p)
{
	return put_line(out, "pool", pool_fields, p);
}

int copy_put_device(struct buf *out, const struct copy_device *d)
{
	return put_line(out, "device", device_fields, d);
}

int copy_put_vm(struct buf *out, const struct copy_vm *vm)
{
	int rc = buf_printf(out, "vm id=%" PRIu32, vm->set.id);

	if (!rc)
		rc = put_fields(out, vm_fields, vm);
	for (const struct setting *k = vm_setting; k->key && !rc; k++)
		rc = buf_printf(out, " %s=%" PRIu64, k->key, setting_get(k, &vm->set));
	return rc ? rc : buf_put(out, "\n", 1);
}

/* ---- reading it ---- */

static struct vgpu_err *bad(const char *what, const char *key)
{
	return err_new("%s: %.40s: not what vgpud writes", what, key);
}

/* Digits only, in a range. */
static bool read_number(const char *s, uint64_t max, uint64_t *v)
{
	char *end;

	errno = 0;
	*v = strtoull(s, &end, 10);
	return *s >= '0' && *s <= '9' && !*end && !errno && *v <= max;
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_text(const char *s, char *to, size_t room)
{
	size_t n = 0;

	while (*s && n + 1 < room) {
		if (*s != '%') {
			to[n++] = *s++;
			continue;
		}
		int high = digit(s[1]), low = high < 0 ? -1 : digit(s[2]);

		if (low < 0 || !(high | low))
			return false;
		to[n++] = (char)(high << 4 | low);
		s += 3;
	}
	to[n] = 0;
	return !*s;
}

/* Of another length: another version's, which is not what these bytes mean. */
static bool read_bytes(const char *s, uint8_t *to, size_t n)
{
	size_t len = strlen(s);

	if (len % 2 || s[strspn(s, "0123456789abcdef")])
		return false;
	for (size_t i = 0; len == 2 * n && i < n; i++)
		to[i] = (uint8_t)(digit(s[2 * i]) << 4 | digit(s[2 * i + 1]));
	return true;
}

/* 1: taken; 0: no such field; -1: a bad value. */
static int read_field(const struct field *f, void *of, const char *key, const char *value)
{
	while (f->name && strcmp(f->name, key))
		f++;
	if (!f->name)
		return 0;
	if (f->bytes)
		return read_bytes(value, (uint8_t *)of + f->at, f->bytes) ? 1 : -1;
	if (f->room)
		return read_text(value, (char *)of + f->at, f->room) ? 1 : -1;
	return read_number(value, f->max, (uint64_t *)((char *)of + f->at)) ? 1 : -1;
}

static int read_setting(struct vm_settings *s, const char *key, const char *value)
{
	const struct setting *k = vm_setting;
	uint64_t v;

	if (!strcmp(key, "id")) {
		if (!read_number(value, INT32_MAX, &v) || !v)
			return -1;
		s->id = (uint32_t)v;
		return 1;
	}
	while (k->key && strcmp(k->key, key))
		k++;
	if (!k->key)
		return 0;
	if (!read_number(value, UINT64_MAX, &v) || (v != k->initial && !setting_fits(k, v)))
		return -1;
	setting_put(k, s, v);
	return 1;
}

/* set: NULL: the line is no VM's. */
static struct vgpu_err *read_line(const char *what, const struct field *f, void *of, struct vm_settings *set, char *rest,
				  unsigned *unknown)
{
	for (char *key; (key = strsep(&rest, " "));) {
		char *value = strchr(key, '=');
		int rc;

		if (!value)
			return bad(what, key);
		*value++ = 0;
		rc = read_field(f, of, key, value);
		if (!rc && set)
			rc = read_setting(set, key, value);
		if (rc < 0)
			return bad(what, key);
		*unknown += !rc;
	}
	return NULL;
}

static struct vgpu_err *read_pool(struct copy_reader *r, char *rest)
{
	struct copy_pool p = {.name = ""};
	struct vgpu_err *e = read_line("pool", pool_fields, &p, NULL, rest, &r->unknown);

	if (!e && !p.name[0])
		e = bad("pool", "name");
	return e ? e : r->pool(r->arg, &p);
}

static struct vgpu_err *read_device(struct copy_reader *r, char *rest)
{
	struct copy_device d = {.numa_node = PLACE_NODE_NONE};
	struct vgpu_err *e = read_line("device", device_fields, &d, NULL, rest, &r->unknown);

	if (!e && !d.name[0])
		e = bad("device", "name");
	return e ? e : r->device(r->arg, &d);
}

static struct vgpu_err *read_vm(struct copy_reader *r, char *rest)
{
	struct copy_vm vm = {.quarantined = 0};
	struct vgpu_err *e;

	settings_initial(&vm.set);
	e = read_line("vm", vm_fields, &vm, &vm.set, rest, &r->unknown);
	if (!e && (!vm.set.name[0] || !vm.set.id))
		e = bad("vm", vm.set.id ? "name" : "id");
	return e ? e : r->vm(r->arg, &vm);
}

static const struct {
	const char *what;
	struct vgpu_err *(*read)(struct copy_reader *r, char *rest);
	unsigned most;
} lines[] = {{"pool", read_pool, POOLS_MAX}, {"device", read_device, 2 * DEVICES_MAX}, {"vm", read_vm, VMS_MAX}};
#define LINES (sizeof(lines) / sizeof(lines[0]))

struct vgpu_err *copy_read(const char *text, struct copy_reader *r)
{
	cleanup_mem char *copy = strdup(text);
	unsigned seen[LINES] = {0};
	struct vgpu_err *e = NULL;
	char *at = copy;
	unsigned i;

	r->unknown = 0;
	if (!copy)
		return err_new("out of memory");
	for (char *line; !e && (line = strsep(&at, "\n"));) {
		char *rest = strchr(line, ' ');

		if (!at)
			return *line ? bad("the end", line) : NULL;
		if (rest)
			*rest++ = 0;
		for (i = 0; i < LINES && strcmp(lines[i].what, line);)
			i++;
		if (!rest)
			e = bad("a line", line);
		else if (i == LINES)
			r->unknown++;
		else if (++seen[i] > lines[i].most)
			e = err_new("more than %u lines of kind %s", lines[i].most, line);
		else
			e = lines[i].read(r, rest);
	}
	return e;
}

/* ---- the descriptor ---- */

#define SLOT_BYTES (COPY_MAX + 4096)

static const char magic[8] = "vgpustat";

static uint64_t fnv(uint64_t h, const void *p, size_t n)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * 0x100000001b3;
	return h;
}

static uint64_t sum(struct copy_head h, const char *text)
{
	h.sum = 0;
	return fnv(fnv(0xcbf29ce484222325, &h, sizeof(h)), text, h.length);
}

static off_t slot_at(unsigned i)
{
	return (off_t)i * SLOT_BYTES;
}

static int write_at(int fd, const void *p, size_t n, off_t at)
{
	while (n) {
		ssize_t done = pwrite(fd, p, n, at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done ? -errno : -EIO;
		p = (const char *)p + done;
		n -= (size_t)done;
		at += done;
	}
	return 0;
}

static bool read_at(int fd, void *p, size_t n, off_t at)
{
	while (n) {
		ssize_t done = pread(fd, p, n, at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		p = (char *)p + done;
		n -= (size_t)done;
		at += done;
	}
	return true;
}

static bool read_head(int fd, unsigned i, struct copy_head *h)
{
	return read_at(fd, h, sizeof(*h), slot_at(i)) && !memcmp(h->magic, magic, sizeof(magic)) && h->version == COPY_VERSION &&
	       h->size == sizeof(*h) && h->length <= COPY_MAX && h->vms <= VMS_MAX && h->unsaved <= 1;
}

static bool newer(const struct copy_head *a, const struct copy_head *b)
{
	return (int64_t)(a->number - b->number) > 0;
}

/* The slot's text, NUL-terminated, for the caller to free; NULL: it is not sound. */
static char *read_body(int fd, unsigned i, const struct copy_head *h)
{
	char *text = malloc(h->length + 1);

	if (text && read_at(fd, text, h->length, slot_at(i) + (off_t)sizeof(*h)) && sum(*h, text) == h->sum) {
		text[h->length] = 0;
		return text;
	}
	free(text);
	return NULL;
}

int copy_store(int fd, const struct buf *text, uint64_t vms, bool unsaved)
{
	struct copy_head h = {.version = COPY_VERSION, .size = sizeof(h), .length = text->len, .vms = vms,
							.unsaved = unsaved}, old[2];
	bool sound[2] = {read_head(fd, 0, &old[0]), read_head(fd, 1, &old[1])};
	unsigned force = sound[1] && (!sound[0] || newer(&old[1], &old[0]));
	off_t at = slot_at(sound[force] ? !force : 0);
	int rc;

	if (text->len > COPY_MAX || vms > VMS_MAX)
		return -EFBIG;
	memcpy(h.magic, magic, sizeof(magic));
	h.number = sound[force] ? old[force].number + 1 : 1;
	h.sum = sum(h, text->len ? text->data : "");
	rc = write_at(fd, &(struct copy_head){.version = 0}, sizeof(h), at);
	if (!rc)
		rc = write_at(fd, text->data, text->len, at + (off_t)sizeof(h));
	return rc ? rc : write_at(fd, &h, sizeof(h), at);
}

enum copy_found copy_find(int fd, struct buf *text, struct copy_head *h)
{
	cleanup_mem char *best = NULL;
	char first;

	*h = (struct copy_head){.number = 0};
	for (unsigned i = 0; i < 2; i++) {
		struct copy_head one;
		char *t = read_head(fd, i, &one) && (!best || newer(&one, h)) ? read_body(fd, i, &one) : NULL;

		if (!t)
			continue;
		free(best);
		best = t;
		*h = one;
	}
	if (!best)
		return read_at(fd, &first, 1, 0) ? COPY_REFUSED : COPY_NONE;
	return buf_put(text, best, h->length) ? COPY_REFUSED : COPY_FOUND;
}
