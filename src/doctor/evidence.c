/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BUCKETS    4096u
#define READ_LIMIT (4u << 20) /* no evidence file is larger; what is streamed goes through ev_fd */
#define LIST_LIMIT (1u << 20) /* bytes of names: a directory of 10^6 entries is cut, not believed */

struct ev {
	int root; /* -1: closed */
	bool live;
	struct ev_item *bucket[BUCKETS];
	struct ev_item *oldest, *newest;
	size_t count;
	ev_fault_fn *fault;
	void *fault_arg;
};

const char *const ev_op_name[EV_OPS] = {"read", "list", "link", "stat", "derived"};

static void *xalloc(size_t n)
{
	void *p = calloc(1, n);

	if (!p)
		abort(); /* the doctor's memory is bounded by READ_LIMIT and friends */
	return p;
}

static struct ev *ev_new(int root, bool live)
{
	struct ev *ev = xalloc(sizeof(*ev));

	ev->root = root;
	ev->live = live;
	return ev;
}

struct ev *ev_open(const char *dir)
{
	struct stat a, b;
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	return ev_new(fd, !fstat(fd, &a) && !stat("/", &b) && a.st_ino == b.st_ino &&
				  a.st_dev == b.st_dev);
}

struct ev *ev_closed(void)
{
	return ev_new(-1, false);
}

static void item_free(struct ev_item *it)
{
	free(it->path);
	free(it->data);
	free(it->line);
	free(it);
}

void ev_free(struct ev *ev)
{
	struct ev_item *it, *newer;

	if (!ev)
		return;
	for (it = ev->oldest; it; it = newer) {
		newer = it->newer;
		item_free(it);
	}
	if (ev->root >= 0)
		close(ev->root);
	free(ev);
}

bool ev_is_closed(const struct ev *ev)
{
	return ev->root < 0;
}

bool ev_is_live(const struct ev *ev)
{
	return ev->live;
}

void ev_set_fault(struct ev *ev, ev_fault_fn *fn, void *arg)
{
	ev->fault = fn;
	ev->fault_arg = arg;
}

/* FNV-1a over operation and path. */
static uint32_t hash(enum ev_op op, const char *path)
{
	uint32_t h = 2166136261u ^ op;

	for (; *path; path++)
		h = (h ^ (uint8_t)*path) * 16777619u;
	return h % BUCKETS;
}

static struct ev_item *lookup(struct ev *ev, enum ev_op op, const char *path)
{
	struct ev_item *it = ev->bucket[hash(op, path)];

	while (it && (it->op != op || strcmp(it->path, path)))
		it = it->next;
	return it;
}

static struct ev_item *insert(struct ev *ev, enum ev_op op, const char *path)
{
	uint32_t h = hash(op, path);
	struct ev_item *it = xalloc(sizeof(*it));

	it->op = op;
	it->path = strdup(path);
	if (!it->path)
		abort();
	it->data = xalloc(1);
	it->next = ev->bucket[h];
	ev->bucket[h] = it;
	if (ev->newest)
		ev->newest->newer = it;
	else
		ev->oldest = it;
	ev->newest = it;
	ev->count++;
	return it;
}

void ev_set_data(struct ev_item *it, const void *data, size_t len)
{
	char *copy = xalloc(len + 1);

	if (len)
		memcpy(copy, data, len);
	free(it->data);
	it->data = copy;
	it->len = len;
}

