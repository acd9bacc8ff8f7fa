/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/broker/broker.h"
#include "base/log.h"
#include <errno.h>
#include <grp.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define BROKER_NICE (-10)

/* What the broker asks of the kernel: epoll and messages, its memory, shared pages,
 * and files for SQLite, which its uid confines to the state directory. No process, no network. */
static const int allowed[] = {
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(poll), SCMP_SYS(setitimer), SCMP_SYS(writev), SCMP_SYS(close), SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime), SCMP_SYS(sendmsg),
	SCMP_SYS(recvmsg), SCMP_SYS(sendto), SCMP_SYS(recvfrom), SCMP_SYS(accept4), SCMP_SYS(getsockopt),
	SCMP_SYS(futex), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect),
	SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(fcntl), SCMP_SYS(fallocate), SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday), SCMP_SYS(getrandom), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(getpid),
	SCMP_SYS(gettid), SCMP_SYS(tgkill), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall), SCMP_SYS(sched_yield), SCMP_SYS(getuid),
	SCMP_SYS(geteuid), SCMP_SYS(sigaltstack), SCMP_SYS(prctl), SCMP_SYS(sysinfo),
	/* SQLite */
	SCMP_SYS(openat), SCMP_SYS(open), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(stat), SCMP_SYS(lstat),
	SCMP_SYS(lseek), SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(ftruncate), SCMP_SYS(fsync),
	SCMP_SYS(fdatasync), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(access), SCMP_SYS(faccessat),
	SCMP_SYS(fchmod), SCMP_SYS(fchown), SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep), SCMP_SYS(getcwd),
	SCMP_SYS(readlink), SCMP_SYS(utimensat), SCMP_SYS(uname), SCMP_SYS(flock), SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2),
};

struct vgpu_err *broker_jail_identity(const struct vgpud_config *c)
{
	uint32_t u = c->broker_uid, g = c->broker_gid;

	/* It hands the device over: microseconds of work, but at once, on a host full of computing. */
	if (setpriority(PRIO_PROCESS, 0, BROKER_NICE))
		log_debug("priority: %m");
	if (geteuid() == 0 && (setgroups(0, NULL) || setresgid(g, g, g) || setresuid(u, u, u)))
		return err_sys(errno, "user: becoming %u:%u", u, g);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0))
		return err_sys(errno, "giving up privileges");
	return NULL;
}

struct vgpu_err *broker_jail_close(void)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc = f ? 0 : -ENOMEM;

	for (unsigned i = 0; !rc && i < sizeof(allowed) / sizeof(allowed[0]); i++)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
	if (!rc)
		rc = seccomp_load(f);
	if (f)
		seccomp_release(f);
	return rc ? err_sys(-rc, "seccomp") : NULL;
}
