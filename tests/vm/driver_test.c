/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs inside a test VM: one case of the guest driver's behaviour per invocation.
 * usage: driver_test CASE [ARG]     exit 0 passed, 1 failed (says where), 2 usage
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "wire/layout.h"
#include "guest/driver/vgpu_uapi.h"

#define NODE "/dev/vgpu0"
#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			printf("FAILED %s:%d: %s (errno %d %s)\n", __func__, __LINE__, #x, errno,   \
			       strerror(errno));                                                   \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static const volatile struct vgpu_header *header;

struct chan {
	int fd;
	struct vgpu_ioc_info info;
	volatile uint8_t *mem;
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* A mapping keeps its file and channel open, so the header is watched through a file of its own. */
static void map_header(void)
{
	int fd = open(NODE, O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	header = mmap(NULL, VGPU_HEADER_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(header != MAP_FAILED);
	CHECK(header->magic == VGPU_MAGIC);
	close(fd);
}

static int open_node(void)
{
	return open(NODE, O_RDWR | O_CLOEXEC);
}

static void wait_state(struct chan *c, uint32_t state)
{
	int64_t end = now_ms() + 20000;
	const volatile struct vgpu_channel_status *st = &header->channel[c->info.channel];

	while (st->state != state || st->generation != c->info.generation) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		uint64_t n;

		CHECK(now_ms() < end);
		if (poll(&p, 1, VGPU_RECHECK_MS) > 0)
			CHECK(read(c->fd, &n, sizeof n) == sizeof n);
	}
}

static off_t channel_off(const struct chan *c)
{
	return header->channel_off + (off_t)c->info.channel * VGPU_CHANNEL_STRIDE;
}

static off_t extent_off(uint32_t e)
{
	return header->extent_off + (off_t)e * VGPU_EXTENT_SIZE;
}

static void *map(struct chan *c, off_t off, size_t len)
{
	return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, off);
}

static struct chan start(void)
{
	struct chan c = {.fd = open_node()};

	CHECK(c.fd >= 0);
	CHECK(ioctl(c.fd, VGPU_IOC_START, &c.info) == 0);
	CHECK(c.info.generation != 0);
	wait_state(&c, VGPU_CH_RUN);
	c.mem = map(&c, channel_off(&c), VGPU_CHANNEL_STRIDE);
	CHECK(c.mem != MAP_FAILED);
	return c;
}

static void end(struct chan *c)
{
	munmap((void *)c->mem, VGPU_CHANNEL_STRIDE);
	close(c->fd);
}

static uint32_t alloc(struct chan *c, uint32_t count)
{
	struct vgpu_ioc_extents x = {.count = count};

	CHECK(ioctl(c->fd, VGPU_IOC_EXTENT_ALLOC, &x) == 0);
	return x.first;
}

static sigjmp_buf back;

static void on_fault(int sig)
{
	siglongjmp(back, sig);
}

/* The signal a read (or write) of *p raises, 0 if none. */
static int touch(volatile uint8_t *p, int write)
{
	struct sigaction sa = {.sa_handler = on_fault};
	int sig;

	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	sig = sigsetjmp(back, 1);
	if (sig)
		return sig;
	if (write)
		*p = 1;
	else
		(void)*p;
	return 0;
}

static int is_zero(const volatile uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 8)
		if (*(const volatile uint64_t *)(p + i))
			return 0;
	return 1;
}

static void case_header(const char *arg)
{
	int fd = open_node();
	uint8_t *p;

	CHECK(fd >= 0);
	CHECK(header->version == VGPU_LAYOUT_VERSION && header->channels == VGPU_CHANNELS_MAX);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED &&
	      errno == EACCES);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EINVAL);
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	CHECK(mprotect(p, 4096, PROT_READ | PROT_WRITE) == -1 && errno == EACCES);
	CHECK(touch(p, 1) == SIGSEGV);
	/* The wish page is the kernel's alone. */
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, header->wish_off) == MAP_FAILED &&
	      errno == EACCES);
	CHECK(mmap(NULL, 2 * VGPU_HEADER_SIZE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED &&
	      errno == EACCES);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, header->bar_size) == MAP_FAILED);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, (off_t)1 << 62) == MAP_FAILED);
}

