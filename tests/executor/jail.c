/* SPDX-License-Identifier: Apache-2.0 */
/* A taken-over executor tries what it may not: if one of these works, the jail has a hole. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/err.h"
#include "executor/jail.h"

struct attempt {
	const char *name;
	long nr, arg[6];
};

static char page[4096];
static struct clone_args namespaces = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };

static const struct attempt attempts[] = {
	{ "open a file", SYS_openat, { AT_FDCWD, (long)"/etc/passwd", O_RDONLY } },
#ifdef SYS_fork /* not on every architecture */
	{ "open, the old way", SYS_open, { (long)"/etc/passwd", O_RDONLY } },
	{ "fork", SYS_fork, { 0 } },
	{ "vfork", SYS_vfork, { 0 } },
	{ "delete", SYS_unlink, { (long)"/tmp/x" } },
#endif
	{ "by handle", SYS_open_by_handle_at, { AT_FDCWD, (long)page, O_RDONLY } },
	{ "a socket", SYS_socket, { AF_UNIX, SOCK_STREAM } },
	{ "connect", SYS_connect, { 0, (long)page, 16 } },
	{ "trace another", SYS_ptrace, { 16, 1 } },
	{ "read another's memory", SYS_process_vm_readv, { 1, (long)page, 1, (long)page, 1 } },
	{ "write another's memory", SYS_process_vm_writev, { 1, (long)page, 1, (long)page, 1 } },
	{ "another's descriptor", SYS_pidfd_getfd, { 0, 0 } },
	{ "a pidfd", SYS_pidfd_open, { 1 } },
	{ "another program", SYS_execve, { (long)"/bin/true", 0, 0 } },
	{ "a process by clone", SYS_clone, { SIGCHLD } },
	{ "namespaces by clone", SYS_clone, { CLONE_NEWUSER | SIGCHLD } },
	{ "namespaces by unshare", SYS_unshare, { CLONE_NEWUSER } },
	{ "another's namespace", SYS_setns, { 0, 0 } },
	{ "kill the parent", SYS_kill, { 1, SIGKILL } },
	{ "signal another's thread", SYS_tgkill, { 1, 1, SIGKILL } },
	{ "signal any thread", SYS_tkill, { 1, SIGKILL } },
	{ "a device", SYS_ioctl, { 0, 0x5401, (long)page } },
	{ "outlive its parent", SYS_prctl, { PR_SET_PDEATHSIG, 0 } },
	{ "be traceable", SYS_prctl, { PR_SET_DUMPABLE, 1 } },
	{ "memory no limit counts", SYS_mmap, { 0, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0 } },
	{ "a memfd", SYS_memfd_create, { (long)"x", 0 } },
	{ "System V memory", SYS_shmget, { 0, 4096, 0600 } },
	{ "become somebody", SYS_setuid, { 0 } },
	{ "mount", SYS_mount, { (long)"x", (long)"/", (long)"tmpfs", 0, 0 } },
	{ "change root", SYS_chroot, { (long)"/" } },
	{ "bpf", SYS_bpf, { 0, (long)page, 64 } },
	{ "io_uring", SYS_io_uring_setup, { 1, (long)page } },
	{ "userfaultfd", SYS_userfaultfd, { 0 } },
	{ "perf", SYS_perf_event_open, { (long)page, 0, -1, -1, 0 } },
	{ "keys", SYS_keyctl, { 0 } },
	{ "limits", SYS_prlimit64, { 0, 6, (long)page, 0 } },
	{ "nonblocking off", SYS_fcntl, { 0, F_SETFL, 0 } },
	{ "punch holes", SYS_fallocate, { 0, 3, 0, 4096 } },
};

static void *thread(void *arg)
{
	return arg;
}

/* In the jail: 0, or how many got through. */
static int try_all(void)
{
	struct jail j = { 0 };
	struct vgpu_err *e = jail_close(&j);
	int bad = 0;
	pthread_t t;
	void *got = NULL;

	if (e) {
		fprintf(stderr, "%s\n", e->text);
		return 99;
	}
	for (unsigned i = 0; i < sizeof(attempts) / sizeof(*attempts); i++) {
		const struct attempt *a = &attempts[i];
		long rc = syscall(a->nr, a->arg[0], a->arg[1], a->arg[2], a->arg[3], a->arg[4], a->arg[5]);

		if (rc != -1 || errno != EPERM) {
			fprintf(stderr, "%s: %ld, %s\n", a->name, rc, rc == -1 ? strerror(errno) : "worked");
			bad++;
		}
	}
	bad += syscall(SYS_clone3, &namespaces, sizeof(namespaces)) != -1 || errno != ENOSYS;
	/* What it needs still works. */
	bad += pthread_create(&t, NULL, thread, &bad) || pthread_join(t, &got) || got != &bad;
	bad += mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
	bad += prctl(PR_SET_NAME, "jailed", 0, 0, 0) != 0;
	return bad;
}

static void nothing_gets_out(void **state)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(try_all());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(nothing_gets_out) };

	return cmocka_run_group_tests_name("jail", tests, NULL, NULL);
}
