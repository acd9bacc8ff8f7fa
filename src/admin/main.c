/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-admin: commands to vgpud over control.sock; see vgpu-admin(8). */
#include "admin/view.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/units.h"
#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_RUN_DIR "/run/openvgpu"
#define ANSWER_MAX (4u << 20)
enum { EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_UNREACHABLE = 3 };

/* ---- views ---- */

static const struct view_column vms_view[] = {
	{"id", "ID", VIEW_COUNT, NULL}, {"name", "NAME", VIEW_TEXT, NULL},
	{"priority", "PRIORITY", VIEW_TEXT, NULL}, {"weight", "WEIGHT", VIEW_COUNT, NULL},
	{"share", "SHARE", VIEW_PERCENT, NULL}, {"quota", "QUOTA", VIEW_BYTES, NULL},
	{"quota_used", "USED", VIEW_BYTES, NULL}, {"device_seconds", "DEVICE TIME", VIEW_SECONDS, NULL},
	{"connections", "CONNECTIONS", VIEW_COUNT, NULL}, {"status", "STATUS", VIEW_TEXT, NULL}, {NULL}};

static const struct view_column channels_view[] = {
	{"connection", "CONNECTION", VIEW_COUNT, NULL}, {"channel", "CHANNEL", VIEW_COUNT, NULL},
	{"state", "STATE", VIEW_TEXT, NULL}, {"generation", "GENERATION", VIEW_COUNT, NULL},
	{"error", "ERROR", VIEW_COUNT, NULL}, {"pid", "EXECUTOR", VIEW_COUNT, NULL}, {NULL}};

static const struct view_column vm_view[] = {
	{"id", "Id", VIEW_COUNT, NULL}, {"name", "Name", VIEW_TEXT, NULL}, {"status", "Status", VIEW_TEXT, NULL},
	{"priority", "Priority", VIEW_TEXT, NULL}, {"weight", "Weight", VIEW_COUNT, NULL},
	{"share", "Share of the device", VIEW_PERCENT, NULL}, {"quota", "Memory quota", VIEW_BYTES, NULL},
	{"quota_used", "Memory in use", VIEW_BYTES, NULL}, {"bar_size", "BAR2", VIEW_BYTES, NULL},
	{"job_timeout_ns", "Job timeout (0: default)", VIEW_NS, NULL},
	{"hard_timeout_ns", "Hard timeout (0: default)", VIEW_NS, NULL},
	{"device_seconds", "Device time", VIEW_SECONDS, NULL}, {"units", "Units of work", VIEW_COUNT, NULL},
	{"launches", "Kernel launches", VIEW_COUNT, NULL}, {"bytes", "Bytes copied", VIEW_BYTES, NULL},
	{"unsupported_calls", "Unsupported calls", VIEW_COUNT, NULL}, {"faults", "Faults", VIEW_COUNT, NULL},
	{"executors_started", "Executors started", VIEW_COUNT, NULL},
	{"channels", "Channels", VIEW_TABLE, channels_view}, {NULL}};

static const struct view_column status_view[] = {
	{"version", "Version", VIEW_TEXT, NULL}, {"device", "Device", VIEW_TEXT, NULL},
	{"device_memory", "Device memory", VIEW_BYTES, NULL},
	{"device_memory_reserved", "Reserved for VMs", VIEW_BYTES, NULL},
	{"bar_budget", "BAR2 budget", VIEW_BYTES, NULL}, {"bar_reserved", "BAR2 reserved", VIEW_BYTES, NULL},
	{"policy", "Policy", VIEW_TEXT, NULL}, {"vms", "VMs", VIEW_COUNT, NULL},
	{"executors", "Executors", VIEW_COUNT, NULL}, {"handovers", "Lease hand-overs", VIEW_COUNT, NULL},
	{"handover_mean_us", "Mean wait for a hand-over", VIEW_MICROSECONDS, NULL}, {NULL}};

/* ---- options of register-vm: how text becomes JSON ---- */

static struct vgpu_err *put_text(json_t *q, const char *key, const char *v)
{
	json_object_set_new(q, key, json_string(v));
	return NULL;
}

static struct vgpu_err *put_number(json_t *q, const char *key, const char *v)
{
	uint64_t n;