static void case_exclusive(const char *arg)
{
	struct chan a = {.fd = open_node()}, b;

	CHECK(a.fd >= 0);
	CHECK(ioctl(a.fd, VGPU_IOC_INFO, &a.info) == 0 && a.info.generation == 0);
	CHECK(a.info.bar_size == header->bar_size);
	/* Before the host has taken it, a channel's memory may still be cleaned. */
	CHECK(map(&a, channel_off(&a), 4096) == MAP_FAILED && errno == EAGAIN);
	b = start();
	CHECK(a.info.channel != b.info.channel);
	CHECK(ioctl(b.fd, VGPU_IOC_START, &b.info) == -1 && errno == EBUSY);
	CHECK(map(&b, channel_off(&a), 4096) == MAP_FAILED && errno == EACCES);
	CHECK(map(&b, channel_off(&b) + 4096, VGPU_CHANNEL_STRIDE) == MAP_FAILED && errno == EACCES);
	CHECK(is_zero(b.mem, VGPU_CHANNEL_STRIDE));
	memset((void *)b.mem, 0xa5, VGPU_CHANNEL_STRIDE);
	CHECK(ioctl(b.fd, _IO('V', 99)) == -1 && errno == ENOTTY);
}

static void case_reopen(const char *arg)
{
	uint32_t used = 0, generation = 0;

	for (int i = 0; i < 100; i++) {
		struct chan c = start();
		uint32_t e = alloc(&c, 2);
		uint8_t *x = map(&c, extent_off(e), 2 * VGPU_EXTENT_SIZE);

		CHECK(x != MAP_FAILED);
		CHECK(c.info.generation != generation);
		generation = c.info.generation;
		used |= 1u << c.info.channel;
		CHECK(is_zero(c.mem, 4096) && is_zero(c.mem + VGPU_CH_BOUNCE_OFF, 4096));
		CHECK(is_zero(x, 4096) && is_zero(x + VGPU_EXTENT_SIZE, 4096));
		memset((void *)c.mem, 0x5a, 4096);
		memset((void *)(c.mem + VGPU_CH_BOUNCE_OFF), 0x5a, 4096);
		memset(x, 0x5a, 4096);
		memset(x + VGPU_EXTENT_SIZE, 0x5a, 4096);
		munmap(x, 2 * VGPU_EXTENT_SIZE);
		end(&c);
	}
	printf("channels used: %08x\n", used);
}

static void case_all(const char *arg)
{
	int fd[VGPU_CHANNELS_MAX], extra;

	/* The header's mapping has one already. */
	for (unsigned i = 1; i < VGPU_CHANNELS_MAX; i++) {
		fd[i] = open_node();
		CHECK(fd[i] >= 0);
	}
	for (int i = 0; i < 100; i++)
		CHECK(open(NODE, O_RDWR) == -1 && errno == EBUSY);
	close(fd[5]);
	extra = open(NODE, O_RDWR);
	CHECK(extra >= 0);
}

