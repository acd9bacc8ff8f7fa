/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vprintf and __assertfail, the two functions the device runtime provides to every kernel here.
 * Their arguments are parameters in local memory; the strings are wherever the kernel put them, so
 * every byte is checked like a load.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "softcuda/engine_prog.h"

enum { MAX_TEXT = 4096, MAX_SPEC = 32 };

static bool read_bytes(struct warp *w, uint64_t va, void *out, uint32_t n, int lane)
{
	if (!sc_find_range(w, 0, va, n, lane))
		return false;
	memcpy(out, (const void *)(uintptr_t)va, n);
	return true;
}

static bool read_string(struct warp *w, uint64_t va, char *out, size_t cap, int lane)
{
	size_t n = 0;
	while (n + 1 < cap) {
		if (!read_bytes(w, va + n, &out[n], 1, lane))
			return false;
		if (!out[n])
			return true;
		n++;
	}
	out[n] = 0;
	return true;
}

static uint64_t argument(struct warp *w, const struct call_info *c, uint32_t k, uint32_t lane)
{
	const struct call_arg *a = &c->arg[k];
	uint64_t v = 0;
	if (a->from_reg) {
		const uint8_t *r = w->r + a->from + (size_t)lane * a->from_width;
		memcpy(&v, r, a->from_width);
		return v;
	}
	uint64_t at = w->local_base + (uint64_t)lane * w->k->run->local_stride + w->frame->sp + a->from;
	memcpy(&v, (const void *)(uintptr_t)at, a->size < 8 ? a->size : 8);
	return v;
}

static void set_result(struct warp *w, const struct call_info *c, uint32_t lane, uint32_t v)
{
	if (!c->nresults)
		return;
	const struct call_arg *a = &c->result[0];
	if (a->from_reg) {
		memcpy(w->r + a->from + (size_t)lane * a->from_width, &v, a->from_width < 4 ? a->from_width : 4);
		return;
	}
	uint64_t at = w->local_base + (uint64_t)lane * w->k->run->local_stride + w->frame->sp + a->from;
	memcpy((void *)(uintptr_t)at, &v, a->size < 4 ? a->size : 4);
}

struct text {
	char v[MAX_TEXT];
	size_t n;
};

/* A width or precision beyond 999 would have the host spend time and memory on padding. */
static bool long_number(const char *spec, size_t len)
{
	size_t digits = 0;
	for (size_t i = 0; i < len && digits <= 3; i++)
		digits = spec[i] >= '0' && spec[i] <= '9' ? digits + 1 : 0;
	return digits > 3;
}

static void append(struct text *t, const char *s, size_t n)
{
	size_t room = sizeof(t->v) - t->n;
	n = n < room ? n : room;
	memcpy(t->v + t->n, s, n);
	t->n += n;
}

/* One conversion, spec as "%-8.3f" or with l/ll/h, from the argument buffer. Returns false if the
 * buffer cannot be read. */
static bool convert(struct warp *w, struct text *t, const char *spec, size_t len, uint64_t *args, int lane)
{
	char f[MAX_SPEC + 4], out[512], str[256];
	char kind = spec[len - 1];
	bool wide = memchr(spec, 'l', len) || memchr(spec, 'j', len) || memchr(spec, 'z', len) ||
		    memchr(spec, 't', len) || strchr("feEgGaAsp", kind);
	uint32_t size = wide ? 8 : 4;
	uint64_t v = 0, at = (*args + size - 1) & ~(uint64_t)(size - 1);
	double x;
	size_t k = 0;
	int n;
	if (!read_bytes(w, at, &v, size, lane))
		return false;
	*args = at + size;
	for (size_t i = 0; i + 1 < len && k < MAX_SPEC; i++)
		if (!strchr("lhjztL", spec[i]))
			f[k++] = spec[i];
	if (strchr("diouxX", kind)) {
		f[k++] = 'l';
		f[k++] = 'l';
	}
	f[k++] = kind;
	f[k] = 0;
	if (kind == 's') {
		if (!read_string(w, v, str, sizeof(str), lane))
			return false;
		n = snprintf(out, sizeof(out), f, str);
	} else if (strchr("feEgGaA", kind)) {
		memcpy(&x, &v, 8);
		n = snprintf(out, sizeof(out), f, x);
	} else if (strchr("di", kind)) {
		n = snprintf(out, sizeof(out), f, wide ? (long long)v : (long long)(int32_t)v);
	} else if (strchr("ouxX", kind)) {
		n = snprintf(out, sizeof(out), f, (unsigned long long)v);
	} else if (kind == 'c') {
		n = snprintf(out, sizeof(out), f, (int)v);
	} else if (kind == 'p') {
		n = snprintf(out, sizeof(out), f, (void *)(uintptr_t)v);
	} else {
		append(t, spec, len);
		return true;
	}
	append(t, out, n < 0 ? 0 : (size_t)n < sizeof(out) ? (size_t)n : sizeof(out) - 1);
	return true;
}

