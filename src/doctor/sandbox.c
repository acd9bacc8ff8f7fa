/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Every right of the first landlock version but reading is handled and granted nowhere. */
#define WRITES                                                                                             \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |      \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |     \
	 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |       \
	 LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

static bool landlock(int writable_dir)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = WRITES};
	int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	struct landlock_path_beneath_attr dir = {
		.allowed_access = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG,
		.parent_fd = writable_dir,
	};
	bool ok = true;

	if (fd < 0)
		return false;
	if (writable_dir >= 0)
		ok = !syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &dir, 0);
	ok = ok && !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !syscall(SYS_landlock_restrict_self, fd, 0);
	close(fd);
	return ok;
}

/* Called by: stdio and the allocator (write, mmap, brk…), evidence.c (openat2, read, readlinkat,
 * getdents64, fstat), initramfs.c and boot.c (pread64), main.c (clock_gettime). */
static const int allowed[] = {
	SCMP_SYS(read),	      SCMP_SYS(pread64),    SCMP_SYS(write),	   SCMP_SYS(writev),	   SCMP_SYS(close),
	SCMP_SYS(fstat),      SCMP_SYS(newfstatat), SCMP_SYS(statx),	   SCMP_SYS(lseek),	   SCMP_SYS(mmap),
	SCMP_SYS(munmap),     SCMP_SYS(mremap),	    SCMP_SYS(mprotect),	   SCMP_SYS(madvise),	   SCMP_SYS(brk),
	SCMP_SYS(openat2),    SCMP_SYS(getdents64),  SCMP_SYS(readlink),	   SCMP_SYS(readlinkat),
	SCMP_SYS(fcntl),      SCMP_SYS(futex),	    SCMP_SYS(exit),	   SCMP_SYS(exit_group),   SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday), SCMP_SYS(getpid),   SCMP_SYS(gettid),	   SCMP_SYS(geteuid),	   SCMP_SYS(getuid),
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(tgkill), SCMP_SYS(getrandom),
	SCMP_SYS(sched_getaffinity), SCMP_SYS(prlimit64), SCMP_SYS(sysinfo), SCMP_SYS(poll), SCMP_SYS(restart_syscall),
	SCMP_SYS(uname), SCMP_SYS(getrusage),
};

static bool seccomp(int writable_dir)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	bool ok = ctx != NULL;

	for (size_t i = 0; ok && i < sizeof(allowed) / sizeof(*allowed); i++)
		ok = !seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
	/* Reading only, also where landlock is missing; openat2's flags lie in memory, out of a filter's
	 * reach, and evidence.c alone uses it. A coverage build writes its counters at exit. */
#ifdef DOCTOR_COVERAGE
	ok = ok && !seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(openat), 0);
#else
	if (writable_dir >= 0)
		ok = ok && !seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(openat), 0);
	else
		ok = ok && !seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
					     SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
#endif
	if (writable_dir >= 0)
		ok = ok && !seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(unlinkat), 0) &&
		     !seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(renameat), 0);
	ok = ok && !seccomp_load(ctx);
	if (ctx)
		seccomp_release(ctx);
	return ok;
}

const char *sandbox_read_only(int writable_dir)
{
	bool paths = landlock(writable_dir), calls = seccomp(writable_dir);

	if (!calls)
		return "not sandboxed: seccomp is not available";
	return paths ? NULL : "sandboxed by seccomp alone: this kernel has no landlock";
}
