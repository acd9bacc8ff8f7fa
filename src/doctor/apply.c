/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applying a plan and taking it back. The journal, /var/lib/vgpu-doctor/applied.json, is written
 * before each file: for every path whether it was there, its bytes, mode and times, and the bytes we
 * put there. Everything is opened below the root without following links out of it.
 */
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <nettle/base64.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STATE_DIR "/var/lib/vgpu-doctor"
#define JOURNAL	  "applied.json"
#define FILE_MAX  (1u << 20)

static int open_in(int root, const char *path, int flags, mode_t mode)
{
	struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC), .mode = flags & O_CREAT ? mode : 0,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};

	return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

/* The directory a path lies in, made where missing; the names made are added to made. */
static int open_parent(int root, const char *path, json_t *made)
{
	char buf[512], *slash;
	int dir = dup(root);

	snprintf(buf, sizeof(buf), "%s", path + 1);
	for (char *at = buf; dir >= 0 && (slash = strchr(at, '/')); at = slash + 1) {
		int next;

		*slash = 0;
		next = open_in(root, buf, O_RDONLY | O_DIRECTORY, 0);
		if (next < 0 && errno == ENOENT && made) {
			if (mkdirat(dir, at, 0755)) {
				close(dir);
				return -1;
			}
			json_array_append_new(made, json_sprintf("/%s", buf));
			next = open_in(root, buf, O_RDONLY | O_DIRECTORY, 0);
		}
		close(dir);
		dir = next;
		*slash = '/';
	}
	return dir;
}

static const char *base(const char *path)
{
	return strrchr(path, '/') + 1;
}

static char *read_file(int dir, const char *name, size_t *len, struct stat *st)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	char *buf = NULL;
	ssize_t n = -1;

	if (fd < 0)
		return NULL;
	if (!fstat(fd, st) && S_ISREG(st->st_mode) && st->st_size < FILE_MAX && (buf = malloc((size_t)st->st_size + 1)))
		n = read(fd, buf, (size_t)st->st_size);
	close(fd);
	if (n < 0 || n != st->st_size) {
		free(buf);
		errno = EIO;
		return NULL;
	}
	buf[n] = 0;
	*len = (size_t)n;
	return buf;
}

/* Written beside, synced, renamed into place: a crash leaves the old file or the new. */
static bool write_file(int dir, const char *name, const char *data, size_t len, mode_t mode)
{
	char tmp[300];
	int fd;
	bool ok;

	snprintf(tmp, sizeof(tmp), ".%s.vgpu-doctor", name);
	unlinkat(dir, tmp, 0);
	fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	ok = write(fd, data, len) == (ssize_t)len && !fchmod(fd, mode) && !fsync(fd);
	ok = !close(fd) && ok && !renameat(dir, tmp, dir, name);
	if (!ok)
		unlinkat(dir, tmp, 0);
	return ok;
}

static json_t *pack_bytes(const char *data, size_t len)
{
	char *out = malloc(BASE64_ENCODE_RAW_LENGTH(len) + 1);
	json_t *j;

	if (!out)
		abort();
	base64_encode_raw(out, len, (const uint8_t *)data);
	j = json_stringn(out, BASE64_ENCODE_RAW_LENGTH(len));
	free(out);
	return j;
}

static char *unpack_bytes(const json_t *j, size_t *len)
{
	size_t n = json_string_length(j);
	uint8_t *out = malloc(BASE64_DECODE_LENGTH(n) + 1);
	struct base64_decode_ctx ctx;

	if (!out)
		abort();
	base64_decode_init(&ctx);
	*len = BASE64_DECODE_LENGTH(n);
	if (!json_is_string(j) || !base64_decode_update(&ctx, len, out, n, json_string_value(j)) || !base64_decode_final(&ctx)) {
		free(out);
		return NULL;
	}
	return (char *)out;
}

static json_t *read_journal(int state)
{
	struct stat st;
	size_t len;
	char *text = read_file(state, JOURNAL, &len, &st);
	json_t *j = text ? json_loadb(text, len, 0, NULL) : NULL;

	free(text);
	return j;
}

static bool write_journal(int state, const json_t *j)
{
	char *text = json_dumps(j, JSON_INDENT(1));
	bool ok = text && write_file(state, JOURNAL, text, strlen(text), 0600);

	free(text);
	return ok;
}

/* What the journal knows of a path already: the first state found stays the one to go back to. */
static json_t *entry_of(const json_t *journal, const char *path)
{
	json_t *e;
	size_t i;

	json_array_foreach(json_object_get(journal, "files"), i, e)
		if (!strcmp(json_string_value(json_object_get(e, "path")), path))
			return e;
	return NULL;
}