/* '*' widths and numbers of four digits are not followed: such a conversion is printed as it stands. */
static bool format(struct warp *w, struct text *t, const char *s, uint64_t args, int lane)
{
	while (*s) {
		size_t plain = strcspn(s, "%");
		append(t, s, plain);
		s += plain;
		if (!*s)
			break;
		size_t len = 1 + strspn(s + 1, "-+ #0123456789.lhjztL");
		if (!s[len])
			break;
		len++;
		if (s[len - 1] == '%')
			append(t, "%", 1);
		else if (len > MAX_SPEC || long_number(s, len) || s[len - 1] == '*' || s[len - 1] == 'n')
			append(t, s, len);
		else if (!convert(w, t, s, len, &args, lane))
			return false;
		s += len;
	}
	return true;
}

static void put_out(int fd, const char *s, size_t n)
{
	while (n) {
		ssize_t k = write(fd, s, n);
		if (k <= 0)
			return;
		s += k;
		n -= (size_t)k;
	}
}

static const struct insn *print(struct warp *w, const struct insn *in, const struct call_info *c)
{
	char fmt[MAX_TEXT];
	for (uint32_t rest = w->mask; rest; rest &= rest - 1) {
		int lane = __builtin_ctz(rest);
		uint64_t at = argument(w, c, 0, (uint32_t)lane), args = argument(w, c, 1, (uint32_t)lane);
		struct text t = { .n = 0 };
		if (!read_string(w, at, fmt, sizeof(fmt), lane) || !format(w, &t, fmt, args, lane))
			return sc_fault_at(w, in, SC_ILLEGAL_ADDRESS, lane, at, 1, false, "vprintf: bad format or argument");
		put_out(1, t.v, t.n);
		set_result(w, c, (uint32_t)lane, (uint32_t)t.n);
	}
	return in + 1;
}

static const struct insn *assertion(struct warp *w, const struct insn *in, const struct call_info *c)
{
	char what[64] = "?", file[128] = "?", func[64] = "?", text[512];
	int lane = __builtin_ctz(w->mask);
	uint32_t l = (uint32_t)lane, line = (uint32_t)argument(w, c, 2, l);
	if (!read_string(w, argument(w, c, 0, l), what, sizeof(what), lane) ||
	    !read_string(w, argument(w, c, 1, l), file, sizeof(file), lane) ||
	    !read_string(w, argument(w, c, 3, l), func, sizeof(func), lane))
		snprintf(what, sizeof(what), "(unreadable)");
	int n = snprintf(text, sizeof(text), "%s:%u: %s: block: [%u,%u,%u], thread: [%u,%u,%u] Assertion `%s` failed.\n", file,
			 line, func, w->b->id[0], w->b->id[1], w->b->id[2], w->tid[0][lane], w->tid[1][lane],
			 w->tid[2][lane], what);
	put_out(2, text, n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1);
	return sc_fault_at(w, in, SC_ASSERT, lane, 0, 0, false, "assertion '%s' failed", what);
}

const struct insn *sc_builtin_call(struct warp *w, const struct insn *in)
{
	const struct call_info *c = in->aux;
	if (c->builtin == BUILTIN_VPRINTF && c->nargs == 2)
		return print(w, in, c);
	if (c->builtin == BUILTIN_ASSERTFAIL && c->nargs == 5)
		return assertion(w, in, c);
	return sc_fault_at(w, in, SC_ILLEGAL_INSTRUCTION, __builtin_ctz(w->mask), 0, 0, false, "call of %s with %u arguments",
			   c->name, c->nargs);
}
