/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/config.h"
#include "base/log.h"
#include "base/units.h"
#include "base/where.h"
#include "wire/layout.h"
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_FILE "/etc/openvgpu/vgpud.conf"
#define SOFTCUDA_MEMORY_MIN (1u << 20) /* softcuda/drv_init.c */
#define NS_PER_S 1000000000ull
/* systemd.io/UIDS-GIDS: 1879048192 to 2147483647 is left to the local machine. */
#define UID_FIRST 1900000001ull
#define UID_LAST 1900000999ull

static const char *const landlock_choices[] = {"require", "accept-missing", NULL};
static const char *const spare_choices[] = {"off", "on", NULL};
static const char *const policy_choices[] = {"exclusive", "concurrent", NULL}; /* enum sched_policy */
static const char *const level_choices[] = {"error", "warning", "info", "debug", NULL};

#define AT(field) offsetof(struct vgpud_config, field)
#define TEXT(key, field) {key, CONF_TEXT, AT(field), sizeof(((struct vgpud_config *)0)->field), 0, 0, NULL}
#define VALUE(key, kind, field, min, max) {key, kind, AT(field), 0, min, max, NULL}

const struct conf_key config_keys[] = {
	TEXT("run-dir", run_dir),
	TEXT("state-dir", state_dir),
	TEXT("user", user),
	TEXT("group", group),
	TEXT("qemu-user", qemu_user),
	TEXT("driver", driver),
	TEXT("gpu-driver", gpu_driver),
	VALUE("device", CONF_NUMBER, device, 0, 255),
	VALUE("devices", CONF_NUMBER, devices, 1, CONFIG_DEVICES_MAX),
	TEXT("softcuda-memory", softcuda_memory),
	VALUE("executor-uids", CONF_RANGE, executor_uids, 1000, 4294967293u),
	{"log-level", CONF_CHOICE, AT(log_level), 0, 0, 0, level_choices},
	{"landlock", CONF_CHOICE, AT(landlock), 0, 0, 0, landlock_choices},
	VALUE("bar-size", CONF_SIZE, bar_size, VGPU_BAR_MIN, VGPU_BAR_MAX),
	VALUE("bar-budget", CONF_SIZE, bar_budget, 0, 1ull << 50),
	VALUE("default-quota", CONF_SIZE, default_quota, 0, 1ull << 50),
	VALUE("context-overhead", CONF_SIZE, context_overhead, 0, 1ull << 40),
	{"policy", CONF_CHOICE, AT(policy), 0, 0, 0, policy_choices},
	VALUE("quantum", CONF_DURATION, quantum_ns, 100000, NS_PER_S),
	VALUE("job-timeout", CONF_DURATION, job_timeout_ns, NS_PER_S / 10, 86400 * NS_PER_S),
	VALUE("hard-timeout", CONF_DURATION, hard_timeout_ns, 0, 86400 * NS_PER_S),
	VALUE("probe-timeout", CONF_DURATION, probe_timeout_ns, NS_PER_S, 3600 * NS_PER_S),
	VALUE("spawn-burst", CONF_NUMBER, spawn_burst, 1, 1000),
	VALUE("spawn-rate", CONF_NUMBER, spawn_per_s, 1, 1000),
	{"spare", CONF_CHOICE, AT(spare), 0, 0, 0, spare_choices},
	VALUE("executor-memory", CONF_SIZE, executor_memory, 0, 1ull << 50),
	VALUE("fault-limit", CONF_NUMBER, fault_limit, 1, CONFIG_FAULTS_MAX),
	VALUE("fault-window", CONF_DURATION, fault_window_ns, NS_PER_S, 86400 * NS_PER_S),
	{NULL},
};

