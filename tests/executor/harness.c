/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cuda/loader.h"
#include "harness.h"
#include "vgpud/transports/unix_proto.h"
#include "wire/geometry.h"
#include "wire/ring.h"

/* ---- lease and quota ---- */

static bool held(void *c)
{
	return true;
}
static bool due(void *c)
{
	return false;
}
static void nothing(void *c)
{
}
static uint64_t idle(void *c)
{
	atomic_fetch_add(&((struct harness_counters *)c)->idled, 1);
	return 0;
}
static void begin_unit(void *c)
{
	atomic_fetch_add(&((struct harness_counters *)c)->units_begun, 1);
}
static void end_units(void *c, uint32_t n)
{
	atomic_fetch_add(&((struct harness_counters *)c)->units_ended, n);
}
static int take(void *p, uint64_t n)
{
	struct harness_counters *c = p;

	if (n > HARNESS_QUOTA || atomic_fetch_add(&c->taken, n) + n > HARNESS_QUOTA) {
		if (n <= HARNESS_QUOTA)
			atomic_fetch_sub(&c->taken, n);
		return -EDQUOT;
	}
	return 0;
}
static void give(void *p, uint64_t n)
{
	atomic_fetch_sub(&((struct harness_counters *)p)->taken, n);
}
static void info(void *p, uint64_t *f, uint64_t *t)
{
	*t = HARNESS_QUOTA;
	*f = HARNESS_QUOTA - atomic_load(&((struct harness_counters *)p)->taken);
}
static void bytes(void *p, uint64_t n)
{
	atomic_fetch_add(&((struct harness_counters *)p)->bytes, n);
}
static void launches(void *p, uint32_t n)
{
	atomic_fetch_add(&((struct harness_counters *)p)->launches, n);
}
static int check(void *p, uint32_t first, uint32_t count)
{
	return 0;
}
static void unsupported(void *p, uint16_t op)
{
	atomic_fetch_add(&((struct harness_counters *)p)->unsupported, 1);
}

const struct exec_ops harness_ops = {
	.lease_try = held, .lease_ask = nothing, .lease_due = due, .lease_release = nothing, .lease_idle = idle,
	.unit_begin = begin_unit, .units_end = end_units, .quota_take = take, .quota_give = give, .quota_info = info,
	.charge_bytes = bytes, .charge_launches = launches, .extents_check = check, .count_unsupported = unsupported,
};

/* ---- BAR2 ---- */

static void ask_device(struct vgpu_header *h, const char *path)
{
	struct vgpu_device_info *d = &h->device;
	struct cuda_driver drv;
	char err[256];
	CUdevice dev;
	int v;

	if (cuda_driver_open(&drv, path, err, sizeof(err))) {
		fprintf(stderr, "harness: %s\n", err);
		_exit(1);
	}
	if (drv.cuInit(0) || drv.cuDeviceGet(&dev, 0))
		_exit(1);
	drv.cuDeviceGetName(d->name, sizeof(d->name), dev);
	drv.cuDeviceGetUuid((CUuuid *)d->uuid, dev);
	drv.cuDriverGetVersion((int *)&d->driver_version);
	d->total_mem = HARNESS_QUOTA;
	d->attr_count = VGPU_ATTR_MAX;
	for (int i = 0; i < (int)VGPU_ATTR_MAX; i++)
		d->attr[i] = drv.cuDeviceGetAttribute(&v, i, dev) ? VGPU_ATTR_UNKNOWN : v;
	d->cc_major = (uint32_t)d->attr[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR];
	d->cc_minor = (uint32_t)d->attr[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR];
	_exit(0);
}

