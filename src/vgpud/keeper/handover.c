/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/keeper/handover.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HEAD "vgpud-handover 1"

enum kind {
	BOOL,
	U32, /* pid_t too */
	U64,
	FD, /* -1: none */
	RAW, /* bytes, as hexadecimal digits: texts may hold anything */
};

struct field {
	const char *name;
	enum kind kind;
	size_t at;
	unsigned n; /* of them; RAW: bytes */
};

static const size_t sizes[] = {[BOOL] = sizeof(bool), [U32] = 4, [U64] = 8, [FD] = sizeof(int), [RAW] = 1};

#define F(type, name, kind) {#name, kind, offsetof(struct type, name), 1}
#define ARRAY(type, name, kind) {#name, kind, offsetof(struct type, name), sizeof(((struct type *)0)->name) / sizeof(((struct type *)0)->name[0])}
#define BYTES(type, name) {#name, RAW, offsetof(struct type, name), sizeof(((struct type *)0)->name)}

/* What must agree for the children and the guests to be understood. */
struct contract {
	uint32_t executor, layout;
};

static const struct field contract_fields[] = {F(contract, executor, U32), F(contract, layout, U32), {NULL}};

static const struct field keeper_fields[] = {
	F(keeper, next_conn, U32), F(keeper, upgrades, U32), F(keeper, state_fd, FD), F(keeper, lock_fd, FD),
	F(keeper, control_fd, FD), {"bars", U64, offsetof(struct keeper, reserved.bars), 1},
	{"overhead_max", U64, offsetof(struct keeper, reserved.overhead_max), 1}, {NULL}};

static const struct field listener_fields[] = {
	{"fd", FD, offsetof(struct listener, io.fd), 1}, F(listener, vm, U32), BYTES(listener, path), {NULL}};

static const struct field conn_fields[] = {
	F(conn, id, U32), F(conn, vm, U32), F(conn, transport, U32), F(conn, uid, U32), F(conn, made, BOOL),
	F(conn, gone, BOOL), F(conn, greeted, BOOL), F(conn, handed, BOOL), ARRAY(conn, ran, U32),
	F(conn, accepted_at, U64), BYTES(conn, hello), F(conn, hello_len, U32),
	{"fd", FD, offsetof(struct conn, io.fd), 1}, F(conn, memfd, FD), F(conn, bar_size, U64), F(conn, vectors, U32),
	ARRAY(conn, bells, FD), ARRAY(conn, irqs, FD), {NULL}};

static const struct field child_fields[] = {
	F(child, id, U32), F(child, conn, U32), F(child, channel, U32), F(child, generation, U32), F(child, spare, BOOL),
	F(child, pid, U32), F(child, uid_slot, U32), {"pidfd", FD, offsetof(struct child, io.fd), 1},
	F(child, broker_sock, FD), F(child, lease_fd, FD), F(child, kick_fd, FD), {NULL}};

_Static_assert(sizeof(pid_t) == 4, "a U32 field");

/* ---- writing ---- */

static int64_t get(const void *p, enum kind kind)
{
	union {
		bool b;
		uint32_t u;
		uint64_t q;
		int fd;
		uint8_t raw;
	} v;

	memcpy(&v, p, sizes[kind]);
	return kind == BOOL ? v.b : kind == U32 ? v.u : kind == U64 ? (int64_t)v.q : kind == FD ? v.fd : v.raw;
}

static int write_record(struct buf *out, const char *what, const struct field *fields, const void *of)
{
	int rc = buf_printf(out, "%s", what);

	for (const struct field *f = fields; f->name && !rc; f++) {
		rc = buf_printf(out, " %s=", f->name);
		for (unsigned i = 0; i < f->n && !rc; i++) {
			int64_t v = get((const char *)of + f->at + i * sizes[f->kind], f->kind);

			rc = f->kind == RAW ? buf_printf(out, "%02x", (unsigned)v)
					    : buf_printf(out, "%s%" PRId64, i ? "," : "", v);
		}
	}
	return rc ? rc : buf_put(out, "\n", 1);
}

/* Its keys, so that the next one sees whether one differs that it cannot change. */
static int write_config(const struct keeper *k, struct buf *out)
{
	cleanup_mem char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	int rc;

	if (!f)
		return -ENOMEM;
	rc = conf_print(f, config_keys, k->cfg) ? -ENOMEM : 0;
	if (fclose(f))
		return -ENOMEM;
	for (char *at = text, *line; !rc && (line = strsep(&at, "\n"));)
		rc = *line ? buf_printf(out, "config %s\n", line) : 0;
	return rc;
}

