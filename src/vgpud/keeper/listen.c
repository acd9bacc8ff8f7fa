/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/keeper/keeper.h"
#include "base/log.h"
#include "vgpud/transports/transport.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64
/* Connections that have no memory yet: their descriptors and messages are all a peer costs us before the
 * broker knows it. A user's own limit first, so that one cannot use up what all share. */
#define UNMADE_MAX 256u
#define UNMADE_USER_MAX 64u
#define HELLO_NS 5000000000ull
#define PAUSE_NS 50000000ull

/* A socket file nobody listens on is left over from a vgpud that was killed: the run directory's lock is
 * ours, so it may go. Anything else in the way is somebody's. */
static struct vgpu_err *clear_stale(const struct sockaddr_un *a, int type)
{
	cleanup_fd int fd = -1;
	struct stat st;

	if (lstat(a->sun_path, &st))
		return errno == ENOENT ? NULL : err_sys(errno, "%s", a->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_new("%s: exists and is not a socket: move it away", a->sun_path);
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && (!connect(fd, (const struct sockaddr *)a, sizeof(*a)) || errno != ECONNREFUSED))
		return err_new("%s: another program listens there: stop it or choose another run-dir", a->sun_path);
	log_info("%s: stale socket removed", a->sun_path);
	return unlink(a->sun_path) ? err_sys(errno, "%s", a->sun_path) : NULL;
}

struct vgpu_err *listen_socket(const char *path, int type, mode_t mode, uint32_t uid, uint32_t gid, int *out)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	cleanup_fd int fd = -1;
	struct vgpu_err *e;

	if (strlen(path) >= sizeof(a.sun_path))
		return err_new("%s: longer than a socket's path may be (%zu)", path, sizeof(a.sun_path) - 1);
	strcpy(a.sun_path, path);
	e = clear_stale(&a, type);
	if (e)
		return e;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* fchmod() before bind() makes the file appear with its mode; the umask only narrows it. */
	if (fd < 0 || fchmod(fd, mode) || bind(fd, (struct sockaddr *)&a, sizeof(a)))
		return err_sys(errno, "%s", a.sun_path);
	if ((uid != -1u || gid != -1u) && lchown(a.sun_path, uid, gid)) {
		e = err_sys(errno, "%s: changing its owner to %u:%u", a.sun_path, uid, gid);
		unlink(a.sun_path);
		return e;
	}
	if (chmod(a.sun_path, mode) || listen(fd, BACKLOG)) {
		e = err_sys(errno, "%s", a.sun_path);
		unlink(a.sun_path);
		return e;
	}
	*out = fd;
	fd = -1;
	return NULL;
}

struct conn *conn_find(struct keeper *k, uint32_t id)
{
	list_for_each(n, &k->conns) {
		struct conn *c = list_entry(n, struct conn, node);

		if (c->id == id)
			return c;
	}
	return NULL;
}

/* What the broker knows of a connection; repeated to each new broker. */
void conn_announce(struct conn *c)
{
	struct ipc_conn m = {.conn = c->id, .vm = c->vm, .transport = c->transport, .uid = c->uid,
			     .vectors = c->vectors, .gone = c->gone, .bar_size = c->bar_size,
			     .hello = c->hello, .hello_len = c->hello_len, .handed = c->handed};
	int fds[1 + 2 * IPC_VECTORS_MAX];
	unsigned n = 0;

	memcpy(m.ran, c->ran, sizeof(m.ran));
	if (c->made) {
		fds[n++] = c->memfd;
		for (unsigned i = 0; i < c->vectors; i++)
			fds[n++] = c->bells[i];
		for (unsigned i = 0; i < c->vectors; i++)
			fds[n++] = c->irqs[i];
	}
	link_send(c->keeper, IPC_CONN, &m, sizeof(m), fds, n);
}

void conn_close(struct conn *c)
{
	loop_del(&c->keeper->loop, &c->io);
	if (c->io.fd >= 0)
		close(c->io.fd);
	if (c->made) {
		close(c->memfd);
		for (unsigned i = 0; i < c->vectors; i++) {
			close(c->bells[i]);
			close(c->irqs[i]);
		}
	}
	list_del(&c->node);
	free(c);
}

static void conn_gone(struct conn *c)
{
	struct ipc_id m = {c->id};

	loop_del(&c->keeper->loop, &c->io);
	close(c->io.fd);
	c->io.fd = -1;
	c->gone = true;
	if (c->greeted)
		link_send(c->keeper, IPC_GONE, &m, sizeof(m), NULL, 0);
	else
		conn_close(c);
}

