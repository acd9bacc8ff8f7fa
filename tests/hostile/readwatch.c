/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sees every access of a process to a BAR2. For LD_PRELOAD into vgpud: keeper and broker inherit it, executors do not
 * (their environment is trimmed).
 *
 * A mapping of a sealed memfd as large as a BAR2 is made PROT_NONE. Each access then faults; the handler notes the word
 * and whether it was written, opens the window for one instruction (the trap flag) and closes it after that. Accesses of a
 * second thread within that one instruction go unseen: broker and keeper touch these pages from one thread.
 * System calls that would read the memory through its descriptor are counted by their wrappers.
 */
/* Both names of each function are defined here, so none may be redirected to the other. */
#undef _FILE_OFFSET_BITS
#include "readwatch.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#if !defined(__x86_64__)
#error "the trap flag and the fault's error code are x86-64's"
#endif

#define WINDOWS_MAX 8192u
#define FAULT_WROTE 2 /* bit of the page fault's error code */
#define TRAP_FLAG 0x100

struct window {
	char *at;
	size_t len;
	uint64_t from; /* in BAR2 */
	int prot;
};

static struct window windows[WINDOWS_MAX];
static unsigned n_windows;
static struct readwatch *seen;
static _Thread_local struct window *open_now;

static bool is_bar(int fd)
{
	struct stat st;
	int saved = errno;
	bool yes = fd >= 0 && fcntl(fd, F_GET_SEALS) > 0 && !fstat(fd, &st) && st.st_size >= (off_t)VGPU_BAR_MIN;

	errno = saved;
	return yes;
}

static struct window *window_of(const char *at)
{
	for (unsigned i = 0; i < n_windows; i++)
		if (windows[i].len && at >= windows[i].at && at < windows[i].at + windows[i].len)
			return &windows[i];
	return NULL;
}

static void set_prot(const struct window *w, int prot)
{
	syscall(SYS_mprotect, w->at, w->len, prot);
}

static void on_fault(int sig, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;
	struct window *w = window_of(si->si_addr);
	uint64_t at = w ? w->from + (uint64_t)((char *)si->si_addr - w->at) : 0;

	if (!w) { /* a fault of its own: let it die of that */
		signal(SIGSEGV, SIG_DFL);
		return;
	}
	if (at < WATCHED_BYTES) {
		if (uc->uc_mcontext.gregs[REG_ERR] & FAULT_WROTE)
			seen->writes[at / 4]++;
		else
			seen->reads[at / 4]++;
	}
	open_now = w;
	set_prot(w, w->prot);
	uc->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_step(int sig, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;

	uc->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	if (open_now)
		set_prot(open_now, PROT_NONE);
	open_now = NULL;
}

__attribute__((constructor)) static void start(void)
{
	struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	struct sigaction step = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
	const char *dir = getenv("VGPU_READWATCH");
	char path[300];
	int fd;

	if (!dir)
		return;
	snprintf(path, sizeof(path), "%s/%s.%d", dir, program_invocation_short_name, getpid());
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*seen)))
		abort();
	seen = (void *)syscall(SYS_mmap, NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (seen == MAP_FAILED)
		abort();
	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGTRAP, &step, NULL);
}

static struct window *new_window(void)
{
	for (unsigned i = 0; i < n_windows; i++)
		if (!windows[i].len)
			return &windows[i];
	return n_windows < WINDOWS_MAX ? &windows[n_windows++] : NULL;
}

static void *map(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	bool bar = seen && !(flags & MAP_ANONYMOUS) && is_bar(fd);
	void *p = (void *)syscall(SYS_mmap, addr, len, bar ? PROT_NONE : prot, flags, fd, off);
	struct window *w;

	if (!bar || p == MAP_FAILED)
		return p;
	seen->windows++;
	if ((uint64_t)off + len > WATCHED_BYTES)
		seen->beyond++;
	w = new_window();
	if (!w)
		abort();
	*w = (struct window){p, len, (uint64_t)off, prot};
	return p;
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	return map(addr, len, prot, flags, fd, off);
}

int munmap(void *addr, size_t len)
{
	struct window *w = seen ? window_of(addr) : NULL;

	if (w)
		w->len = 0;
	return (int)syscall(SYS_munmap, addr, len);
}

static void reading(int fd)
{
	if (seen && is_bar(fd))
		seen->syscalls++;
}

#define WRAP(type, name, params, args, fd)                                              \
	type name params                                                                \
	{                                                                               \
		static type(*real) params;                                              \
                                                                                        \
		if (!real)                                                              \
			*(void **)&real = dlsym(RTLD_NEXT, #name);                      \
		reading(fd);                                                            \
		return real args;                                                       \
	}

void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t off) __attribute__((alias("mmap")));
ssize_t read(int fd, void *buf, size_t n)
{
	reading(fd);
	return syscall(SYS_read, fd, buf, n);
}
ssize_t pread(int fd, void *buf, size_t n, off_t off)
{
	reading(fd);
	return syscall(SYS_pread64, fd, buf, n, off);
}
ssize_t pread64(int fd, void *buf, size_t n, off_t off) __attribute__((alias("pread")));
WRAP(ssize_t, readv, (int fd, const struct iovec *v, int n), (fd, v, n), fd)
WRAP(ssize_t, preadv, (int fd, const struct iovec *v, int n, off_t off), (fd, v, n, off), fd)
WRAP(ssize_t, splice, (int from, off_t *a, int to, off_t *b, size_t n, unsigned f), (from, a, to, b, n, f), from)
WRAP(ssize_t, copy_file_range, (int from, off_t *a, int to, off_t *b, size_t n, unsigned f), (from, a, to, b, n, f), from)
WRAP(ssize_t, sendfile, (int to, int from, off_t *off, size_t n), (to, from, off, n), from)