int handover_write(const struct keeper *k, struct buf *out)
{
	struct contract mine = {IPC_EXECUTOR_VERSION, VGPU_LAYOUT_VERSION};
	int rc = buf_printf(out, HEAD "\n");

	if (!rc)
		rc = write_record(out, "contract", contract_fields, &mine);
	if (!rc)
		rc = write_config(k, out);
	if (!rc)
		rc = write_record(out, "keeper", keeper_fields, k);
	list_for_each(n, &k->listeners)
		rc = rc ? rc : write_record(out, "listener", listener_fields, list_entry(n, struct listener, node));
	list_for_each(n, &k->conns)
		rc = rc ? rc : write_record(out, "conn", conn_fields, list_entry(n, struct conn, node));
	list_for_each(n, &k->children)
		rc = rc ? rc : write_record(out, "child", child_fields, list_entry(n, struct child, node));
	return rc ? rc : buf_printf(out, "end\n"); /* without it the text was cut off */
}

/* ---- reading ---- */

static int put(void *p, enum kind kind, int64_t v)
{
	bool b = v;
	uint32_t u = (uint32_t)v;
	int fd = (int)v;

	if (kind == BOOL ? v != 0 && v != 1 : kind == U32 ? v < 0 || v > UINT32_MAX : kind == FD ? v < -1 || v > INT32_MAX : v < 0)
		return -EINVAL;
	memcpy(p, kind == BOOL ? (void *)&b : kind == U32 ? (void *)&u : kind == FD ? (void *)&fd : (void *)&v, sizes[kind]);
	return 0;
}

static int read_raw(uint8_t *to, unsigned n, const char *text)
{
	for (unsigned i = 0; i < n; i++, text += 2) {
		unsigned v;

		if (strspn(text, "0123456789abcdef") < 2 || sscanf(text, "%2x", &v) != 1)
			return -EINVAL;
		to[i] = (uint8_t)v;
	}
	return *text ? -EINVAL : 0;
}

/* Fewer than there are is what a version with smaller arrays wrote. */
static int read_field(const struct field *f, void *of, const char *text)
{
	char *to = (char *)of + f->at, *end;

	if (f->kind == RAW)
		return read_raw((uint8_t *)to, f->n, text);
	for (unsigned i = 0; i < f->n; i++, text = end + 1) {
		errno = 0;
		int64_t v = strtoll(text, &end, 10);

		if (end == text || errno || (*end && *end != ',') || put(to + i * sizes[f->kind], f->kind, v))
			return -EINVAL;
		if (!*end)
			return 0;
	}
	return -EINVAL;
}

static struct vgpu_err *read_record(const char *what, const struct field *fields, void *of, char *rest)
{
	for (char *word; (word = strsep(&rest, " "));) {
		char *value = strchr(word, '=');
		const struct field *f = fields;

		if (value)
			*value++ = 0;
		while (f->name && strcmp(f->name, word))
			f++;
		if (!value || !f->name)
			return err_new("%s: \"%.40s\" is not known to this version", what, word);
		if (read_field(f, of, value))
			return err_new("%s: %s: not what this version writes", what, f->name);
	}
	return NULL;
}

static struct vgpu_err *read_contract(struct keeper *k, char *rest)
{
	struct contract c = {0};
	struct vgpu_err *e = read_record("contract", contract_fields, &c, rest);

	if (!e && (c.executor != IPC_EXECUTOR_VERSION || c.layout != VGPU_LAYOUT_VERSION))
		e = err_new("running executors and guests speak versions %u and %u, vgpud %s speaks %u and %u: end the "
			    "programs that use the device, then restart vgpud", c.executor, c.layout, VGPU_VERSION_STRING,
			    IPC_EXECUTOR_VERSION, VGPU_LAYOUT_VERSION);
	return e;
}

static struct vgpu_err *read_keeper(struct keeper *k, char *rest)
{
	return read_record("keeper", keeper_fields, k, rest);
}

static struct vgpu_err *read_listener(struct keeper *k, char *rest)
{
	struct listener *l = calloc(1, sizeof(*l));
	struct vgpu_err *e;

