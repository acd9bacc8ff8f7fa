/* SPDX-License-Identifier: Apache-2.0 */
#include "initramfs.h"
#include "cpio.h"

#include <bzlib.h>
#include <errno.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define IN_SIZE	 65536u
#define OUT_SIZE 262144u
#define LZ4_BLOCK (8u << 20) /* the kernel's lz4 format has blocks of this size */

struct reader {
	int fd;
	uint8_t buf[IN_SIZE];
	size_t at, len;
	bool end;
	struct cpio *cpio;
	uint64_t out; /* decompressed bytes so far */
	unsigned entries;
	json_t *modules, *conf;
	const char *problem;
};

/* At least one unread byte in buf, or the end. */
static bool more(struct reader *r)
{
	ssize_t n;

	if (r->at < r->len)
		return true;
	do
		n = r->end ? 0 : read(r->fd, r->buf, sizeof(r->buf));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		r->problem = "read error";
	r->end = n <= 0;
	r->at = 0;
	r->len = n > 0 ? (size_t)n : 0;
	return r->len > 0;
}

static bool take_bytes(struct reader *r, uint8_t *to, size_t n)
{
	while (n && more(r)) {
		size_t k = r->len - r->at < n ? r->len - r->at : n;

		memcpy(to, r->buf + r->at, k);
		r->at += k;
		to += k;
		n -= k;
	}
	return !n;
}

/* Decompressed bytes must be cpio to the last. */
static bool give(struct reader *r, const uint8_t *p, size_t n)
{
	r->out += n;
	if (r->out > INITRD_BYTES || r->entries > INITRD_ENTRIES)
		r->problem = "larger than any initramfs: refused";
	else if (cpio_push(r->cpio, p, n) < n)
		r->problem = "something else than cpio inside the compressed part";
	else
		r->problem = r->problem ? r->problem : cpio_problem(r->cpio);
	return !r->problem;
}

static void un_gzip(struct reader *r, uint8_t *out)
{
	z_stream z = {0};
	int rc = inflateInit2(&z, 15 + 16);

	while (rc == Z_OK && more(r)) {
		z.next_in = r->buf + r->at;
		z.avail_in = (unsigned)(r->len - r->at);
		z.next_out = out;
		z.avail_out = OUT_SIZE;
		rc = inflate(&z, Z_NO_FLUSH);
		r->at = r->len - z.avail_in;
		if ((rc == Z_OK || rc == Z_STREAM_END) && !give(r, out, OUT_SIZE - z.avail_out))
			break;
	}
	if (rc != Z_STREAM_END && !r->problem)
		r->problem = "broken gzip data";
	inflateEnd(&z);
}

static void un_zstd(struct reader *r, uint8_t *out)
{
	ZSTD_DCtx *z = ZSTD_createDCtx();
	size_t rc = 1;

	ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, 27);
	while (rc && !ZSTD_isError(rc) && more(r)) {
		ZSTD_inBuffer in = {r->buf, r->len, r->at};
		ZSTD_outBuffer o = {out, OUT_SIZE, 0};

		rc = ZSTD_decompressStream(z, &o, &in);
		r->at = in.pos;
		if (!ZSTD_isError(rc) && !give(r, out, o.pos))
			break;
	}
	if (rc && !r->problem)
		r->problem = "broken zstd data";
	ZSTD_freeDCtx(z);
}

static void un_xz(struct reader *r, uint8_t *out)
{
	lzma_stream z = LZMA_STREAM_INIT;
	lzma_ret rc = lzma_stream_decoder(&z, 256u << 20, 0);

	while (rc == LZMA_OK && more(r)) {
		z.next_in = r->buf + r->at;
		z.avail_in = r->len - r->at;
		z.next_out = out;
		z.avail_out = OUT_SIZE;
		rc = lzma_code(&z, LZMA_RUN);
		r->at = r->len - z.avail_in;
		if ((rc == LZMA_OK || rc == LZMA_STREAM_END) && !give(r, out, OUT_SIZE - z.avail_out))
			break;
	}
	if (rc != LZMA_STREAM_END && !r->problem)
		r->problem = "broken xz data";
	lzma_end(&z);
}