static void case_extents(const char *arg)
{
	struct chan a = start(), b = start();
	uint32_t n = header->extents, e;
	struct vgpu_ioc_extents x = {.count = n};
	uint8_t *p, *q;

	CHECK(ioctl(a.fd, VGPU_IOC_EXTENT_ALLOC, &x) == 0 && x.first == 0);
	x.count = 1;
	CHECK(ioctl(b.fd, VGPU_IOC_EXTENT_ALLOC, &x) == -1 && errno == ENOSPC);
	x.count = 0;
	CHECK(ioctl(b.fd, VGPU_IOC_EXTENT_ALLOC, &x) == -1 && errno == EINVAL);
	x.count = n + 1;
	CHECK(ioctl(b.fd, VGPU_IOC_EXTENT_ALLOC, &x) == -1 && errno == EINVAL);
	x = (struct vgpu_ioc_extents){.count = 2, .first = n - 1};
	CHECK(ioctl(a.fd, VGPU_IOC_EXTENT_FREE, &x) == -1 && errno == EINVAL);
	x = (struct vgpu_ioc_extents){.count = UINT32_MAX, .first = 1};
	CHECK(ioctl(a.fd, VGPU_IOC_EXTENT_FREE, &x) == -1 && errno == EINVAL);
	x = (struct vgpu_ioc_extents){.count = 1, .first = 3};
	CHECK(ioctl(b.fd, VGPU_IOC_EXTENT_FREE, &x) == -1 && errno == EINVAL);
	CHECK(map(&b, extent_off(3), VGPU_EXTENT_SIZE) == MAP_FAILED && errno == EACCES);

	p = map(&a, extent_off(3), 2 * VGPU_EXTENT_SIZE);
	CHECK(p != MAP_FAILED);
	memset(p, 1, 2 * VGPU_EXTENT_SIZE);
	CHECK(ioctl(a.fd, VGPU_IOC_EXTENT_FREE, &x) == 0);
	CHECK(touch(p, 0) == SIGBUS);
	CHECK(touch(p + VGPU_EXTENT_SIZE, 0) == 0);
	CHECK(ioctl(a.fd, VGPU_IOC_EXTENT_FREE, &x) == -1 && errno == EINVAL);
	/* a's executor may still map it: it is not for b before a is closed and cleaned. */
	CHECK(ioctl(b.fd, VGPU_IOC_EXTENT_ALLOC, &x) == -1 && errno == ENOSPC);
	x.count = 1;
	CHECK(ioctl(a.fd, VGPU_IOC_EXTENT_ALLOC, &x) == 0 && x.first == 3);
	CHECK(touch(p, 0) == 0);

	munmap(p, 2 * VGPU_EXTENT_SIZE);
	end(&a);
	x.count = n;
	for (int64_t end = now_ms() + 20000; ioctl(b.fd, VGPU_IOC_EXTENT_ALLOC, &x) == -1;) {
		CHECK(errno == ENOSPC && now_ms() < end);
		poll(NULL, 0, VGPU_RECHECK_MS);
	}
	e = x.first;
	q = map(&b, extent_off(e), (size_t)n * VGPU_EXTENT_SIZE);
	CHECK(q != MAP_FAILED);
	CHECK(is_zero(q, (size_t)n * VGPU_EXTENT_SIZE));
}

static long smaps_kib(void *at, const char *key)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[256], want[64];
	long kib = -1;
	int here = 0;

	CHECK(f);
	snprintf(want, sizeof want, "%lx-", (unsigned long)at);
	while (fgets(line, sizeof line, f)) {
		if (strncmp(line, want, strlen(want)) == 0)
			here = 1;
		if (here && strncmp(line, key, strlen(key)) == 0) {
			kib = strtol(line + strlen(key), NULL, 10);
			break;
		}
	}
	fclose(f);
	return kib;
}

