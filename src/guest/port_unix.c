/* SPDX-License-Identifier: Apache-2.0 */
/* A local process's port: memory and eventfds over a unix socket (vgpud/transports/unix_proto.h).
 * There is no guest kernel here, so this file keeps the wish page. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "guest/ports.h"
#include "vgpud/transports/unix_proto.h"
#include "wire/geometry.h"
#include "wire/ring.h"

struct unix_port {
	struct vgpu_port p;
	int sock, fd[VGPU_UNIX_FDS];
	uint64_t bar_size;
	struct vgpu_wish *wish;
	pthread_mutex_t extents_lock;
	uint32_t extents;
};

static struct unix_port *self(struct vgpu_port *p)
{
	return (struct unix_port *)p;
}

static void ring(int fd)
{
	uint64_t one = 1;

	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		continue;
}

static void bell(struct vgpu_port *p)
{
	ring(self(p)->fd[VGPU_UNIX_FD_BELL_CH]);
}

static void bell_vm(struct vgpu_port *p)
{
	ring(self(p)->fd[VGPU_UNIX_FD_BELL_VM]);
}

static int port_wait(struct vgpu_port *p, int timeout_ms)
{
	struct unix_port *u = self(p);
	struct pollfd f[3] = { { .fd = u->fd[VGPU_UNIX_FD_IRQ_CH], .events = POLLIN },
			       { .fd = u->fd[VGPU_UNIX_FD_IRQ_VM], .events = POLLIN },
			       { .fd = u->sock, .events = POLLIN } };
	uint64_t n;
	int rc = poll(f, 3, timeout_ms);

	if (rc < 0)
		return -errno;
	for (int i = 0; i < 2; i++)
		if (f[i].revents && read(f[i].fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
			return -errno;
	if (f[2].revents) /* nothing is ever sent: it was closed */
		return -ENODEV;
	return rc > 0;
}

static int start(struct vgpu_port *p, int timeout_ms, uint32_t *error)
{
	struct unix_port *u = self(p);

	p->channel_mem = mmap(NULL, VGPU_CHANNEL_STRIDE, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd[VGPU_UNIX_FD_BAR],
			      (off_t)VGPU_CHANNEL_OFF);
	if (p->channel_mem == MAP_FAILED)
		return -errno;
	madvise(p->channel_mem, VGPU_CHANNEL_STRIDE, MADV_DONTFORK);
	p->generation = 1;
	vgpu_store32(&u->wish->wanted[0], p->generation);
	bell_vm(p);
	return vgpu_port_await_run(p, timeout_ms, error);
}

static int extents_alloc(struct vgpu_port *p, uint32_t count, uint32_t *first)
{
	struct unix_port *u = self(p);
	uint32_t run = 0;

	pthread_mutex_lock(&u->extents_lock);
	for (uint32_t i = 0; i < u->extents; i++) {
		run = u->wish->owner[i] ? 0 : run + 1;
		if (run < count)
			continue;
		*first = i + 1 - count;
		memset(u->wish->owner + *first, 1 + (int)p->channel, count);
		pthread_mutex_unlock(&u->extents_lock);
		return 0;
	}
	pthread_mutex_unlock(&u->extents_lock);
	return -ENOSPC;
}

static off_t extent_at(uint32_t first)
{
	return (off_t)(VGPU_EXTENT_OFF + (uint64_t)first * VGPU_EXTENT_SIZE);
}

/* The next owner must not read what was left there: the pages go back as holes. */
static void extents_free(struct vgpu_port *p, uint32_t first, uint32_t count)
{
	struct unix_port *u = self(p);
	off_t len = (off_t)count * VGPU_EXTENT_SIZE;
	void *m;

	m = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd[VGPU_UNIX_FD_BAR], extent_at(first));
	if (m != MAP_FAILED) {
		madvise(m, (size_t)len, MADV_REMOVE);
		munmap(m, (size_t)len);
	}
	pthread_mutex_lock(&u->extents_lock);
	memset(u->wish->owner + first, 0, count);
	pthread_mutex_unlock(&u->extents_lock);
}

static void *extents_map(struct vgpu_port *p, uint32_t first, uint32_t count, void *at)
{
	size_t len = (size_t)count * VGPU_EXTENT_SIZE;
	void *m = mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | (at ? MAP_FIXED_NOREPLACE : 0),
		       self(p)->fd[VGPU_UNIX_FD_BAR], extent_at(first));

	if (m != MAP_FAILED && at && m != at) { /* a kernel that does not know NOREPLACE */
		munmap(m, len);
		errno = EEXIST;
		return MAP_FAILED;
	}
	return m;
}