static void un_bzip2(struct reader *r, uint8_t *out)
{
	bz_stream z = {0};
	int rc = BZ2_bzDecompressInit(&z, 0, 0);

	while (rc == BZ_OK && more(r)) {
		z.next_in = (char *)r->buf + r->at;
		z.avail_in = (unsigned)(r->len - r->at);
		z.next_out = (char *)out;
		z.avail_out = OUT_SIZE;
		rc = BZ2_bzDecompress(&z);
		r->at = r->len - z.avail_in;
		if ((rc == BZ_OK || rc == BZ_STREAM_END) && !give(r, out, OUT_SIZE - z.avail_out))
			break;
	}
	if (rc != BZ_STREAM_END && !r->problem)
		r->problem = "broken bzip2 data";
	BZ2_bzDecompressEnd(&z);
}

/* The kernel's "legacy" lz4: magic, then blocks of {compressed size, data} to the end of the file. */
static void un_lz4(struct reader *r, uint8_t *unused)
{
	uint8_t head[4], *in = malloc((size_t)LZ4_COMPRESSBOUND(LZ4_BLOCK)), *out = malloc(LZ4_BLOCK);

	(void)unused;
	if (!in || !out)
		abort();
	take_bytes(r, head, 4);
	while (!r->problem && take_bytes(r, head, 4)) {
		uint32_t n = head[0] | head[1] << 8 | head[2] << 16 | (uint32_t)head[3] << 24;
		int got;

		if (!n || n == 0x184c2102u) /* padding, or the next frame */
			continue;
		got = n <= (uint32_t)LZ4_COMPRESSBOUND(LZ4_BLOCK) && take_bytes(r, in, n)
			      ? LZ4_decompress_safe((char *)in, (char *)out, (int)n, LZ4_BLOCK) : -1;
		if (got < 0)
			r->problem = "broken lz4 data";
		else
			give(r, out, (size_t)got);
	}
	free(in);
	free(out);
}

static const struct {
	uint8_t magic[6];
	size_t n;
	void (*run)(struct reader *, uint8_t *);
} packers[] = {
	{{0x1f, 0x8b}, 2, un_gzip},
	{{0x28, 0xb5, 0x2f, 0xfd}, 4, un_zstd},
	{{0xfd, '7', 'z', 'X', 'Z', 0}, 6, un_xz},
	{{'B', 'Z', 'h'}, 3, un_bzip2},
	{{0x02, 0x21, 0x4c, 0x18}, 4, un_lz4},
};

/* Makes at least 8 bytes lie together, for the magic. */
static void line_up(struct reader *r)
{
	while (r->len - r->at < 8 && !r->end) {
		ssize_t n;

		memmove(r->buf, r->buf + r->at, r->len - r->at);
		r->len -= r->at;
		r->at = 0;
		n = read(r->fd, r->buf + r->len, sizeof(r->buf) - r->len);
		if (n <= 0)
			r->end = true;
		else
			r->len += (size_t)n;
	}
}

static void unpack(struct reader *r, uint8_t *out)
{
	line_up(r);
	for (size_t i = 0; i < sizeof(packers) / sizeof(*packers); i++)
		if (r->len - r->at >= packers[i].n && !memcmp(r->buf + r->at, packers[i].magic, packers[i].n)) {
			packers[i].run(r, out);
			return;
		}
	r->problem = "compressed in a way this program does not know";
}

/* "…/nvidia-drm.ko.zst" → "nvidia_drm" for the modules this program judges. */
static bool driver_module(const char *name, char *out, size_t size)
{
	static const char *const wanted[] = {"vfio", "nvidia", "nouveau", "nova", "pci-stub", "amdgpu", "radeon",
					     "xe", "i915", "iommufd", "nvgrace"};
	const char *base = strrchr(name, '/'), *ko;
	size_t n;

	base = base ? base + 1 : name;
	ko = strstr(base, ".ko");
	n = ko ? (size_t)(ko - base) : 0;
	if (!n || n >= size)
		return false;
	memcpy(out, base, n);
	out[n] = 0;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
		if (!strncmp(out, wanted[i], strlen(wanted[i]))) {
			for (char *p = out; *p; p++)
				*p = *p == '-' ? '_' : *p;
			return true;
		}
	return false;
}

