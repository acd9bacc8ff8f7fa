/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/jail.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES_MAX 256
#define GPUS_MAX 64
/* Helpers, the driver's own, and a pool as large as the machine; a thread bomb is far beyond. */
#define THREADS_MAX 1024

/* ---- identity ---- */

static struct vgpu_err *become(uint32_t uid)
{
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
		return err_sys(errno, "becoming uid %u (executor-uids)", uid);
	if (!setuid(0) || geteuid() != uid)
		return err_new("uid %u could become root again", uid);
	return NULL;
}

/* A limit on tasks counts those of the whole uid, so only a uid of its own can have one. */
static struct vgpu_err *become_alone(uint32_t uid)
{
	struct rlimit threads = {THREADS_MAX, THREADS_MAX};
	struct vgpu_err *e = become(uid);

	return !e && setrlimit(RLIMIT_NPROC, &threads) ? err_sys(errno, "limit of threads") : e;
}

static struct vgpu_err *drop_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* refused without CAP_SETPCAP: then there is nothing to drop */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &head, none))
		return err_sys(errno, "dropping capabilities");
	return NULL;
}

static struct vgpu_err *set_limits(uint64_t memory)
{
	const struct {
		int what;
		uint64_t value;
	} limits[] = {
		{RLIMIT_CORE, 0}, {RLIMIT_NOFILE, FILES_MAX}, {RLIMIT_FSIZE, 0},
		{RLIMIT_DATA, memory ? memory : RLIM_INFINITY},
	};

	for (unsigned i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct rlimit r = {limits[i].value, limits[i].value}, now;

		if (!getrlimit(limits[i].what, &now) && now.rlim_max < r.rlim_max)
			r.rlim_cur = r.rlim_max = now.rlim_max;
		if (setrlimit(limits[i].what, &r))
			return err_sys(errno, "resource limit %d", limits[i].what);
	}
	return NULL;
}

/* ---- landlock ---- */

#define READ_FILES (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE)
#define READ_WRITE (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE)
/* Every right of landlock's first version: later ones are implied by what is never granted. */
#define HANDLED ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)

static void allow_path(int ruleset, const char *path, uint64_t access)
{
	cleanup_fd int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};

	if (fd >= 0 && syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
		log_warning("landlock: %s: %m", path);
}

static void allow_all(int ruleset, const struct jail *j)
{
	static const char *const libraries[] = {"/usr/lib", "/usr/lib64", "/lib", "/lib64", NULL};
	static const char *const files[] = {"/etc/ld.so.cache", "/proc/self/maps", "/proc/self/status",
					    "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", NULL};
	static const char *const nodes[] = {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools",
					    "/dev/nvidia-caps", "/proc/driver/nvidia", "/proc/self", NULL};
	char node[32];

	for (int i = 0; libraries[i]; i++)
		allow_path(ruleset, libraries[i], READ_FILES);
	for (int i = 0; files[i]; i++)
		allow_path(ruleset, files[i], i < 5 ? LANDLOCK_ACCESS_FS_READ_FILE : READ_FILES & ~LANDLOCK_ACCESS_FS_EXECUTE);
	for (int i = 0; j->nvidia && nodes[i]; i++)
		allow_path(ruleset, nodes[i], i < 4 ? READ_WRITE : READ_FILES & ~LANDLOCK_ACCESS_FS_EXECUTE);
	for (int i = 0; j->nvidia && i < GPUS_MAX; i++) {
		snprintf(node, sizeof(node), "/dev/nvidia%d", i);
		if (j->minor < 0 || j->minor == i)
			allow_path(ruleset, node, READ_WRITE);
	}
	/* Through an inherited descriptor: its folder may be one this uid cannot walk to. */
	if (j->driver_dir)
		allow_path(ruleset, j->driver_dir, READ_FILES & ~LANDLOCK_ACCESS_FS_READ_DIR);
}

