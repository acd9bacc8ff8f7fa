/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-doctor: the command line. One function per verb; a table says which there are. */
#include "bundle.h"
#include "groups.h"
#include "host.h"
#include "plan.h"
#include "redact.h"
#include "render.h"
#include "sandbox.h"
#include "alert.h"
#include "base/log.h"
#include "compare.h"
#include "status_dir.h"
#include "waive.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXIT_USAGE 64
#define EXIT_NOT_DONE 74 /* sysexits(3): an input that cannot be read, an output that cannot be written; 3 is a result that is unknown */

#if defined(__SANITIZE_ADDRESS__)
/* The leak checker needs clone and ptrace at exit, which the sandbox forbids; the tests that link the
 * library run it. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif

struct options {
	const char *root, *out, *only, *skip, *mode, *profile, *goal, *gpus, *waive, *status_dir;
	struct waivers waivers;
	int status_fd; /* -1: no status files */
	const struct format *format;
	const char *site, *site_key, *log;
	bool verbose, no_initramfs, no_colour, assert_only, verify, alert;
	int argc;
	char **argv;
};

static int fail(int code, const char *what, const char *where, const char *why)
{
	fprintf(stderr, "%svgpu-doctor: %s%s%s%s%s\n", log_is_journal() ? "<3>" : "", what, *where ? " " : "", where, *why ? ": " : "", why);
	return code;
}

static int mode_of(const char *s)
{
	for (int i = 0; s && i < MODES; i++)
		if (!strcmp(s, mode_name[i]))
			return i;
	return -1;
}

/* Where the report goes: a file opened before the sandbox closes the door, or standard output. */
static FILE *output(const struct options *o)
{
	return o->out ? fopen(o->out, "we") : stdout;
}

/* Says what a privileged run would have seen more. */
static char *limits(const struct audit *a, const char *sandbox)
{
	size_t denied = 0;
	char *s = NULL;

	for (const struct ev_item *it = ev_first(a->ev); it; it = it->newer)
		denied += it->err == EACCES || it->err == EPERM;
	if (denied && asprintf(&s, "%zu piece(s) of evidence could not be read%s: those checks are unknown, not passed.%s%s",
			       denied, geteuid() ? " without root" : "", sandbox ? " " : "", sandbox ? sandbox : "") < 0)
		return NULL;
	if (!denied && sandbox)
		s = strdup(sandbox);
	return s;
}

static char *slurp(FILE *f, size_t *len);