static void case_hugepages(const char *arg)
{
	struct chan c = start();
	uint32_t e = alloc(&c, 4);
	size_t len = 4 * VGPU_EXTENT_SIZE;
	uint8_t *p = map(&c, extent_off(e), len);
	long before, after;

	CHECK(p != MAP_FAILED);
	CHECK((uintptr_t)p % VGPU_EXTENT_SIZE == 0);
	/* One entry per 2 MiB: each first touch makes all of its 2 MiB present, so faults are few. */
	FILE *f = fopen("/proc/self/stat", "r");
	CHECK(f && fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %ld", &before) == 1);
	fclose(f);
	for (size_t i = 0; i < len; i += 4096)
		p[i] = 1;
	f = fopen("/proc/self/stat", "r");
	CHECK(f && fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %ld", &after) == 1);
	fclose(f);
	printf("faults for %zu pages: %ld; smaps Rss %ld\n", len / 4096, after - before,
	       smaps_kib(p, "Rss:"));
	CHECK(after - before < 64);
}

static void case_fork(const char *arg)
{
	struct chan c = start();
	pid_t pid;
	int status;

	CHECK(touch(c.mem, 1) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		_exit(touch(c.mem, 0) == SIGSEGV && touch((void *)header, 0) == SIGSEGV ? 0 : 1);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK(touch(c.mem, 0) == 0);
	CHECK(mremap((void *)c.mem, VGPU_CHANNEL_STRIDE, 2 * VGPU_CHANNEL_STRIDE, MREMAP_MAYMOVE) ==
	      MAP_FAILED);
}

/* The host rings this channel's vector when told so through the channel. */
static void case_interrupt(const char *arg)
{
	struct chan c = start();
	volatile uint64_t *word = (volatile uint64_t *)(c.mem + VGPU_CH_BOUNCE_OFF);
	struct pollfd p = {.fd = c.fd, .events = POLLIN};
	uint64_t n;
	int rounds = 200;
	int64_t t0;

	fcntl(c.fd, F_SETFL, O_NONBLOCK);
	while (read(c.fd, &n, 8) == 8)
		;
	CHECK(errno == EAGAIN);
	CHECK(read(c.fd, &n, 4) == -1 && errno == EINVAL);
	t0 = now_ms();
	for (int i = 1; i <= rounds; i++) {
		word[0] = i;
		CHECK(ioctl(c.fd, VGPU_IOC_BELL) == 0);
		while (word[8] != (uint64_t)i) {
			CHECK(poll(&p, 1, 20000) == 1 && p.revents == POLLIN);
			CHECK(read(c.fd, &n, 8) == 8 && n >= 1);
		}
	}
	printf("%d round trips, %lld us each\n", rounds, (long long)(now_ms() - t0) * 1000 / rounds);
}

static void case_direct(const char *arg)
{
	struct chan c = start();
	uint32_t e = alloc(&c, 1);
	uint8_t *p = map(&c, extent_off(e), VGPU_EXTENT_SIZE), *want = malloc(1 << 20);
	int fd = open(arg, O_RDONLY | O_DIRECT), plain = open(arg, O_RDONLY);

	CHECK(p != MAP_FAILED && fd >= 0 && plain >= 0);
	CHECK(read(fd, p, 1 << 20) == 1 << 20);
	CHECK(read(plain, want, 1 << 20) == 1 << 20);
	CHECK(memcmp(p, want, 1 << 20) == 0 && !is_zero(p, 1 << 20));
	/* write(2) from it to a pipe, too. */
	int fds[2];
	CHECK(pipe(fds) == 0 && write(fds[1], p, 4096) == 4096);
	CHECK(read(fds[0], want, 4096) == 4096 && memcmp(p, want, 4096) == 0);
}

/* Given back with I/O into it still going on, played by a pipe that holds a page: neither the extent nor the
 * channel is anybody else's before it ends. */
static void case_inflight(const char *arg)
{
	struct chan a = start(), b = start();
	uint32_t e = alloc(&a, 1);
	uint8_t *p = map(&a, extent_off(e), VGPU_EXTENT_SIZE);
	struct vgpu_ioc_extents x = {.first = e, .count = 1};
	struct iovec page = {p, 4096};
	uint8_t got[4096];
	int fds[2];

	CHECK(p != MAP_FAILED && pipe(fds) == 0);
	p[0] = 0x5a;
	CHECK(vmsplice(fds[1], &page, 1, 0) == 4096);
	munmap(p, VGPU_EXTENT_SIZE);
	CHECK(ioctl(a.fd, VGPU_IOC_EXTENT_FREE, &x) == 0);
	CHECK(alloc(&a, 1) != e);
	end(&a);
	end(&b);
	printf("closed %u %u\n", a.info.channel, b.info.channel);
	fflush(stdout);
	(void)getchar();
	CHECK(read(fds[0], got, 4096) == 4096 && got[0] == 0x5a);
	printf("read\n");
	fflush(stdout);
	(void)getchar();
}

static volatile sig_atomic_t alarmed;

static void on_alarm(int sig)
{
	alarmed = 1;
}

/* The host does not clean: open() waits, and a signal ends it. */
static void case_dirty(const char *arg)
{
	struct sigaction sa = {.sa_handler = on_alarm};
	struct chan c[VGPU_CHANNELS_MAX - 1];
	int fd;

	for (unsigned i = 0; i < VGPU_CHANNELS_MAX - 1; i++)
		c[i] = start();
	printf("started\n");
	fflush(stdout);
	(void)getchar();
	for (unsigned i = 0; i < VGPU_CHANNELS_MAX - 1; i++)
		end(&c[i]);
	fd = open(NODE, O_RDWR | O_NONBLOCK);
	CHECK(fd == -1 && errno == EAGAIN);
	sigaction(SIGALRM, &sa, NULL);
	alarm(1);
	fd = open(NODE, O_RDWR);
	CHECK(fd == -1 && errno == EINTR && alarmed);
	printf("interrupted\n");
	fflush(stdout);
	fd = open(NODE, O_RDWR);
	CHECK(fd >= 0);
}

static void case_unplug(const char *arg)
{
	struct chan c = start();
	struct vgpu_ioc_extents x = {.count = 1};
	struct pollfd p = {.fd = c.fd, .events = POLLIN};
	uint8_t *ext = map(&c, extent_off(alloc(&c, 1)), VGPU_EXTENT_SIZE);
	uint64_t n;

	CHECK(ext != MAP_FAILED && touch(ext, 1) == 0 && touch(c.mem, 1) == 0);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		CHECK(poll(&p, 1, 60000) == 1);
		if (p.revents & POLLHUP)
			break;
		CHECK(read(c.fd, &n, 8) == 8 || errno == ENODEV);
	}
	/* What is left reads as zeros, is the process's own, and the header stays read-only. */
	CHECK(touch(c.mem, 1) == 0 && c.mem[0] == 1 && is_zero(c.mem + 4096, VGPU_CH_CTL_OFF - 4096));
	CHECK(touch(ext, 0) == 0 && is_zero(ext, VGPU_EXTENT_SIZE));
	CHECK(header->magic == 0 && touch((void *)header, 1) == SIGSEGV);
	CHECK(read(c.fd, &n, 8) == -1 && errno == ENODEV);
	CHECK(ioctl(c.fd, VGPU_IOC_BELL) == -1 && errno == ENODEV);
	CHECK(ioctl(c.fd, VGPU_IOC_EXTENT_ALLOC, &x) == -1 && errno == ENODEV);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, c.fd, 0) == MAP_FAILED && errno == ENODEV);
	close(c.fd);
}