void config_defaults(struct vgpud_config *c)
{
	*c = (struct vgpud_config){
		.run_dir = "/run/openvgpu",
		.state_dir = "/var/lib/openvgpu",
		.user = "openvgpu",
		.group = "openvgpu",
		.driver = "auto",
		.gpu_driver = "auto",
		.devices = 1,
		.executor_uids = {UID_FIRST, UID_LAST},
		.log_level = LOG_L_INFO,
		.landlock = LANDLOCK_REQUIRE,
		.bar_size = VGPU_BAR_MIN,
		.quantum_ns = 2000000,
		.job_timeout_ns = 30 * NS_PER_S,
		.probe_timeout_ns = 60 * NS_PER_S,
		.spawn_burst = 4,
		.spawn_per_s = 1,
		.spare = 1,
		.fault_limit = 5,
		.fault_window_ns = 600 * NS_PER_S,
		.broker_uid = -1u, .broker_gid = -1u, .control_gid = -1u, .qemu_uid = -1u, .qemu_gid = -1u,
	};
}

/* The nth of "1G, 2G"; the last for all further ones. */
static struct vgpu_err *nth_size(const char *list, unsigned n, uint64_t *out)
{
	char word[32];
	size_t len;

	for (;; n--) {
		list += strspn(list, " \t,");
		len = strcspn(list, " \t,");
		if (!n || !list[len + strspn(list + len, " \t,")])
			break;
		list += len;
	}
	snprintf(word, sizeof(word), "%.*s", (int)len, list);
	if (units_size(word, out) || *out < SOFTCUDA_MEMORY_MIN || *out > 1ull << 45)
		return err_new("softcuda-memory: \"%s\" is not a size from 1M to 32T, such as 512M or 2G", word);
	return NULL;
}

uint64_t config_softcuda_memory(const struct vgpud_config *c, unsigned n)
{
	cleanup_err struct vgpu_err *e = NULL;
	uint64_t size = 0;

	if (c->softcuda_memory[0])
		e = nth_size(c->softcuda_memory, n, &size);
	return e ? 0 : size;
}

bool config_is_softcuda(const struct vgpud_config *c)
{
	return strstr(c->driver, "softcuda");
}

static struct vgpu_err *check(const struct vgpud_config *c)
{
	struct vgpu_err *e = NULL;
	uint64_t size;

	if (c->run_dir[0] != '/' || c->state_dir[0] != '/')
		return err_new("run-dir and state-dir must be absolute paths");
	for (unsigned i = 0; !e && c->softcuda_memory[0] && i < c->devices; i++)
		e = nth_size(c->softcuda_memory, i, &size);
	return e;
}

struct vgpu_err *config_load(struct vgpud_config *c, const struct config_source *from)
{
	const char *path = from->file;
	cleanup_mem char *text = NULL;
	struct vgpu_err *e;

	if (path || !access(DEFAULT_FILE, F_OK)) {
		if (!path)
			path = DEFAULT_FILE;
		e = conf_read(path, &text);
		if (!e && text)
			e = conf_parse(path, text, config_keys, c);
		if (e)
			return e;
	}
	for (unsigned i = 0; i < from->n; i++) {
		char where[32];

		snprintf(where, sizeof(where), "option -o %u", i + 1);
		e = conf_set(where, from->options[i], config_keys, c);
		if (e)
			return e;
	}
	return check(c);
}

static struct vgpu_err *resolve_user(const char *key, const char *name, uint32_t *uid, uint32_t *gid)
{
	struct passwd *p = getpwnam(name);
	uint64_t n;

	if (p) {
		*uid = p->pw_uid;
		*gid = p->pw_gid;
		return NULL;
	}
	if (!units_number(name, 0, 4294967293u, &n)) {
		*uid = *gid = (uint32_t)n;
		return NULL;
	}
	return err_new("%s: user \"%s\" does not exist: create it or name another", key, name);
}

static struct vgpu_err *resolve_ids(struct vgpud_config *c)
{
	struct group *g = getgrnam(c->group);
	struct vgpu_err *e = NULL;
	uint64_t n;