static bool on_entry(void *arg, const char *name, uint32_t mode, uint64_t size)
{
	struct reader *r = arg;
	char module[64];

	(void)size;
	r->entries++;
	if (driver_module(name, module, sizeof(module)))
		json_array_append_new(r->modules, json_string(module));
	return (mode & 0170000) == 0100000 && json_object_size(r->conf) < 256 &&
	       (!strncmp(name, "etc/modprobe.d/", 15) || !strncmp(name, "usr/lib/modprobe.d/", 19) ||
		!strncmp(name, "lib/modprobe.d/", 15) || !strcmp(name, "conf/modules"));
}

static void on_contents(void *arg, const char *name, const char *data, size_t len)
{
	struct reader *r = arg;
	json_t *s = json_stringn(data, len);

	if (s)
		json_object_set_new(r->conf, name, s);
}

json_t *initrd_digest(int fd, const char **problem)
{
	static const struct cpio_ops ops = {on_entry, on_contents};
	struct reader *r = calloc(1, sizeof(*r));
	uint8_t *out = malloc(OUT_SIZE);
	json_t *digest = NULL;

	if (!r || !out)
		abort();
	r->fd = fd;
	r->modules = json_array();
	r->conf = json_object();
	r->cpio = cpio_new(&ops, r);
	while (!r->problem && more(r)) {
		size_t n = cpio_push(r->cpio, r->buf + r->at, r->len - r->at);

		r->at += n;
		r->problem = r->problem ? r->problem : cpio_problem(r->cpio);
		if (r->entries > INITRD_ENTRIES)
			r->problem = "larger than any initramfs: refused";
		if (!r->problem && r->at < r->len)
			unpack(r, out);
	}
	if (!r->problem && (!r->entries || !cpio_idle(r->cpio)))
		r->problem = "ends in the middle of an archive";
	if (!r->problem)
		digest = json_pack("{sIsOsO}", "entries", (json_int_t)r->entries, "modules", r->modules,
				   "conf", r->conf);
	*problem = r->problem;
	json_decref(r->modules);
	json_decref(r->conf);
	cpio_free(r->cpio);
	free(out);
	free(r);
	return digest;
}

static void derive(struct ev *ev, struct ev_item *item, void *arg)
{
	const char *problem;
	int fd = ev_fd(ev, arg);
	json_t *digest = fd < 0 ? NULL : initrd_digest(fd, &problem);
	char *text = digest ? json_dumps(digest, JSON_SORT_KEYS) : NULL;

	if (text)
		ev_set_data(item, text, strlen(text));
	else
		item->err = fd < 0 ? -fd : EBADMSG;
	free(text);
	json_decref(digest);
	if (fd >= 0)
		close(fd);
}

void initrd_collect(struct initrd *i, struct ev *ev, const char *release, bool look)
{
	static const char *const form[] = {"/boot/initrd.img-%s", "/boot/initramfs-%s.img", "/boot/initrd-%s",
					   "/boot/initramfs-linux.img"};
	char name[300];

	i->looked = look;
	for (size_t k = 0; k < sizeof(form) / sizeof(*form) && *release; k++) {
		const struct ev_item *st;

		snprintf(i->path, sizeof(i->path), form[k], release);
		st = ev_get(ev, EV_STAT, i->path);
		if (st->err == ENOENT)
			continue;
		i->stat = st;
		break;
	}
	if (!i->stat || !look)
		return;
	snprintf(name, sizeof(name), "initramfs:%s", i->path);
	i->src = ev_derive(ev, name, derive, i->path);
	if (i->src->text)
		i->digest = json_loadb(i->src->data, i->src->len, 0, NULL);
	if (i->digest && !json_is_object(json_object_get(i->digest, "conf"))) {
		json_decref(i->digest);
		i->digest = NULL;
	}
}

void initrd_free(struct initrd *i)
{
	json_decref(i->digest);
}

bool initrd_has_module(const struct initrd *i, const char *module)
{
	size_t k;
	json_t *v;

	json_array_foreach(json_object_get(i->digest, "modules"), k, v)
		if (json_string_value(v) && !strcmp(json_string_value(v), module))
			return true;
	return false;
}