/* Nothing of anybody's former life: this channel and every extent. */
static void case_zero(const char *arg)
{
	struct chan c = start();
	uint32_t n = header->extents;
	uint8_t *p = map(&c, extent_off(alloc(&c, n)), (size_t)n * VGPU_EXTENT_SIZE);

	CHECK(p != MAP_FAILED);
	CHECK(is_zero(c.mem + VGPU_CH_BOUNCE_OFF, VGPU_CH_BOUNCE_SIZE));
	CHECK(is_zero(c.mem + VGPU_CH_PARAM_OFF, VGPU_CH_PARAM_SIZE));
	CHECK(is_zero(p, (size_t)n * VGPU_EXTENT_SIZE));
	memset(p, 0x66, (size_t)n * VGPU_EXTENT_SIZE);
	memset((void *)(c.mem + VGPU_CH_BOUNCE_OFF), 0x66, VGPU_CH_BOUNCE_SIZE);
	memset((void *)(c.mem + VGPU_CH_PARAM_OFF), 0x66, VGPU_CH_PARAM_SIZE);
}

static void case_hold(const char *arg)
{
	for (int i = atoi(arg); i > 0; i--) {
		struct chan c = start();

		alloc(&c, 1);
		memset((void *)(c.mem + VGPU_CH_BOUNCE_OFF), 0x77, VGPU_CH_BOUNCE_SIZE);
	}
	printf("holding\n");
	fflush(stdout);
	pause();
}

/* The node comes some time after the device was plugged. */
static void await_node(void)
{
	char events[4096];
	int fd = inotify_init1(IN_CLOEXEC);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	CHECK(fd >= 0 && inotify_add_watch(fd, "/dev", IN_CREATE) >= 0);
	while (access(NODE, F_OK)) {
		CHECK(poll(&p, 1, 60000) == 1);
		CHECK(read(fd, events, sizeof events) > 0);
	}
	close(fd);
}

static void case_appear(const char *arg)
{
}

static const struct {
	const char *name;
	void (*run)(const char *arg);
} cases[] = {
	{"header", case_header},     {"exclusive", case_exclusive}, {"reopen", case_reopen},
	{"all", case_all},	     {"extents", case_extents},	    {"hugepages", case_hugepages},
	{"fork", case_fork},	     {"interrupt", case_interrupt}, {"direct", case_direct},
	{"inflight", case_inflight},
	{"dirty", case_dirty},	     {"unplug", case_unplug},	    {"hold", case_hold},
	{"zero", case_zero},	     {"appear", case_appear},
};

int main(int argc, char **argv)
{
	for (unsigned i = 0; argc >= 2 && i < sizeof cases / sizeof *cases; i++) {
		if (strcmp(argv[1], cases[i].name) == 0) {
			if (cases[i].run == case_appear)
				await_node();
			map_header();
			cases[i].run(argc > 2 ? argv[2] : "");
			printf("ok %s\n", argv[1]);
			return 0;
		}
	}
	fprintf(stderr, "usage: driver_test CASE [ARG]\n");
	return 2;
}