static void port_close(struct vgpu_port *p)
{
	struct unix_port *u = self(p);

	for (int i = 0; i < VGPU_UNIX_FDS; i++)
		close(u->fd[i]);
	close(u->sock);
	munmap((void *)p->header, VGPU_HEADER_SIZE);
	munmap(u->wish, VGPU_WISH_SIZE);
	if (p->channel_mem)
		munmap(p->channel_mem, VGPU_CHANNEL_STRIDE);
	free(u);
}

/* MADV_DONTFORK has left none of the mappings here. */
static void abandon(struct vgpu_port *p)
{
	struct unix_port *u = self(p);

	for (int i = 0; i < VGPU_UNIX_FDS; i++)
		close(u->fd[i]);
	close(u->sock);
}

static const struct vgpu_port_ops ops = {
	.start = start, .bell = bell, .bell_vm = bell_vm, .wait = port_wait, .extents_alloc = extents_alloc,
	.extents_free = extents_free, .extents_map = extents_map, .close = port_close, .abandon = abandon,
};

static int say_hello(int sock, const char *tenant, struct vgpu_unix_reply *reply, int fds[VGPU_UNIX_FDS])
{
	struct vgpu_unix_hello hello = { VGPU_UNIX_MAGIC, VGPU_UNIX_VERSION, "" };
	char control[CMSG_SPACE(sizeof(int) * VGPU_UNIX_FDS)];
	struct iovec iov = { reply, sizeof(*reply) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	ssize_t n;

	snprintf(hello.tenant, sizeof(hello.tenant), "%s", tenant);
	if (send(sock, &hello, sizeof(hello), MSG_NOSIGNAL) != sizeof(hello))
		return -errno;
	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n != sizeof(*reply) || reply->magic != VGPU_UNIX_MAGIC || reply->version != VGPU_UNIX_VERSION)
		return -EPROTO;
	if (reply->status != VGPU_UNIX_OK)
		return -EACCES;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int) * VGPU_UNIX_FDS))
		return -EPROTO;
	memcpy(fds, CMSG_DATA(c), sizeof(int) * VGPU_UNIX_FDS);
	return 0;
}

static int connect_to(const char *path, char *err, unsigned err_len)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int sock, rc;

	if (strlen(path) >= sizeof(a.sun_path)) {
		snprintf(err, err_len, "%s: the socket's path is too long", path);
		return -ENAMETOOLONG;
	}
	strcpy(a.sun_path, path);
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	if (connect(sock, (struct sockaddr *)&a, sizeof(a)) == 0)
		return sock;
	rc = -errno;
	snprintf(err, err_len, "%s: %s; is vgpud running? (VGPU_SOCKET names another socket)", path, strerror(-rc));
	close(sock);
	return rc;
}

static int map_pages(struct unix_port *u)
{
	void *h = mmap(NULL, VGPU_HEADER_SIZE, PROT_READ, MAP_SHARED, u->fd[VGPU_UNIX_FD_BAR], 0);
	void *w = mmap(NULL, VGPU_WISH_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd[VGPU_UNIX_FD_BAR],
		       (off_t)VGPU_WISH_OFF);

	if (h == MAP_FAILED || w == MAP_FAILED)
		return -errno;
	madvise(h, VGPU_HEADER_SIZE, MADV_DONTFORK);
	madvise(w, VGPU_WISH_SIZE, MADV_DONTFORK);
	u->p.header = h;
	u->wish = w;
	return 0;
}

int vgpu_port_open_unix(struct vgpu_port **out, const char *path, const char *tenant, char *err, unsigned err_len)
{
	struct vgpu_unix_reply reply = { 0 };
	struct unix_port *u = calloc(1, sizeof(*u));
	int rc;

	if (!u)
		return -ENOMEM;
	u->sock = connect_to(path, err, err_len);
	rc = u->sock < 0 ? u->sock : 0;
	if (!rc) {
		rc = say_hello(u->sock, tenant, &reply, u->fd);
		reply.text[sizeof(reply.text) - 1] = 0;
		if (rc)
			snprintf(err, err_len, "%s: %s", path, rc == -EACCES ? reply.text : strerror(-rc));
	}
	if (!rc)
		rc = map_pages(u);
	if (!rc && (u->p.header->magic != VGPU_MAGIC || u->p.header->version != VGPU_LAYOUT_VERSION)) {
		snprintf(err, err_len, "%s: the host speaks another layout version", path);
		rc = -EPROTO;
	}
	if (rc) {
		if (u->sock >= 0)
			close(u->sock);
		free(u);
		return rc;
	}
	pthread_mutex_init(&u->extents_lock, NULL);
	u->bar_size = reply.bar_size;
	u->extents = vgpu_extent_count(u->bar_size);
	u->p.ops = &ops;
	u->p.fd = u->fd[VGPU_UNIX_FD_IRQ_CH];
	*out = &u->p;
	return 0;
}