static const char *apply_one(json_t *journal, int root, int state, const char *path, const char *text, unsigned *written)
{
	int dir = open_parent(root, path, json_object_get(journal, "directories"));
	struct stat st = {0};
	size_t len = 0;
	char *old = dir < 0 ? NULL : read_file(dir, base(path), &len, &st);
	json_t *e = entry_of(journal, path);
	const char *bad = NULL;

	if (dir < 0 || (!old && errno != ENOENT)) {
		bad = strerror(errno);
	} else if (!old || len != strlen(text) || memcmp(old, text, len)) {
		if (!e) {
			e = json_pack("{ss}", "path", path);
			if (old) {
				json_object_set_new(e, "old", pack_bytes(old, len));
				json_object_set_new(e, "stat", json_pack("[iiiII]", (int)(st.st_mode & 07777), (int)st.st_uid, (int)st.st_gid,
									 (json_int_t)st.st_mtim.tv_sec, (json_int_t)st.st_mtim.tv_nsec));
			}
			json_array_append_new(json_object_get(journal, "files"), e);
		}
		json_object_set_new(e, "new", pack_bytes(text, strlen(text)));
		if (!write_journal(state, journal) || !write_file(dir, base(path), text, strlen(text), 0644))
			bad = strerror(errno);
		else
			++*written;
	}
	free(old);
	if (dir >= 0)
		close(dir);
	return bad;
}

const char *plan_apply(const struct plan *p, int root, unsigned *written)
{
	json_t *made = json_array(), *journal;
	int state = open_parent(root, STATE_DIR "/x", made);
	const char *bad = state < 0 ? strerror(errno) : NULL;

	*written = 0;
	journal = state < 0 ? NULL : read_journal(state);
	if (!journal)
		journal = json_pack("{s[]sO}", "files", "directories", made);
	for (size_t i = 0; i < p->nfile && !bad; i++)
		bad = apply_one(journal, root, state, p->file[i].path, p->file[i].text, written);
	json_decref(journal);
	json_decref(made);
	if (state >= 0)
		close(state);
	return bad;
}

static const char *restore_times(int dir, const char *name, const json_t *st)
{
	struct timespec t[2] = {{.tv_nsec = UTIME_OMIT},
				{.tv_sec = json_integer_value(json_array_get(st, 3)), .tv_nsec = json_integer_value(json_array_get(st, 4))}};

	if (fchownat(dir, name, (uid_t)json_integer_value(json_array_get(st, 1)), (gid_t)json_integer_value(json_array_get(st, 2)),
		     AT_SYMLINK_NOFOLLOW) && errno != EPERM)
		return strerror(errno);
	return utimensat(dir, name, t, AT_SYMLINK_NOFOLLOW) ? strerror(errno) : NULL;
}

static const char *revert_one(int root, const json_t *e, unsigned *restored)
{
	const char *path = json_string_value(json_object_get(e, "path")), *bad = NULL;
	int dir = path && *path == '/' ? open_parent(root, path, NULL) : -1;
	const json_t *st = json_object_get(e, "stat");
	size_t len = 0, have_len = 0, old_len = 0;
	char *mine = unpack_bytes(json_object_get(e, "new"), &len), *old = unpack_bytes(json_object_get(e, "old"), &old_len), *have;
	struct stat now;

	if (dir < 0) {
		bad = path ? strerror(errno) : "the journal is damaged";
		free(mine);
		free(old);
		return bad;
	}
	have = read_file(dir, base(path), &have_len, &now);
	if (have && old && have_len == old_len && !memcmp(have, old, old_len))
		; /* a revert that was interrupted */
	else if (have && (!mine || have_len != len || memcmp(have, mine, len)))
		bad = "was changed by somebody else since; put it right by hand";
	else if (!old && have && unlinkat(dir, base(path), 0))
		bad = strerror(errno);
	else if (old && !write_file(dir, base(path), old, old_len, (mode_t)json_integer_value(json_array_get(st, 0))))
		bad = strerror(errno);
	if (!bad && old)
		bad = restore_times(dir, base(path), st);
	*restored += !bad;
	free(have);
	free(mine);
	free(old);
	close(dir);
	return bad;
}

/* Directories we made, deepest first; one that holds something else by now stays. */
static void remove_directories(int root, const json_t *list)
{
	for (size_t i = json_array_size(list); i-- > 0;) {
		const char *path = json_string_value(json_array_get(list, i));
		int dir = path && *path == '/' ? open_parent(root, path, NULL) : -1;

		if (dir < 0)
			continue;
		unlinkat(dir, base(path), AT_REMOVEDIR);
		close(dir);
	}
}

const char *plan_revert(int root, unsigned *restored)
{
	int state = open_parent(root, STATE_DIR "/x", NULL);
	json_t *journal = state < 0 ? NULL : read_journal(state), *e;
	const char *bad = NULL;
	size_t i;

	*restored = 0;
	if (!journal) {
		if (state >= 0)
			close(state);
		return "nothing was applied here";
	}
	json_array_foreach(json_object_get(journal, "files"), i, e) {
		const char *problem = revert_one(root, e, restored);

		bad = bad ? bad : problem;
	}
	if (!bad) {
		unlinkat(state, JOURNAL, 0);
		remove_directories(root, json_object_get(journal, "directories"));
	}
	close(state);
	json_decref(journal);
	return bad;
}