/* The only byte ever read from a peer: a unix client's hello, forwarded as it is. */
static void conn_hello(struct conn *c)
{
	ssize_t n = recv(c->io.fd, &c->hello, sizeof(c->hello), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_gone(c);
		return;
	}
	c->hello_len = (uint32_t)n;
	c->greeted = true;
	/* From now on only the end of the connection is of interest. */
	loop_mod(&c->keeper->loop, &c->io, EPOLLRDHUP);
	conn_announce(c);
}

static void conn_event(struct loop_io *io, uint32_t events)
{
	struct conn *c = io->arg;

	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		conn_gone(c);
	else if (!c->greeted && (events & EPOLLIN))
		conn_hello(c);
}

static void set_deaf(struct keeper *k, bool deaf)
{
	if (k->deaf == deaf)
		return;
	k->deaf = deaf;
	list_for_each(n, &k->listeners)
		loop_mod(&k->loop, &list_entry(n, struct listener, node)->io, deaf ? 0 : EPOLLIN);
}

/* Leave peers in the backlog for a while: too many are unserved, or descriptors are out. A level-triggered
 * listener nobody can serve would otherwise keep us busy for ever. */
static void pause_listening(struct keeper *k)
{
	set_deaf(k, true);
	loop_timer_set(&k->accept_io, now_ns() + PAUSE_NS);
}

/* Of all, and of this user. */
static unsigned count_unmade(const struct keeper *k, uint32_t uid, unsigned *users)
{
	unsigned all = 0;

	*users = 0;
	list_for_each(n, &k->conns) {
		const struct conn *c = list_entry(n, struct conn, node);

		all += !c->made;
		*users += !c->made && c->uid == uid;
	}
	return all;
}

/* Since when the oldest has not said hello, 0: all have. They lie in order of arrival. */
static uint64_t oldest_silent(const struct keeper *k)
{
	list_for_each(n, &k->conns)
		if (!list_entry(n, struct conn, node)->greeted)
			return list_entry(n, struct conn, node)->accepted_at;
	return 0;
}

/* Who says nothing is sent away; then the rest may be heard. */
static void on_accept_timer(struct loop_io *io, uint32_t events)
{
	struct keeper *k = io->arg;
	uint64_t now = now_ns(), silent;
	unsigned users;

	loop_timer_set(io, 0);
	list_for_each(n, &k->conns) {
		struct conn *c = list_entry(n, struct conn, node);

		if (!c->greeted && now - c->accepted_at >= HELLO_NS)
			conn_close(c);
	}
	silent = oldest_silent(k);
	if (count_unmade(k, -1u, &users) < UNMADE_MAX && !msg_pending(&k->link))
		set_deaf(k, false);
	if (k->deaf)
		loop_timer_set(io, now + PAUSE_NS);
	else if (silent)
		loop_timer_set(io, silent + HELLO_NS);
}

int listeners_init(struct keeper *k)
{
	return loop_timer_init(&k->loop, &k->accept_io, on_accept_timer, k);
}

/* May this user have one more that is not served yet? */
static bool user_has_room(struct keeper *k, uint32_t uid)
{
	unsigned users;

	if (count_unmade(k, uid, &users) + 1 >= UNMADE_MAX)
		pause_listening(k);
	return users < UNMADE_USER_MAX;
}

/* Only its end is of interest once it has said hello. */
int conn_watch(struct conn *c)
{
	return loop_add(&c->keeper->loop, &c->io, c->io.fd, c->greeted ? EPOLLRDHUP : EPOLLIN | EPOLLRDHUP, conn_event, c);
}

static void conn_accepted(struct listener *l, int fd)
{
	struct keeper *k = l->keeper;
	struct conn *c = calloc(1, sizeof(*c));
	struct ucred peer = {.uid = -1u};
	socklen_t len = sizeof(peer);
	bool greet = l->vm == 0;

	if (c)
		*c = (struct conn){.keeper = k, .io.fd = fd, .greeted = !greet};
	if (!c || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || !user_has_room(k, peer.uid) || conn_watch(c)) {
		log_debug("%s: a connection of user %u dropped", l->path, peer.uid);
		free(c);
		close(fd);
		return;
	}
	c->id = ++k->next_conn;
	c->vm = l->vm;
	c->transport = l->vm ? IPC_IVSHMEM : IPC_UNIX;
	c->uid = peer.uid;
	conn_no_memory(c);
	c->accepted_at = now_ns();
	list_add_tail(&k->conns, &c->node);
	if (greet && !k->deaf)
		loop_timer_set(&k->accept_io, oldest_silent(k) + HELLO_NS);
	if (!greet)
		conn_announce(c);
}

static void listener_event(struct loop_io *io, uint32_t events)
{
	struct listener *l = io->arg;
	int fd;

	/* The broker lags behind: what comes now waits in the backlog, not in our memory. */
	if (msg_pending(&l->keeper->link)) {
		pause_listening(l->keeper);
		return;
	}
	fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0) {
		conn_accepted(l, fd);
	} else if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
		log_error("accept: %m: no new connections for a moment");
		pause_listening(l->keeper);
	}
}