	if (units_number(v, 0, INT64_MAX, &n))
		return err_new("\"%s\" is not a number", v);
	json_object_set_new(q, key, json_integer((json_int_t)n));
	return NULL;
}

static struct vgpu_err *put_size(json_t *q, const char *key, const char *v)
{
	uint64_t n;

	if (units_size(v, &n) || n > INT64_MAX)
		return err_new("\"%s\" is not a size such as 512M or 2G", v);
	json_object_set_new(q, key, json_integer((json_int_t)n));
	return NULL;
}

static struct vgpu_err *put_duration(json_t *q, const char *key, const char *v)
{
	uint64_t n;

	if (units_duration(v, &n) || n > INT64_MAX)
		return err_new("\"%s\" is not a duration such as 30s or 5min", v);
	json_object_set_new(q, key, json_integer((json_int_t)n));
	return NULL;
}

static struct vgpu_err *put_user(json_t *q, const char *key, const char *v)
{
	struct passwd *p = getpwnam(v);

	if (!p)
		return put_number(q, key, v);
	json_object_set_new(q, key, json_integer(p->pw_uid));
	return NULL;
}

static const struct setting {
	const char *option, *key;
	struct vgpu_err *(*put)(json_t *q, const char *key, const char *v);
} settings[] = {
	{"--priority", "priority", put_text},	   {"--weight", "weight", put_number},
	{"--quota", "quota", put_size},		   {"--bar-size", "bar_size", put_size},
	{"--job-timeout", "job_timeout_ns", put_duration}, {"--hard-timeout", "hard_timeout_ns", put_duration},
	{"--user", "uid", put_user},
};

/* ---- commands ---- */