int ev_fd(struct ev *ev, const char *path)
{
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	if (ev->root < 0)
		return -ENODATA;
	do
		fd = (int)syscall(SYS_openat2, ev->root, path, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd < 0 ? -errno : fd;
}

static int path_fd(struct ev *ev, const char *path, int extra)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC | (uint64_t)extra,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, ev->root, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* sysfs and procfs report sizes that mean nothing; elsewhere a short read is a lost tail. */
static bool size_means_something(const struct ev_item *it, const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_size > 0 && strncmp(it->path, "/sys/", 5) &&
	       strncmp(it->path, "/proc/", 6);
}

/* Reads to the end or READ_LIMIT; size: of a regular file, which spares asking again for its end. A kmsg device gives EAGAIN at its end and one record per read. */
static int read_all(struct ev_item *it, int fd, bool records, int64_t size)
{
	size_t cap = 4096 + 64;
	char *buf = xalloc(cap + 1);
	int err = 0;

	for (;;) {
		if (cap - it->len < 8192 && cap < READ_LIMIT && it->len > 4096) {
			cap *= 2;
			buf = realloc(buf, cap + 1);
			if (!buf)
				abort();
		}
		ssize_t n = it->len < cap ? read(fd, buf + it->len, cap - it->len) : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && records && errno == EPIPE) /* overwritten meanwhile: the next is fine */
			continue;
		if (n < 0 && !(records && errno == EAGAIN))
			err = errno;
		if (n <= 0)
			break;
		it->len += (size_t)n;
		if (size && (int64_t)it->len == size)
			break;
	}
	it->cut = it->len >= cap;
	buf[it->len] = 0;
	free(it->data);
	/* Thousands of one-line files: what is kept of each is what it holds. */
	it->data = realloc(buf, it->len + 1);
	if (!it->data)
		abort();
	return err;
}

static void do_read(struct ev *ev, struct ev_item *it)
{
	struct stat st;
	int fd = ev_fd(ev, it->path);

	if (fd < 0) {
		it->err = -fd;
		return;
	}
	if (fstat(fd, &st))
		it->err = errno;
	else if (S_ISDIR(st.st_mode))
		it->err = EISDIR;
	else if (!S_ISREG(st.st_mode) && !(S_ISCHR(st.st_mode) && ev->live))
		it->err = EINVAL; /* a FIFO or device planted in an audited tree is not read */
	else
		it->err = read_all(it, fd, S_ISCHR(st.st_mode), S_ISREG(st.st_mode) ? st.st_size : 0);
	if (!it->err && size_means_something(it, &st) && (int64_t)it->len < st.st_size)
		it->cut = true;
	close(fd);
	if (it->err)
		ev_set_data(it, NULL, 0);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void pack_names(struct ev_item *it, char **name, size_t n, size_t bytes)
{
	char *out = xalloc(bytes + 1), *p = out;

	if (n)
		qsort(name, n, sizeof(*name), by_name);
	for (size_t i = 0; i < n; i++) {
		p = stpcpy(p, name[i]) + 1;
		free(name[i]);
	}
	free(name);
	free(it->data);
	it->data = out;
	it->len = bytes;
}

static void do_list(struct ev *ev, struct ev_item *it)
{
	char **name = NULL;
	size_t n = 0, bytes = 0;
	struct dirent *d;
	int fd = ev_fd(ev, it->path);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		it->err = fd < 0 ? -fd : errno;
		if (fd >= 0)
			close(fd);
		return;
	}
	for (errno = 0; (d = readdir(dir)); errno = 0) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		if (bytes + strlen(d->d_name) + 1 > LIST_LIMIT) {
			it->cut = true;
			break;
		}
		if (!(n & (n + 1))) {
			name = realloc(name, (2 * n + 2) * sizeof(*name));
			if (!name)
				abort();
		}
		name[n] = strdup(d->d_name);
		if (!name[n])
			abort();
		bytes += strlen(name[n++]) + 1;
	}
	it->err = it->cut ? EOVERFLOW : errno;
	closedir(dir);
	pack_names(it, name, n, bytes);
}

static void do_link(struct ev *ev, struct ev_item *it)
{
	char buf[PATH_MAX];
	int fd = path_fd(ev, it->path, O_NOFOLLOW);
	ssize_t n;

	if (fd < 0) {
		it->err = -fd;
		return;
	}
	n = readlinkat(fd, "", buf, sizeof(buf) - 1);
	/* readlinkat("") on something that is no symlink says ENOENT; that would read as absent. */
	if (n < 0)
		it->err = errno == ENOENT ? EINVAL : errno;
	else
		ev_set_data(it, buf, (size_t)n);
	close(fd);
}

static void do_stat(struct ev *ev, struct ev_item *it)
{
	struct stat st;
	int fd = path_fd(ev, it->path, 0);

	if (fd < 0 || fstat(fd, &st)) {
		it->err = fd < 0 ? -fd : errno;
	} else {
		it->mode = st.st_mode;
		it->uid = st.st_uid;
		it->gid = st.st_gid;
		it->mtime = st.st_mtime;
		it->size = st.st_size;
	}
	if (fd >= 0)
		close(fd);
}