/* What must be opened before the sandbox closes the door. 0, or the exit status. */
static int prepare(struct options *o)
{
	FILE *f = o->waive ? fopen(o->waive, "re") : NULL;
	char *text;
	size_t len;
	bool ok;

	o->status_fd = -1;
	if (o->status_dir) {
		o->status_fd = open(o->status_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (o->status_fd < 0)
			return fail(EXIT_NOT_DONE, "cannot open", o->status_dir, strerror(errno));
	} else if (o->alert) {
		return fail(EXIT_USAGE, "--alert needs --write-status", "", "");
	}
	if (!o->waive)
		return 0;
	if (!f)
		return fail(EXIT_NOT_DONE, "cannot open", o->waive, strerror(errno));
	text = slurp(f, &len);
	fclose(f);
	ok = waivers_parse(&o->waivers, text ? text : "", text ? len : 0, time(NULL));
	free(text);
	return ok ? 0 : fail(EXIT_USAGE, "cannot use", o->waive, o->waivers.error);
}

/* assert: one line per failure, and a plain yes or no. */
static int assertion(const struct audit *a, FILE *f)
{
	for (size_t i = 0; i < a->nresult; i++) {
		const struct result *r = &a->result[i];

		if (r->status == ST_FAIL || r->status == ST_UNKNOWN || r->status == ST_ERROR)
			fprintf(f, "%s %s %s: %s\n", status_name[r->status], r->check->id, r->subject, r->message);
	}
	return a->count[ST_FAIL] || a->count[ST_UNKNOWN] || a->count[ST_ERROR];
}

static unsigned slow(const struct options *o)
{
	return (o->no_initramfs ? 0 : HOST_INITRD) | (o->verify ? HOST_VERIFY : 0);
}

static int report(const struct options *o, struct ev *ev, const char *source, FILE *f, const char *sandbox)
{
	struct host host;
	struct audit a = {.ev = ev, .host = &host, .mode_reason = "given", .now = time(NULL)};
	const struct profile *p = o->profile ? profile_find(o->profile) : NULL;
	struct report r = {.a = &a, .source = source, .verbose = o->verbose, .time = a.now};
	int code, rc;

	host_collect(&host, ev, slow(o));
	a.mode_given = o->mode != NULL;
	a.mode = o->mode ? (enum mode)mode_of(o->mode) : host_guess_mode(&host, ev, &a.mode_reason);
	audit_run(&a, p ? p->only : o->only, o->skip);
	waivers_apply(&o->waivers, &a, r.time);
	r.colour = !o->no_colour && f == stdout && isatty(1);
	r.limits = limits(&a, sandbox);
	if (o->assert_only) {
		code = assertion(&a, f);
	} else {
		o->format->render(&r, f);
		code = status_exit(a.count);
	}
	rc = o->status_fd >= 0 && status_dir_write(o->status_fd, &a) ? -errno : 0;
	if (!rc && o->alert)
		rc = alert_update(o->status_fd, &r);
	if (rc)
		code = fail(EXIT_NOT_DONE, "cannot write", o->status_dir, strerror(-rc));
	if (fflush(f) || ferror(f))
		code = fail(EXIT_NOT_DONE, "cannot write the report", "", strerror(errno));
	if (f != stdout)
		fclose(f);
	free(r.limits);
	audit_free(&a);
	host_free(&host);
	return code;
}

/* What the auditor gives instead of the host: preloaded, it is evidence like any other. */
static int preload(const struct options *o, struct ev *ev)
{
	int err = o->site ? site_preload(ev, o->site, o->site_key) : 0;
	bool in = o->log && !strcmp(o->log, "-");
	FILE *f = !o->log ? NULL : in ? stdin : fopen(o->log, "re");
	size_t len;
	char *text;

	if (err)
		return fail(EXIT_NOT_DONE, "cannot read", o->site, strerror(err));
	if (!o->log)
		return 0;
	text = f ? slurp(f, &len) : NULL;
	if (!text)
		return fail(EXIT_NOT_DONE, "cannot read", o->log, strerror(errno));
	ev_put(ev, EV_READ, KLOG_GIVEN, 0, text, len);
	free(text);
	if (!in)
		fclose(f);
	return 0;
}

static int cmd_check(struct options *o)
{
	int code = prepare(o);
	struct ev *ev = code ? NULL : ev_open(o->root);
	FILE *f = ev ? output(o) : NULL;
	struct nvml nvml = {0};

	if (code)
		return code;
	if (!f) {
		ev_free(ev);
		return fail(EXIT_NOT_DONE, "cannot open", ev ? o->out : o->root, strerror(errno));
	}
	code = preload(o, ev);
	if (code) {
		ev_free(ev);
		return code;
	}
	nvml_collect(&nvml, ev); /* its child needs what the sandbox takes away */
	code = report(o, ev, o->root, f, sandbox_read_only(o->status_fd));
	ev_free(ev);
	return code;
}

static int cmd_audit(struct options *o)
{
	const char *problem, *sandbox;
	struct ev *ev;
	FILE *f;
	int fd, code;

	if (o->argc != 1)
		return fail(EXIT_USAGE, "audit needs one bundle", "", "");
	code = prepare(o);
	if (code)
		return code;
	fd = open(o->argv[0], O_RDONLY | O_CLOEXEC);
	f = fd < 0 ? NULL : output(o);
	if (!f)
		return fail(EXIT_NOT_DONE, "cannot open", fd < 0 ? o->argv[0] : o->out, strerror(errno));
	sandbox = sandbox_read_only(o->status_fd);
	ev = bundle_read(fd, &problem);
	close(fd);
	if (!ev)
		return fail(EXIT_NOT_DONE, "cannot use", o->argv[0], problem);
	code = report(o, ev, o->argv[0], f, sandbox);
	ev_free(ev);
	return code;
}

/* Asks everything any mode would ask. */
static void ask_all(struct ev *ev, unsigned slow)
{
	struct host host;
	const char *reason;

	host_collect(&host, ev, slow);
	host_guess_mode(&host, ev, &reason);
	for (int m = 0; m < MODES; m++) {
		struct audit a = {.ev = ev, .host = &host, .mode = (enum mode)m, .now = time(NULL)};

		audit_run(&a, NULL, NULL);
		audit_free(&a);
	}
	host_free(&host);
}

static int cmd_collect(struct options *o)
{
	struct ev *ev = ev_open(o->root);
	const struct ev_item *name;
	struct nvml nvml = {0};
	const char *problem;
	int fd;

	if (!o->out) {
		ev_free(ev);
		return fail(EXIT_USAGE, "collect needs -o FILE.tar.zst", "", "");
	}
	fd = ev ? open(o->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
	if (fd < 0) {
		ev_free(ev);
		return fail(EXIT_NOT_DONE, "cannot open", ev ? o->out : o->root, strerror(errno));
	}
	if (preload(o, ev)) {
		ev_free(ev);
		return EXIT_NOT_DONE;
	}
	nvml_collect(&nvml, ev);
	sandbox_read_only(-1);
	ask_all(ev, slow(o));
	name = ev_get(ev, EV_READ, "/proc/sys/kernel/hostname");
	problem = bundle_write(ev, fd, name->line);
	if (!problem && close(fd))
		problem = strerror(errno);
	if (!problem)
		fprintf(stderr, "vgpu-doctor: %zu answers in %s; its manifest.json says what was redacted\n", ev_count(ev), o->out);
	ev_free(ev);
	return problem ? fail(EXIT_NOT_DONE, "cannot write", o->out, problem) : 0;
}

static int cmd_explain(struct options *o)
{
	const struct check *c = o->argc == 1 ? check_find(o->argv[0]) : NULL;
	const struct check_group *g;

	if (!c)
		return fail(EXIT_USAGE, o->argc == 1 ? "there is no check" : "explain needs one check id", o->argc == 1 ? o->argv[0] : "",
			    "list shows them");
	g = check_group_of(c);
	printf("%s: %s\n\nWhy: %s\nEvidence: %s\nRemedy: %s\n", c->id, c->title, c->rationale, c->evidence, c->remedy);
	if (*c->refs)
		printf("See: %s\n", c->refs);
	printf("Risk: impact %u of 5, probability %u of 5\nSeverity:", c->impact, c->likelihood);
	for (int m = 0; m < MODES; m++)
		printf(" %s %s%s", mode_name[m], c->severity[m] == '-' ? "not applicable" : severity_word(c->severity[m]), m < MODES - 1 ? "," : "\n");
	printf("Controls: NIST 800-53 %s; PCI DSS 4.0.1 %s; HIPAA %s; ISO 27001:2022 %s; GDPR %s\n", g->nist, g->pci, g->hipaa, g->iso, g->gdpr);
	return 0;
}

static int cmd_list(struct options *o)
{
	(void)o;
	for (size_t g = 0; g < check_ngroups; g++)
		for (size_t i = 0; i < check_groups[g]->n; i++)
			printf("%-11s %s  %s\n", check_groups[g]->check[i].id, check_groups[g]->check[i].severity, check_groups[g]->check[i].title);
	printf("%zu checks; the letters are the severity in modes passthrough, mig, vgpu, share, bare\n", check_count());
	return 0;
}

/* Reads a whole stream, at most 64 MiB. */
static char *slurp(FILE *f, size_t *len)
{
	size_t cap = 1 << 16, n = 0, k;
	char *buf = malloc(cap + 1);

	while (buf && (k = fread(buf + n, 1, cap - n, f)) > 0) {
		n += k;
		if (n == cap) {
			if (cap >= 64u << 20)
				break;
			cap *= 2;
			buf = realloc(buf, cap + 1);
		}
	}
	if (buf)
		buf[n] = 0;
	if (len)
		*len = n;
	return buf;
}

static int cmd_explain_log(struct options *o)
{
	bool in = o->argc == 0 || !strcmp(o->argv[0], "-");
	FILE *f = in ? stdin : fopen(o->argv[0], "re");
	struct klog log = {0};
	char *text;
	size_t count[STATUSES] = {0};

	if (!f)
		return fail(EXIT_NOT_DONE, "cannot open", o->argv[0], strerror(errno));
	sandbox_read_only(-1);
	text = slurp(f, NULL);
	if (!text)
		return fail(EXIT_NOT_DONE, "cannot read", in ? "standard input" : o->argv[0], strerror(ENOMEM));
	klog_scan(&log, NULL, text);
	for (size_t i = 0; i < log.n; i++) {
		const struct klog_hit *h = &log.hit[i];
		char line[sizeof(h->text)];
		bool seen = false;

		for (size_t k = 0; k < i; k++)
			seen |= log.hit[k].rule == h->rule && !strcmp(log.hit[k].text, h->text);
		count[strchr("CH", h->rule->severity) ? ST_FAIL : strchr("ML", h->rule->severity) ? ST_WARN : ST_INFO]++;
		if (seen)
			continue;
		memcpy(line, h->text, sizeof(line));
		redact_in_place(line, sizeof(line));
		printf("%u: %s\n    %s: %s\n    remedy: %s%s%s\n", h->line, line, severity_word(h->rule->severity), h->rule->cause,
		       h->rule->remedy, h->rule->check ? "  See " : "", h->rule->check ? h->rule->check : "");
	}
	printf("%zu line(s) with a known cause%s\n", log.n, log.overflow ? " (more were left out)" : "");
	klog_free(&log);
	free(text);
	return status_exit(count);
}

static int cmd_assert(struct options *o)
{
	o->assert_only = true;
	return cmd_check(o);
}

static int cmd_diff(struct options *o)
{
	json_error_t err;
	json_t *old, *now;
	int code;

	if (o->argc != 2)
		return fail(EXIT_USAGE, "diff needs two JSON reports", "", "");
	old = json_load_file(o->argv[0], 0, &err);
	if (!old)
		return fail(EXIT_NOT_DONE, "cannot use", o->argv[0], err.text);
	now = json_load_file(o->argv[1], 0, &err);
	if (!now) {
		json_decref(old);
		return fail(EXIT_NOT_DONE, "cannot use", o->argv[1], err.text);
	}
	code = report_compare(old, now, stdout);
	json_decref(old);
	json_decref(now);
	return code < 0 ? EXIT_NOT_DONE : code;
}

static const char *make_plan(struct options *o, struct ev *ev, struct host *h, struct plan *p)
{
	host_collect(h, ev, 0);
	return plan_make(p, h, (enum mode)mode_of(o->goal), o->gpus);
}

static int no_plan(const struct options *o)
{
	if (mode_of(o->goal) < 0)
		return fail(EXIT_USAGE, "plan and apply need --for passthrough, mig, vgpu or share", "", "");
	return fail(EXIT_NOT_DONE, "cannot open", o->root, strerror(errno));
}

static int cmd_plan(struct options *o)
{
	struct ev *ev = ev_open(o->root);
	struct host host;
	struct plan plan;
	const char *bad;

	if (!ev || mode_of(o->goal) < 0) {
		ev_free(ev);
		return no_plan(o);
	}
	sandbox_read_only(-1);
	bad = make_plan(o, ev, &host, &plan);
	if (!bad)
		plan_print(&plan, ev, stdout);
	plan_free(&plan);
	host_free(&host);
	ev_free(ev);
	return bad ? fail(EXIT_NOT_DONE, "no plan", "", bad) : 0;
}

static int cmd_apply(struct options *o)
{
	struct ev *ev = ev_open(o->root);
	int root = ev ? open(o->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	struct host host;
	struct plan plan;
	const char *bad;
	unsigned n = 0;

	if (root < 0 || mode_of(o->goal) < 0) {
		ev_free(ev);
		return no_plan(o);
	}
	bad = make_plan(o, ev, &host, &plan);
	if (!bad)
		bad = plan_apply(&plan, root, &n);
	if (!bad) {
		printf("%u file(s) written; vgpu-doctor revert takes them back\n", n);
		for (size_t i = 0; i < plan.ncommand; i++)
			printf("run as root: %s    (%s)\n", plan.command[i].text, plan.command[i].why);
	}
	plan_free(&plan);
	host_free(&host);
	ev_free(ev);
	close(root);
	return bad ? fail(EXIT_NOT_DONE, "not applied", "", bad) : 0;
}

static int cmd_revert(struct options *o)
{
	int root = open(o->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *bad;
	unsigned n;

	if (root < 0)
		return fail(EXIT_NOT_DONE, "cannot open", o->root, strerror(errno));
	bad = plan_revert(root, &n);
	close(root);
	if (bad)
		return fail(EXIT_NOT_DONE, "not reverted", "", bad);
	printf("%u file(s) as they were; rebuild the initramfs and reboot\n", n);
	return 0;
}

static const struct verb {
	const char *name, *args, *what;
	int (*run)(struct options *);
} verbs[] = {
	{"check", "", "audit this host, or the tree --root names (the default)", cmd_check},
	{"collect", "-o FILE.tar.zst", "bundle the evidence, redacted", cmd_collect},
	{"audit", "BUNDLE", "audit a bundle", cmd_audit},
	{"assert", "", "like check, for scripts: 0 neither failure nor unknown, else 1", cmd_assert},
	{"diff", "OLD NEW", "two JSON reports: 0 equal, 1 changed, 2 worse", cmd_diff},
	{"plan", "--for MODE", "files and commands that make the host fit, as a diff", cmd_plan},
	{"apply", "--for MODE", "write the files of the plan (drop-ins of our own only)", cmd_apply},
	{"revert", "", "put back what apply found, bit for bit", cmd_revert},
	{"list", "", "all checks", cmd_list},
	{"explain", "ID", "what a check is for and what to do", cmd_explain},
	{"explain-log", "[FILE|-]", "kernel, libvirt and QEMU messages: cause and remedy", cmd_explain_log},
};

static int usage(FILE *f)
{
	fputs("usage: vgpu-doctor [VERB] [OPTIONS]\n\n", f);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		fprintf(f, "  %-11s %-16s %s\n", verbs[i].name, verbs[i].args, verbs[i].what);
	fputs("\n  --mode passthrough|mig|vgpu|share|bare   what the host is for (default: detected)\n"
	      "  --root DIR          audit this tree instead of /\n"
	      "  --format NAME       ", f);
	for (const struct format *x = formats; x->name; x++)
		fprintf(f, "%s%s", x->name, x[1].name ? ", " : "\n");
	fputs("  --for MODE          plan, apply: what the host shall be for\n"
	      "  --gpus LIST         plan, apply: only these addresses\n"
	      "  --only, --skip IDS  comma-separated ids or groups (IOMMU,PCI-003)\n"
	      "  --profile NAME      checklist (the ten-point passthrough list), rule-m1\n"
	      "  --waive FILE        waivers (YAML: id, subject, reason, owner, expires)\n"
	      "  --write-status DIR  keep NAME-ready files there\n"
	      "  --alert             keep the last report and metrics there too; tell what is worse than in it\n"
	      "  --site FILE         firmware, inventory, minima, advisories to compare with (FILE.sig: its signature)\n"
	      "  --site-key KEY      the signify(1) key of that signature\n"
	      "  --log FILE          kernel messages to judge by: dmesg, or journalctl -k, text or -o json; - is standard input\n"
	      "  --verify            hash the driver's files (BIND-029)\n"
	      "  --no-initramfs      do not unpack the initramfs\n"
	      "  -o, --output FILE   write there\n"
	      "  -v, --verbose       also what passed, with evidence\n"
	      "  --no-colour\n\n"
	      "exit status: 0 ok, 1 warnings, 2 failures, 3 unknown,\n"
	      "             64 usage, 74 not done: an input could not be read, an output not be written\n", f);
	return f == stdout ? 0 : EXIT_USAGE;
}

static const struct option longs[] = {
	{"mode", required_argument, NULL, 'm'},	   {"root", required_argument, NULL, 'r'},
	{"format", required_argument, NULL, 'f'},  {"only", required_argument, NULL, 'O'},
	{"skip", required_argument, NULL, 'S'},	   {"profile", required_argument, NULL, 'p'},
	{"for", required_argument, NULL, 'g'},	   {"gpus", required_argument, NULL, 'G'},
	{"alert", no_argument, NULL, 'A'},
	{"waive", required_argument, NULL, 'w'},   {"write-status", required_argument, NULL, 's'},
	{"no-initramfs", no_argument, NULL, 'I'},  {"output", required_argument, NULL, 'o'},
	{"verbose", no_argument, NULL, 'v'},	   {"no-colour", no_argument, NULL, 'C'},
	{"site", required_argument, NULL, 't'},	   {"site-key", required_argument, NULL, 'k'},
	{"log", required_argument, NULL, 'l'},	   {"verify", no_argument, NULL, 'y'},
	{"help", no_argument, NULL, 'h'},	   {"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0}};

/* Returns -1 to go on, else the exit status. */
static int parse(struct options *o, int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "o:vh", longs, NULL)) != -1)
		switch (c) {
		case 'm':
			o->mode = optarg;
			if (mode_of(optarg) < 0)
				return fail(EXIT_USAGE, "no such mode:", optarg, "passthrough, mig, vgpu, share or bare");
			break;
		case 'f':
			o->format = format_find(optarg);
			if (!o->format)
				return fail(EXIT_USAGE, "no such format:", optarg, "--help lists them");
			break;
		case 'p':
			o->profile = optarg;
			if (!profile_find(optarg))
				return fail(EXIT_USAGE, "no such profile:", optarg, "checklist or rule-m1");
			break;
		case 'r':
			o->root = optarg;
			break;
		case 'O':
			o->only = optarg;
			break;
		case 'S':
			o->skip = optarg;
			break;
		case 'g':
			o->goal = optarg;
			break;
		case 'G':
			o->gpus = optarg;
			break;
		case 'w':
			o->waive = optarg;
			break;
		case 's':
			o->status_dir = optarg;
			break;
		case 'A':
			o->alert = true;
			break;
		case 't':
			o->site = optarg;
			break;
		case 'k':
			o->site_key = optarg;
			break;
		case 'l':
			o->log = optarg;
			break;
		case 'y':
			o->verify = true;
			break;
		case 'I':
			o->no_initramfs = true;
			break;
		case 'o':
			o->out = optarg;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'C':
			o->no_colour = true;
			break;
		case 'V':
			puts("vgpu-doctor " VGPU_VERSION_STRING);
			return 0;
		case 'h':
			return usage(stdout);
		default:
			return usage(stderr);
		}
	o->argc = argc - optind;
	o->argv = argv + optind;
	return -1;
}

int main(int argc, char **argv)
{
	struct options o = {.root = "/", .format = format_find("text")};
	int code = parse(&o, argc, argv);

	if (code >= 0)
		return code;
	if (!o.argc)
		return cmd_check(&o);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (!strcmp(o.argv[0], verbs[i].name)) {
			o.argc--;
			o.argv++;
			return verbs[i].run(&o);
		}
	fail(EXIT_USAGE, "no such verb:", o.argv[0], "");
	return usage(stderr);
}
