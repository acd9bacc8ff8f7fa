/* SPDX-License-Identifier: Apache-2.0 */
/*
 * top: who uses the device, once a second, full screen. Plain ANSI sequences that every terminal of the last
 * decades knows; fits any size from 80 x 24. Rates are differences between two answers by vgpud's counters.
 */
#include "admin/admin.h"
#include "base/loop.h"
#include "base/units.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define PERIOD_MS 1000
#define ROWS_MAX 4096
#define WIDE 110u /* columns: room for latencies too */

struct row {
	const char *name, *priority, *status; /* in the answer */
	double asked, got;		      /* fractions of the time between two answers */
	char wait_p99[VIEW_CELL], latency_p99[VIEW_CELL]; /* since vgpud began */
	double units, launches, bytes;	      /* per second */
	int64_t weight, cap, reservation, used, quota, faults;
};

struct screen {
	struct termios before;
	unsigned width, height;
};

static volatile sig_atomic_t ended;

static void on_end(int sig)
{
	ended = 1;
}

static void on_resize(int sig)
{
	/* poll() returns, the next picture has the new size */
}

/* ---- figures ---- */

static double number(json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

static json_t *same_vm(json_t *old, json_t *vm)
{
	size_t i;
	json_t *o;

	json_array_foreach(old, i, o)
		if (json_equal(json_object_get(o, "id"), json_object_get(vm, "id")))
			return o;
	return NULL;
}

static struct row row_of(json_t *vm, json_t *old, double seconds)
{
	json_t *o = same_vm(old, vm);
	struct row r = {
		.name = json_string_value(json_object_get(vm, "name")),
		.priority = json_string_value(json_object_get(vm, "priority")),
		.status = json_string_value(json_object_get(vm, "status")),
		.asked = number(vm, "share"),
		.weight = (int64_t)number(vm, "weight"),
		.cap = (int64_t)number(vm, "cap"),
		.reservation = (int64_t)number(vm, "reservation"),
		.used = (int64_t)number(vm, "quota_used"),
		.quota = (int64_t)number(vm, "quota"),
		.faults = (int64_t)number(vm, "faults"),
	};

	view_cell(&(struct view_column){"queue_wait_p99_seconds", "", VIEW_DURATION}, vm, r.wait_p99);
	view_cell(&(struct view_column){"latency_p99_seconds", "", VIEW_DURATION}, vm, r.latency_p99);
	if (!o || seconds <= 0)
		return r;
	r.got = (number(vm, "device_seconds") - number(o, "device_seconds")) / seconds;
	r.units = (number(vm, "units") - number(o, "units")) / seconds;
	r.launches = (number(vm, "launches") - number(o, "launches")) / seconds;
	r.bytes = (number(vm, "bytes") - number(o, "bytes")) / seconds;
	return r;
}

static int busiest_first(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->got != y->got ? (x->got < y->got ? 1 : -1) : strcmp(x->name, y->name);
}

static size_t make_rows(json_t *vms, json_t *old, double seconds, struct row *rows)
{
	size_t i, n = 0;
	json_t *vm;

	json_array_foreach(vms, i, vm)
		if (n < ROWS_MAX && json_string_value(json_object_get(vm, "name")))
			rows[n++] = row_of(vm, old, seconds);
	qsort(rows, n, sizeof(*rows), busiest_first);
	return n;
}

/* ---- the picture ---- */

static void rate(double n, char out[16])
{
	static const char suffix[] = " kMGT";
	unsigned i = 0;

	for (; n >= 9999.5 && suffix[i + 1]; i++)
		n /= 1000;
	snprintf(out, 16, "%.0f%c", n, suffix[i]);
}

static void put_line(const struct screen *s, const char *text, const char *attribute)
{
	printf("%s%-*.*s\033[0m\033[K\r\n", attribute, (int)s->width - 1, (int)s->width - 1, text);
}

static void bar(double got, double asked, unsigned cells, char *out)
{
	for (unsigned i = 0; i < cells; i++)
		out[i] = i < (unsigned)(got * cells + 0.5) ? '#' : i == (unsigned)(asked * cells) ? '|' : '.';
	out[cells] = 0;
}

static unsigned cells_of(const struct screen *s)
{
	return s->width < WIDE ? 10 : s->width < WIDE + 80 ? s->width - WIDE + 10 : 90;
}

static void draw_row(const struct screen *s, const struct row *r)
{
	char line[512], gauge[128], launches[16], bytes[16], used[24], quota[24], times[2 * VIEW_CELL + 4] = "";
	unsigned cells = cells_of(s);

	bar(r->got, r->asked, cells, gauge);
	if (s->width >= WIDE)
		snprintf(times, sizeof(times), " %8.8s %8.8s", r->wait_p99, r->latency_p99);
	rate(r->launches, launches);
	rate(r->bytes, bytes);
	units_size_text((uint64_t)r->used, used, sizeof(used));
	units_size_text((uint64_t)r->quota, quota, sizeof(quota));
	snprintf(line, sizeof(line), "%-12.12s %-3.3s %3lld %5.1f %5.1f %s %6.6s %6.6s %9.9s/%-9.9s%s %2lld %-.11s", r->name,
		 r->priority ? r->priority : "", (long long)r->weight, 100 * r->asked, 100 * r->got, gauge, launches, bytes,
		 used, quota, times, (long long)r->faults, r->status ? r->status : "");
	put_line(s, line, strcmp(r->status ? r->status : "", "quarantined") ? "" : "\033[1;31m");
}

static void draw_head(const struct screen *s, json_t *status, const struct row *rows, size_t n)
{
	size_t devices = json_array_size(json_object_get(status, "devices"));
	char line[512], used[24], total[24];
	double busy = 0;

	for (size_t i = 0; i < n; i++)
		busy += rows[i].got;
	units_size_text((uint64_t)number(status, "device_memory_reserved"), used, sizeof(used));
	units_size_text((uint64_t)number(status, "device_memory"), total, sizeof(total));
	if (devices > 1) /* each has its own name, policy and time */
		snprintf(line, sizeof(line), "OpenVGPU %s  %zu devices", json_string_value(json_object_get(status, "version")), devices);
	else
		snprintf(line, sizeof(line), "OpenVGPU %s  %s  %s", json_string_value(json_object_get(status, "version")),
			 json_string_value(json_object_get(status, "device")), json_string_value(json_object_get(status, "policy")));
	put_line(s, line, "\033[1m");
	snprintf(line, sizeof(line), "busy %5.1f %%   %zu VMs, %.0f executors   memory reserved %s of %s   hand-over %.0f us",
		 100 * busy / (double)(devices ? devices : 1), n, number(status, "executors"), used, total, number(status, "handover_mean_us"));
	put_line(s, line, "");
	snprintf(line, sizeof(line), "%-12s %-3s %3s %5s %5s %-*s %6s %6s %19s%s %2s %s", "NAME", "PRI", "WGT", "ASK %", "GOT %",
		 (int)cells_of(s), "", "LNCH/s", "B/s", "MEMORY / QUOTA   ", s->width >= WIDE ? " WAIT P99  E2E P99" : "", "FL",
		 "STATUS");
	put_line(s, line, "\033[7m");
}

static void draw(const struct screen *s, json_t *status, const struct row *rows, size_t n)
{
	size_t room = s->height > 5 ? s->height - 5 : 1, shown = n <= room ? n : room;
	char line[80];

	fputs("\033[H", stdout);
	draw_head(s, status, rows, n);
	for (size_t i = 0; i < shown; i++)
		draw_row(s, &rows[i]);
	line[0] = 0;
	if (shown < n)
		snprintf(line, sizeof(line), "... and %zu more", n - shown);
	put_line(s, line, "");
	fputs("\033[Jq: quit", stdout);
	fflush(stdout);
}

/* ---- the terminal ---- */

static void measure(struct screen *s)
{
	struct winsize w;

	s->width = 80;
	s->height = 24;
	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) && w.ws_col && w.ws_row) {
		s->width = w.ws_col < 500 ? w.ws_col : 500;
		s->height = w.ws_row;
	}
}