	if (!l)
		return err_new("out of memory");
	l->keeper = k;
	l->io.fd = -1;
	list_add_tail(&k->listeners, &l->node);
	e = read_record("listener", listener_fields, l, rest);
	l->path[sizeof(l->path) - 1] = 0;
	if (!l->vm)
		k->guest = l;
	return e;
}

static struct vgpu_err *read_conn(struct keeper *k, char *rest)
{
	struct conn *c = calloc(1, sizeof(*c));
	struct vgpu_err *e;

	if (!c)
		return err_new("out of memory");
	c->keeper = k;
	c->io.fd = -1;
	conn_no_memory(c);
	list_add_tail(&k->conns, &c->node);
	e = read_record("conn", conn_fields, c, rest);
	return !e && c->vectors > IPC_VECTORS_MAX ? err_new("conn %u: more vectors than this version has", c->id) : e;
}

static struct vgpu_err *read_child(struct keeper *k, char *rest)
{
	struct child *c = calloc(1, sizeof(*c));
	struct vgpu_err *e;

	if (!c)
		return err_new("out of memory");
	c->keeper = k;
	c->io.fd = c->broker_sock = c->lease_fd = c->kick_fd = -1;
	list_add_tail(&k->children, &c->node);
	e = read_record("child", child_fields, c, rest);
	return !e && c->pid <= 0 ? err_new("child %u: no process", c->id) : e;
}

static const struct {
	const char *what;
	struct vgpu_err *(*read)(struct keeper *, char *rest);
} records[] = {
	{"contract", read_contract}, {"keeper", read_keeper}, {"listener", read_listener}, {"conn", read_conn}, {"child", read_child},
};

static struct vgpu_err *read_line(struct keeper *k, char *line, struct buf *config)
{
	char *rest = strchr(line, ' ');

	if (rest)
		*rest++ = 0;
	if (rest && !strcmp(line, "config"))
		return buf_printf(config, "%s\n", rest) ? err_new("config: too long") : NULL;
	for (unsigned i = 0; rest && i < sizeof(records) / sizeof(records[0]); i++)
		if (!strcmp(records[i].what, line))
			return records[i].read(k, rest);
	return err_new("\"%.40s\" is not known to this version", line);
}

struct vgpu_err *handover_read(struct keeper *k, const char *text, struct vgpud_config *old)
{
	cleanup_mem char *copy = strdup(text);
	struct vgpu_err *e = NULL;
	char *at = copy, *line;
	struct buf config;

	if (!copy)
		return err_new("out of memory");
	line = strsep(&at, "\n");
	if (strcmp(line, HEAD))
		return err_new("begins with \"%.40s\", not with \"" HEAD "\"", line);
	buf_init(&config, 64 << 10);
	while (!e && (line = strsep(&at, "\n")) && *line && strcmp(line, "end"))
		e = read_line(k, line, &config);
	if (!e && (!line || !*line || !at || *at))
		e = err_new("is cut off");
	if (!e) {
		config_defaults(old);
		e = conf_parse("configuration in force", config.data ? config.data : "", config_keys, old);
	}
	buf_free(&config);
	return e;
}

void handover_forget(struct keeper *k)
{
	list_for_each(n, &k->listeners)
		free(list_entry(n, struct listener, node));
	list_for_each(n, &k->conns)
		free(list_entry(n, struct conn, node));
	list_for_each(n, &k->children)
		free(list_entry(n, struct child, node));
	list_init(&k->listeners);
	list_init(&k->conns);
	list_init(&k->children);
}

static int each_fd(const struct field *fields, const void *of, int (*fn)(int fd))
{
	int rc = 0;

	for (const struct field *f = fields; f->name; f++)
		for (unsigned i = 0; !rc && f->kind == FD && i < f->n; i++) {
			int fd = (int)get((const char *)of + f->at + i * sizeof(int), FD);

			rc = fd < 0 ? 0 : fn(fd);
		}
	return rc;
}

int handover_each_fd(struct keeper *k, int (*fn)(int fd))
{
	int rc = each_fd(keeper_fields, k, fn);

	list_for_each(n, &k->listeners)
		rc = rc ? rc : each_fd(listener_fields, list_entry(n, struct listener, node), fn);
	list_for_each(n, &k->conns)
		rc = rc ? rc : each_fd(conn_fields, list_entry(n, struct conn, node), fn);
	list_for_each(n, &k->children)
		rc = rc ? rc : each_fd(child_fields, list_entry(n, struct child, node), fn);
	return rc;
}