	if (!strcmp(c->user, "openvgpu") && !getpwnam(c->user)) {
		c->broker_uid = c->broker_gid = (uint32_t)c->executor_uids[0] - 1;
		log_warning("user openvgpu does not exist: the broker runs as uid %u", c->broker_uid);
	} else {
		e = resolve_user("user", c->user, &c->broker_uid, &c->broker_gid);
	}
	if (!e && c->broker_uid == 0)
		e = err_new("user: the broker may not be root");
	if (!e && c->qemu_user[0])
		e = resolve_user("qemu-user", c->qemu_user, &c->qemu_uid, &c->qemu_gid);
	if (e)
		return e;
	if (g)
		c->control_gid = g->gr_gid;
	else if (!units_number(c->group, 0, 4294967293u, &n))
		c->control_gid = (uint32_t)n;
	else if (strcmp(c->group, "openvgpu"))
		return err_new("group: group \"%s\" does not exist: create it or name another", c->group);
	else
		log_warning("group openvgpu does not exist: only root reaches the sockets");
	if (c->broker_uid >= c->executor_uids[0] && c->broker_uid <= c->executor_uids[1])
		return err_new("executor-uids: holds the broker's own uid %u", c->broker_uid);
	return NULL;
}

static struct vgpu_err *use_softcuda(struct vgpud_config *c)
{
	return where_is(WHERE_SOFTCUDA, c->driver, sizeof(c->driver))
		       ? err_new("driver: softcuda's libcuda.so.1 is not installed beside vgpud") : NULL;
}

/* NULL: none is installed, or there is no device. */
static const char *nvidia_library(void)
{
	static const char *const paths[] = {"/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/usr/lib64/libcuda.so.1",
					    "/usr/lib/libcuda.so.1", NULL};

	for (int i = 0; !access("/dev/nvidiactl", F_OK) && paths[i]; i++)
		if (!access(paths[i], R_OK))
			return paths[i];
	return NULL;
}

static struct vgpu_err *use_nvidia(struct vgpud_config *c)
{
	const char *path = nvidia_library();

	if (!path)
		return err_new("driver: nvidia: there is no /dev/nvidiactl or no libcuda.so.1 of it: load NVIDIA's driver");
	strcpy(c->driver, path);
	return NULL;
}

/* Whose GPUs are used once they are assigned: only beside softcuda, which needs none. */
static struct vgpu_err *resolve_gpu_driver(struct vgpud_config *c)
{
	const char *path = nvidia_library();

	if (!config_is_softcuda(c) || !strcmp(c->gpu_driver, "none"))
		return NULL;
	if (strcmp(c->gpu_driver, "auto"))
		path = c->gpu_driver;
	if (path && access(path, R_OK))
		return err_sys(errno, "gpu-driver: %s", path);
	strcpy(c->gpu_library, path ? path : "");
	return NULL;
}

/* $VGPU_DRIVER, else the key; softcuda unless told otherwise, so that a GPU is used only by an administrator's wish. */
static struct vgpu_err *resolve_driver(struct vgpud_config *c)
{
	const char *env = getenv("VGPU_DRIVER");

	if (env && *env) {
		if (strlen(env) >= sizeof(c->driver))
			return err_new("VGPU_DRIVER: longer than a path may be");
		strcpy(c->driver, env);
	}
	if (!strcmp(c->driver, "auto") || !strcmp(c->driver, "softcuda"))
		return use_softcuda(c);
	if (!strcmp(c->driver, "nvidia"))
		return use_nvidia(c);
	if (access(c->driver, R_OK))
		return err_sys(errno, "driver: %s", c->driver);
	return NULL;
}

static struct vgpu_err *resolve(struct vgpud_config *c)
{
	struct vgpu_err *e = NULL;

	c->is_root = geteuid() == 0;
	if (!c->bar_budget)
		c->bar_budget = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2;
	if (c->is_root)
		e = resolve_ids(c);
	if (!e)
		e = resolve_driver(c);
	return e ? e : resolve_gpu_driver(c);
}

struct answer {
	struct vgpud_config config;
	bool failed;
	char text[1024];
};

/* One that hangs in the kernel, killed or not, is nobody's to wait for. */
#define KILLED_MS 1000

static bool ended_within(const struct pollfd *pidfd, int ms)
{
	struct pollfd p = *pidfd;
	int n;

	do
		n = poll(&p, 1, ms);
	while (n < 0 && errno == EINTR);
	return n != 0;
}