static void screen_begin(struct screen *s)
{
	struct sigaction end = {.sa_handler = on_end}, resize = {.sa_handler = on_resize};
	struct termios raw;

	tcgetattr(STDIN_FILENO, &s->before);
	raw = s->before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGWINCH, &resize, NULL);
	fputs("\033[?1049h\033[?25l\033[2J", stdout);
}

static void screen_end(const struct screen *s)
{
	fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSANOW, &s->before);
}

/* false: the user wants to leave, or the terminal is gone. */
static bool pause_unless_quit(uint64_t until)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};

	for (;;) {
		uint64_t now = now_ns();
		char key;
		int n = poll(&in, 1, now < until ? (int)((until - now) / 1000000) + 1 : 0);

		if (ended)
			return false;
		if (n < 0)
			return errno == EINTR; /* another size: draw at once */
		if (n == 0)
			return true;
		if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q')
			return false;
	}
}

static struct vgpu_err *ask_for(struct link *l, const char *cmd, json_t **out, int *status)
{
	json_t *q = json_pack("{s:s}", "cmd", cmd);
	struct vgpu_err *e = link_ask(l, q, out, status);

	json_decref(q);
	return e;
}

static struct vgpu_err *watch(struct link *l, struct screen *s, int *status)
{
	static struct row rows[ROWS_MAX];
	json_t *old = NULL, *vms = NULL, *state = NULL;
	uint64_t before = 0, now;
	struct vgpu_err *e;

	do {
		e = ask_for(l, "status", &state, status);
		if (!e)
			e = ask_for(l, "list-vms", &vms, status);
		if (e)
			break;
		now = now_ns();
		measure(s);
		draw(s, state, rows, make_rows(vms, old, (double)(now - before) / 1e9, rows));
		before = now;
		json_decref(old);
		json_decref(state);
		old = vms;
		vms = state = NULL;
	} while (pause_unless_quit(before + PERIOD_MS * 1000000ull));
	json_decref(old);
	json_decref(state);
	return e;
}

int top_run(struct admin *a)
{
	struct screen s;
	struct link l;
	int status = EXIT_DONE;
	struct vgpu_err *e;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return fail(a, err_new("top: needs a terminal; list-vms and show-metrics are for files"), EXIT_USAGE);
	e = link_open(&l, a->run_dir, 0, &status);
	if (!e) {
		screen_begin(&s);
		e = watch(&l, &s, &status);
		screen_end(&s);
	}
	link_close(&l);
	return e ? fail(a, e, status) : EXIT_DONE;
}