static struct vgpu_err *enter_landlock(const struct jail *j)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = HANDLED};
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	cleanup_fd int ruleset = -1;

	if (abi < 1) {
		if (!j->accept_no_landlock)
			return err_new("this kernel has no landlock: boot with lsm=landlock,... or set "
				       "\"landlock = accept-missing\" in vgpud.conf to run executors without it");
		log_warning("NO LANDLOCK in this kernel: a broken-out executor could read what its uid may read "
			    "(accepted by landlock = accept-missing)");
		return NULL;
	}
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return err_sys(errno, "landlock");
	allow_all(ruleset, j);
	if (syscall(SYS_landlock_restrict_self, ruleset, 0))
		return err_sys(errno, "landlock");
	return NULL;
}

struct vgpu_err *jail_enter(const struct jail *j)
{
	struct vgpu_err *e = NULL;

	if (geteuid() == 0 && strcmp(j->namespaces, "user"))
		e = become_alone(j->uid);
	else if (!strcmp(j->namespaces, "none"))
		log_warning("NO NAMESPACES and no uid of its own for this executor: vgpud runs without root and "
			    "user namespaces are not permitted");
	else
		log_debug("not root: the executor keeps vgpud's uid, within a user namespace");
	if (!e)
		e = set_limits(j->memory);
	if (!e)
		e = drop_capabilities();
	if (!e && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		e = err_sys(errno, "no_new_privs");
	if (e)
		return e;
	/* Changing the uid cleared it; a parent that died meanwhile shows in the closed socket. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_DUMPABLE, 0);
	return enter_landlock(j);
}

/* ---- seccomp ---- */

struct allowed {
	int nr;
	bool nvidia;
};

static const struct allowed table[] = {
#define S(name, why) {SCMP_SYS(name), false},
#define N(name, why) {SCMP_SYS(name), true},
#define F(name, why, how)
#include "executor/syscalls.def"
#undef S
#undef N
#undef F
};

/* Threads only; clone3 hides its flags behind a pointer, so libc is told to use clone. */
static int allow_threads(scmp_filter_ctx f)
{
	const uint64_t need = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
	const uint64_t forbid = CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
				CLONE_NEWUTS | CLONE_NEWCGROUP;
	int rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

	if (rc)
		return rc;
	return seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				SCMP_A0(SCMP_CMP_MASKED_EQ, need | forbid, need));
}

static int allow_arguments(scmp_filter_ctx f, const struct jail *j)
{
	static const int options[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_VMA};
	const uint64_t shared_anonymous = MAP_SHARED | MAP_ANONYMOUS;
	int rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));

	for (unsigned i = 0; !rc && i < sizeof(options) / sizeof(options[0]); i++)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
				      SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)options[i]));
	if (!rc && j->nvidia)
		return seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 0);
	/* Each combination of the two bits but both: MAP_SHARED_VALIDATE has that of MAP_SHARED. */
	if (!rc)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				      SCMP_A3(SCMP_CMP_MASKED_EQ, shared_anonymous, MAP_SHARED));
	if (!rc)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				      SCMP_A3(SCMP_CMP_MASKED_EQ, shared_anonymous, MAP_ANONYMOUS));
	if (!rc)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				      SCMP_A3(SCMP_CMP_MASKED_EQ, shared_anonymous, 0));
	return rc;
}

struct vgpu_err *jail_close(const struct jail *j)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc = f ? 0 : -ENOMEM;

	for (unsigned i = 0; !rc && i < sizeof(table) / sizeof(table[0]); i++)
		if (!table[i].nvidia || j->nvidia)
			rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, table[i].nr, 0);
	if (!rc)
		rc = allow_threads(f);
	if (!rc)
		rc = allow_arguments(f, j);
	/* The driver has threads by now: every one of them, or refuse. */
	if (!rc)
		rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!rc)
		rc = seccomp_load(f);
	if (f)
		seccomp_release(f);
	return rc ? err_sys(-rc, "seccomp") : NULL;
}