static const struct command {
	const char *name, *help;
	bool takes_name, takes_settings;
	const struct view_column *view; /* NULL: nothing to show as text */
} commands[] = {
	{"register-vm", "NAME [--priority high|medium|low] [--weight 1..100] [--quota SIZE] [--bar-size SIZE]\n"
			"                        [--job-timeout TIME] [--hard-timeout TIME] [--user USER]",
	 true, true, vm_view},
	{"remove-vm", "NAME", true, false, NULL},
	{"list-vms", "", false, false, vms_view},
	{"show-vm", "NAME", true, false, vm_view},
	{"status", "", false, false, status_view},
	{"timeline", "(JSON only: device time per VM in buckets)", false, false, NULL},
	{"clear-quarantine", "NAME", true, false, NULL},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_usage(FILE *out)
{
	fputs("usage: vgpu-admin [--run-dir DIR] [--json] COMMAND ...\n", out);
	for (unsigned i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-17s %s\n", commands[i].name, commands[i].help);
	fputs("  --run-dir DIR     where vgpud runs (default: $VGPU_RUN_DIR or " DEFAULT_RUN_DIR ")\n"
	      "  --json            print vgpud's answer as JSON\n"
	      "  --help, --version\n"
	      "exit status: 0 done, 1 refused, 2 wrong usage, 3 vgpud not reachable\n", out);
}

struct arguments {
	const char *run_dir;
	const struct command *command;
	bool json;
	json_t *query;
};

/* "--key value" or "--key=value"; NULL if argv[*i] is not `name`. */
static const char *option_value(char **argv, int *i, const char *name)
{
	size_t n = strlen(name);

	if (strncmp(argv[*i], name, n))
		return NULL;
	if (argv[*i][n] == '=')
		return argv[*i] + n + 1;
	if (argv[*i][n])
		return NULL;
	return argv[*i + 1] ? argv[++*i] : "";
}

static struct vgpu_err *take_setting(struct arguments *a, char **argv, int *i)
{
	for (unsigned k = 0; k < sizeof(settings) / sizeof(settings[0]); k++) {
		const char *arg = argv[*i], *v = option_value(argv, i, settings[k].option);
		cleanup_err struct vgpu_err *e = NULL;

		if (!v)
			continue;
		if (!a->command || !a->command->takes_settings)
			return err_new("%s: only register-vm takes it", arg);
		e = settings[k].put(a->query, settings[k].key, v);
		return e ? err_new("%s: %s", settings[k].option, e->text) : NULL;
	}
	return err_new("%s: no such option", argv[*i]);
}

static struct vgpu_err *take_word(struct arguments *a, const char *word)
{
	for (unsigned k = 0; !a->command && k < COMMANDS; k++)
		if (!strcmp(word, commands[k].name)) {
			a->command = &commands[k];
			json_object_set_new(a->query, "cmd", json_string(word));
			return NULL;
		}
	if (!a->command)
		return err_new("%s: no such command", word);
	if (!a->command->takes_name || json_object_get(a->query, "name"))
		return err_new("%s: unexpected argument \"%s\"", a->command->name, word);
	json_object_set_new(a->query, "name", json_string(word));
	return NULL;
}

static struct vgpu_err *parse_arguments(char **argv, struct arguments *a)
{
	struct vgpu_err *e = NULL;

	for (int i = 1; !e && argv[i]; i++) {
		const char *v;

		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			print_usage(stdout);
			exit(0);
		}
		if (!strcmp(argv[i], "--version")) {
			puts("vgpu-admin " VGPU_VERSION_STRING);
			exit(0);
		}
		if (!strcmp(argv[i], "--json"))
			a->json = true;
		else if ((v = option_value(argv, &i, "--run-dir")))
			a->run_dir = v;
		else
			e = argv[i][0] == '-' ? take_setting(a, argv, &i) : take_word(a, argv[i]);
	}
	if (!e && !a->command)
		e = err_new("no command given");
	if (!e && a->command->takes_name && !json_object_get(a->query, "name"))
		e = err_new("%s: NAME is missing", a->command->name);
	return e;
}

static struct vgpu_err *ask(const char *run_dir, json_t *query, json_t **answer)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cleanup_mem char *line = json_dumps(query, JSON_COMPACT);
	struct buf in;
	long n = 1;

	if ((size_t)snprintf(a.sun_path, sizeof(a.sun_path), "%s/control.sock", run_dir) >= sizeof(a.sun_path))
		return err_new("%s: longer than a socket's path may be", run_dir);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return errno == ECONNREFUSED ? err_new("%s: stale socket, nobody listens: start vgpud", a.sun_path)
		       : errno == ENOENT     ? err_new("%s: no such socket: is vgpud running?", a.sun_path)
					     : err_sys(errno, "%s", a.sun_path);
	if (dprintf(fd, "%s\n", line) < 0)
		return err_sys(errno, "%s", a.sun_path);
	buf_init(&in, ANSWER_MAX);
	while (n > 0 && (!in.len || in.data[in.len - 1] != '\n'))
		n = buf_read(&in, fd);
	*answer = in.len ? json_loads(in.data, 0, NULL) : NULL;
	buf_free(&in);
	return *answer ? NULL : err_new("%s: vgpud hung up without an answer", a.sun_path);
}

static int show(const struct arguments *a, json_t *answer)
{
	json_t *data = json_object_get(answer, "data");
	const char *error = json_string_value(json_object_get(answer, "error"));

	if (!json_is_true(json_object_get(answer, "ok"))) {
		log_error("%s", error ? error : "malformed answer");
		return EXIT_REFUSED;
	}
	view_print(stdout, data, a->command->view, a->json || !strcmp(a->command->name, "timeline"));
	return fflush(stdout) ? EXIT_REFUSED : 0;
}

int main(int argc, char **argv)
{
	struct arguments a = {.run_dir = getenv("VGPU_RUN_DIR"), .query = json_object()};
	cleanup_err struct vgpu_err *e = NULL;
	json_t *answer = NULL;
	int rc = EXIT_USAGE;

	log_init("vgpu-admin", LOG_L_INFO);
	if (!a.run_dir || !*a.run_dir)
		a.run_dir = DEFAULT_RUN_DIR;
	e = parse_arguments(argv, &a);
	if (e) {
		log_error("%s (vgpu-admin --help)", e->text);
	} else if ((e = ask(a.run_dir, a.query, &answer))) {
		log_error("%s", e->text);
		rc = EXIT_UNREACHABLE;
	} else {
		rc = show(&a, answer);
	}
	json_decref(answer);
	json_decref(a.query);
	return rc;
}