int listener_watch(struct listener *l)
{
	return loop_add(&l->keeper->loop, &l->io, l->io.fd, l->keeper->deaf ? 0 : EPOLLIN, listener_event, l);
}

static struct vgpu_err *listener_add(struct keeper *k, uint32_t vm, const char *path, int type, mode_t mode,
				     uint32_t uid, uint32_t gid)
{
	struct listener *l = calloc(1, sizeof(*l));
	struct vgpu_err *e;
	int fd = -1, rc;

	if (!l)
		return err_sys(ENOMEM, "%s", path);
	e = listen_socket(path, type, mode, uid, gid, &fd);
	if (e) {
		free(l);
		return e;
	}
	l->keeper = k;
	l->io.fd = fd;
	l->vm = vm;
	rc = listener_watch(l);
	if (rc) {
		close(fd);
		free(l);
		return err_sys(-rc, "%s", path);
	}
	strcpy(l->path, path); /* listen_socket() knows that it fits */
	list_add_tail(&k->listeners, &l->node);
	if (!vm)
		k->guest = l;
	return NULL;
}

/* A name becomes a file's name here, so the keeper itself holds it to [A-Za-z0-9._-]. */
static bool name_is_plain(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return n > 0 && !s[n] && s[0] != '.' && s[0] != '-';
}

int listener_open(struct keeper *k, uint32_t vm, const char *name)
{
	cleanup_err struct vgpu_err *e = NULL;
	char path[300];

	if (!vm || !name_is_plain(name))
		return -EINVAL;
	snprintf(path, sizeof(path), "%s/vm/%s.sock", k->cfg->run_dir, name);
	list_for_each(n, &k->listeners) {
		struct listener *l = list_entry(n, struct listener, node);
		bool same_path = !strcmp(l->path, path);

		if (l->vm == vm && same_path)
			return 0; /* a restarted broker asks again for what is there */
		if (l->vm == vm || same_path)
			listener_close(l); /* a former broker's, with another number or name for it */
	}
	e = listener_add(k, vm, path, SOCK_STREAM, 0600, k->cfg->qemu_uid, k->cfg->qemu_gid);
	if (e)
		log_error("%s", e->text);
	return e ? -EADDRINUSE : 0;
}

struct vgpu_err *listener_open_guest(struct keeper *k)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/guest.sock", k->cfg->run_dir);
	return listener_add(k, 0, path, SOCK_SEQPACKET, 0660, -1u, k->cfg->control_gid);
}

void listener_close(struct listener *l)
{
	loop_del(&l->keeper->loop, &l->io);
	close(l->io.fd);
	unlink(l->path);
	list_del(&l->node);
	free(l);
}

static int make_memfd(uint64_t size)
{
	int fd = memfd_create("vgpu-bar", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	/* Sealed, or a broken-out QEMU could truncate it under the executor and the broker. */
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

int conn_make(struct conn *c, uint32_t vm, uint64_t bar_size, unsigned vectors)
{
	unsigned n = 0;
	int memfd;

	if (c->made || vectors < VGPU_UNIX_VECTORS || vectors > IPC_VECTORS_MAX || bar_size < VGPU_BAR_MIN ||
	    bar_size > VGPU_BAR_MAX)
		return -EINVAL;
	memfd = make_memfd(bar_size);
	if (memfd < 0)
		return memfd;
	for (; n < vectors; n++) {
		c->bells[n] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		c->irqs[n] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (c->bells[n] < 0 || c->irqs[n] < 0)
			break;
	}
	if (n < vectors) {
		int rc = -errno;

		for (unsigned i = 0; i <= n; i++) {
			fd_closep(&c->bells[i]);
			fd_closep(&c->irqs[i]);
		}
		close(memfd);
		return rc;
	}
	c->vm = vm;
	c->memfd = memfd;
	c->vectors = vectors;
	c->bar_size = bar_size;
	c->made = true;
	return 0;
}

void conn_handover(struct conn *c, uint32_t status, const char *text)
{
	struct transport_memory mem = {c->memfd, c->bar_size, c->vectors, c->bells, c->irqs};
	bool give = status == VGPU_UNIX_OK && c->made;
	int rc = 0;

	if (c->gone)
		return;
	c->handed = give;
	if (c->transport == IPC_UNIX)
		rc = unix_handover(c->io.fd, give ? &mem : NULL, status, text);
	else if (give)
		rc = ivshmem_handover(c->io.fd, &mem);
	if (rc)
		log_warning("connection %u: handing over its memory: %s", c->id, strerror(-rc));
	if (rc || !give)
		conn_gone(c);
}