int harness_bar(const char *driver, uint64_t size)
{
	int fd = memfd_create("bar2", MFD_CLOEXEC | MFD_ALLOW_SEALING), status = 1;
	struct vgpu_header *h;
	pid_t pid;

	if (fd < 0 || ftruncate(fd, (off_t)size))
		return -1;
	h = mmap(NULL, VGPU_HEADER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (h == MAP_FAILED)
		return -1;
	h->magic = VGPU_MAGIC;
	h->version = VGPU_LAYOUT_VERSION;
	h->bar_size = size;
	h->status = VGPU_VM_UP;
	h->quota = HARNESS_QUOTA;
	h->channels = VGPU_CHANNELS_MAX;
	h->extents = vgpu_extent_count(size);
	h->wish_off = VGPU_WISH_OFF;
	h->channel_off = VGPU_CHANNEL_OFF;
	h->channel_stride = VGPU_CHANNEL_STRIDE;
	h->extent_off = VGPU_EXTENT_OFF;
	h->devices = 1;
	pid = fork();
	if (pid == 0)
		ask_device(h, driver);
	waitpid(pid, &status, 0);
	munmap(h, VGPU_HEADER_SIZE);
	return status ? -1 : fd;
}

/* ---- one connection ---- */

struct conn {
	int sock, fd[VGPU_UNIX_FDS], stop_fd;
	uint64_t size;
	void *bar;
	const char *driver;
};

static struct vgpu_header *header(struct conn *c)
{
	return c->bar;
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		_exit(3);
}

static void set_state(struct conn *c, uint32_t state, uint32_t error)
{
	struct vgpu_channel_status *s = &header(c)->channel[0];
	struct vgpu_wish *w = (struct vgpu_wish *)((char *)c->bar + VGPU_WISH_OFF);

	s->error = error;
	s->generation = vgpu_load32(&w->wanted[0]);
	vgpu_store32(&s->state, state);
	signal_fd(c->fd[VGPU_UNIX_FD_IRQ_VM]);
	signal_fd(c->fd[VGPU_UNIX_FD_IRQ_CH]);
}

static int executor(struct conn *c)
{
	static struct harness_counters counters;
	static atomic_int stop;
	struct cuda_driver drv;
	char err[256];
	struct exec_env env = { .driver = &drv, .memfd = c->fd[VGPU_UNIX_FD_BAR], .bar = c->bar, .bar_size = c->size,
				.bell_fd = c->fd[VGPU_UNIX_FD_BELL_CH], .irq_fd = c->fd[VGPU_UNIX_FD_IRQ_CH],
				.ops = &harness_ops, .ops_ctx = &counters, .stop = &stop, .stop_fd = c->stop_fd };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (cuda_driver_open(&drv, c->driver, err, sizeof(err)) || exec_prepare(&env))
		return VGPU_ERR_NO_DEVICE;
	set_state(c, VGPU_CH_RUN, 0);
	return exec_serve(&env);
}

static void wait_wanted(struct conn *c)
{
	struct vgpu_wish *w = (struct vgpu_wish *)((char *)c->bar + VGPU_WISH_OFF);
	struct pollfd p[2] = { { .fd = c->fd[VGPU_UNIX_FD_BELL_VM], .events = POLLIN }, { .fd = c->sock, .events = POLLIN } };

	while (!vgpu_load32(&w->wanted[0])) {
		poll(p, 2, -1);
		if (p[1].revents)
			_exit(0);
	}
}

/* Watches over one executor until the client closes. */
static void monitor(struct conn *c)
{
	struct pollfd p[2] = { { .fd = c->sock, .events = POLLIN }, { .events = POLLIN } };
	int status = 0;
	pid_t pid;

	wait_wanted(c);
	pid = fork();
	if (pid == 0)
		_exit(executor(c));
	p[1].fd = (int)syscall(SYS_pidfd_open, pid, 0);
	poll(p, 2, -1);
	if (!p[1].revents) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	set_state(c, VGPU_CH_DEAD, WIFEXITED(status) ? (uint32_t)WEXITSTATUS(status) : VGPU_ERR_EXECUTOR_CRASHED);
	poll(p, 1, -1);
	_exit(0);
}

static int answer(struct conn *c)
{
	struct vgpu_unix_reply r = { VGPU_UNIX_MAGIC, VGPU_UNIX_VERSION, VGPU_UNIX_OK, VGPU_UNIX_VECTORS, c->size, "" };
	char control[CMSG_SPACE(sizeof(c->fd))] = { 0 };
	struct iovec iov = { &r, sizeof(r) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(c->fd));
	memcpy(CMSG_DATA(h), c->fd, sizeof(c->fd));
	return sendmsg(c->sock, &m, MSG_NOSIGNAL) == sizeof(r) ? 0 : -1;
}

static void connection(int sock, const char *driver)
{
	struct conn c = { .sock = sock, .size = VGPU_BAR_MIN, .driver = driver };
	struct vgpu_unix_hello hello;

	if (recv(sock, &hello, sizeof(hello), 0) != sizeof(hello) || hello.magic != VGPU_UNIX_MAGIC)
		_exit(1);
	c.fd[VGPU_UNIX_FD_BAR] = harness_bar(driver, c.size);
	if (c.fd[VGPU_UNIX_FD_BAR] < 0)
		_exit(1);
	for (int i = 1; i < VGPU_UNIX_FDS; i++)
		c.fd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	c.stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	c.bar = mmap(NULL, c.size, PROT_READ | PROT_WRITE, MAP_SHARED, c.fd[VGPU_UNIX_FD_BAR], 0);
	if (c.bar == MAP_FAILED || answer(&c))
		_exit(1);
	monitor(&c);
}

int harness_listen(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	unlink(path);
	return s < 0 || bind(s, (struct sockaddr *)&a, sizeof(a)) || listen(s, 64) ? -1 : s;
}

int harness_loop(int listener, const char *driver)
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int s = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (s < 0)
			continue;
		if (fork() == 0) {
			signal(SIGCHLD, SIG_DFL);
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(listener);
			connection(s, driver);
		}
		close(s);
	}
}

pid_t harness_serve(const char *path, const char *driver)
{
	int s = harness_listen(path);
	pid_t pid = s < 0 ? -1 : fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		harness_loop(s, driver);
	}
	close(s);
	return pid;
}