/* Text: no NUL, no control character but tab, newline, return, escape; well-formed UTF-8. */
static bool is_text(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)s[i];
		int more = c < 0x80 ? 0 : c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc2 ? 1 : -1;

		if (more < 0 || c > 0xf4 || c == 0x7f ||
		    (c < 0x20 && c != '\n' && c != '\t' && c != '\r' && c != 0x1b))
			return false;
		for (; more; more--)
			if (++i >= len || ((uint8_t)s[i] & 0xc0) != 0x80)
				return false;
	}
	return true;
}

/* Text of sysfs and procfs ends in a newline; without one its tail was lost. Security labels have
 * none by nature. */
static bool lost_tail(const struct ev_item *it)
{
	size_t n = strlen(it->path), label = strlen("/attr/current");

	if (!it->len || it->data[it->len - 1] == '\n' || (n > label && !strcmp(it->path + n - label, "/attr/current")))
		return false;
	return !strncmp(it->path, "/sys/", 5) || !strncmp(it->path, "/proc/", 6);
}

void ev_classify(struct ev_item *it)
{
	size_t n = it->len;

	free(it->line);
	it->line = NULL;
	it->text = false;
	if (it->err || it->cut || (it->op != EV_READ && it->op != EV_DERIVED && it->op != EV_LINK))
		return;
	if (!is_text(it->data, it->len) || (it->op == EV_READ && lost_tail(it)))
		return;
	it->text = true;
	while (n && (it->data[n - 1] == '\n' || it->data[n - 1] == ' '))
		n--;
	if (n > 4096 || memchr(it->data, '\n', n))
		return; /* not a one-value file */
	it->line = xalloc(n + 1);
	memcpy(it->line, it->data, n);
}

static void settle(struct ev *ev, struct ev_item *it)
{
	ev_classify(it);
	if (ev->fault) {
		ev->fault(it, ev->fault_arg);
		ev_classify(it);
	}
}

const struct ev_item *ev_get(struct ev *ev, enum ev_op op, const char *path)
{
	static void (*const ask[])(struct ev *, struct ev_item *) = {
		[EV_READ] = do_read, [EV_LIST] = do_list, [EV_LINK] = do_link, [EV_STAT] = do_stat};
	struct ev_item *it = lookup(ev, op, path);

	if (it)
		return it;
	it = insert(ev, op, path);
	if (ev->root < 0)
		it->err = ENODATA;
	else
		ask[op](ev, it);
	settle(ev, it);
	return it;
}

const struct ev_item *ev_getf(struct ev *ev, enum ev_op op, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	return ev_get(ev, op, path);
}

const struct ev_item *ev_derive(struct ev *ev, const char *path, ev_derive_fn *fn, void *arg)
{
	struct ev_item *it = lookup(ev, EV_DERIVED, path);

	if (it)
		return it;
	it = insert(ev, EV_DERIVED, path);
	if (ev->root < 0)
		it->err = ENODATA;
	else
		fn(ev, it, arg);
	settle(ev, it);
	return it;
}

struct ev_item *ev_put(struct ev *ev, enum ev_op op, const char *path, int err, const void *data,
		       size_t len)
{
	struct ev_item *it = lookup(ev, op, path);

	if (it)
		return it;
	it = insert(ev, op, path);
	it->err = err;
	ev_set_data(it, data, len);
	settle(ev, it);
	return it;
}

const struct ev_item *ev_first(const struct ev *ev)
{
	return ev->oldest;
}

size_t ev_count(const struct ev *ev)
{
	return ev->count;
}

const char *ev_name(const struct ev_item *list, const char *prev)
{
	const char *next = prev ? prev + strlen(prev) + 1 : list->data;

	return next < list->data + list->len ? next : NULL;
}

bool ev_has_name(const struct ev_item *list, const char *name)
{
	for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n))
		if (!strcmp(n, name))
			return true;
	return false;
}

const char *ev_text_problem(const struct ev_item *it)
{
	if (it->err == ENODATA)
		return "not in the bundle";
	if (it->err)
		return strerror(it->err);
	if (it->cut)
		return "cut short";
	return it->text ? NULL : "not complete, valid text";
}