static struct vgpu_err *await_lookup(pid_t pid, int limit_ms)
{
	struct pollfd p = {pidfd_open(pid, 0), POLLIN, 0};
	int status = 1;
	bool late = p.fd >= 0 && !ended_within(&p, limit_ms), reaped; /* without a pidfd: for as long as it takes */

	if (late)
		kill(pid, SIGKILL);
	reaped = late && !ended_within(&p, KILLED_MS) ? false : waitpid(pid, &status, 0) == pid;
	if (p.fd >= 0)
		close(p.fd);
	if (late)
		return err_new("looking up users and groups: no answer within %d s", limit_ms / 1000);
	return reaped && !status ? NULL : err_new("looking up users and groups: ended with status %#x", (unsigned)status);
}

/* In a process of its own: the libraries that know users and groups (NSS) stay loaded once asked, 0.7 MiB of them
 * here, and need not be in the one process that has privileges. */
struct vgpu_err *config_resolve(struct vgpud_config *c, int limit_ms)
{
	struct answer *a = mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct vgpu_err *e = NULL;
	pid_t pid;

	if (a == MAP_FAILED)
		return err_sys(errno, "memory");
	a->config = *c;
	pid = fork();
	if (pid == 0) {
		e = resolve(&a->config);
		a->failed = e;
		snprintf(a->text, sizeof(a->text), "%s", e ? e->text : "");
		_exit(0);
	}
	e = pid < 0 ? err_sys(errno, "looking up users and groups") : await_lookup(pid, limit_ms);
	if (!e && a->failed)
		e = err_new("%s", a->text);
	else if (!e)
		*c = a->config;
	munmap(a, sizeof(*a));
	return e;
}

/* What sockets, processes and the device were made by. */
static const char *const fixed[] = {"run-dir", "state-dir", "user", "group", "qemu-user", "driver", "gpu-driver", "device",
				    "devices", "softcuda-memory", "executor-uids", NULL};

static size_t size_of(const struct conf_key *k)
{
	return k->kind == CONF_TEXT ? k->len : k->kind == CONF_CHOICE ? sizeof(unsigned)
	       : k->kind == CONF_RANGE ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

struct vgpu_err *config_fixed(const struct vgpud_config *old, const struct vgpud_config *fresh)
{
	for (const struct conf_key *k = config_keys; k->name; k++)
		for (int i = 0; fixed[i]; i++)
			if (!strcmp(k->name, fixed[i]) && (k->kind == CONF_TEXT
				? strcmp((char *)old + k->offset, (char *)fresh + k->offset)
				: memcmp((char *)old + k->offset, (char *)fresh + k->offset, size_of(k))))
				return err_new("%s: changes only with a restart of vgpud; nothing was changed", k->name);
	return NULL;
}

struct vgpu_err *config_fits(const struct vgpud_config *old, const struct vgpud_config *fresh, uint64_t bars, uint64_t overhead_max)
{
	char t[2][24];

	if (fresh->bar_budget < old->bar_budget && fresh->bar_budget < bars)
		return err_new("bar-budget: registered VMs reserve %s, more than %s; nothing was changed",
			       units_size_text(bars, t[0], 24), units_size_text(fresh->bar_budget, t[1], 24));
	if (fresh->context_overhead > old->context_overhead && fresh->context_overhead > overhead_max)
		return err_new("context-overhead: beside the quotas of registered VMs there is room for at most %s each, not for %s; "
			       "nothing was changed", units_size_text(overhead_max, t[0], 24),
			       units_size_text(fresh->context_overhead, t[1], 24));
	return NULL;
}

struct vgpu_err *config_reload(const struct vgpud_config *old, const struct config_source *from, uint64_t bars, uint64_t overhead_max,
			       struct vgpud_config *out)
{
	struct vgpu_err *e;

	memset(out, 0, sizeof(*out));
	config_defaults(out);
	e = config_load(out, from);
	if (!e)
		e = config_resolve(out, CONFIG_LOOKUP_MS);
	if (!e)
		e = config_fixed(old, out);
	return e ? e : config_fits(old, out, bars, overhead_max);
}
