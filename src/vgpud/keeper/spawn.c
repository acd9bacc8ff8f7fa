/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/keeper/keeper.h"
#include "base/log.h"
#include "executor/lease_page.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN_END_NS 10000000000ull
#define EXEC_NAMESPACES (CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

extern char **environ;

/* Like fork(), with namespaces and a pidfd. The keeper has one thread, so the child may use libc. */
static pid_t fork_into(uint64_t flags, int *pidfd)
{
	struct clone_args a = {.flags = flags | CLONE_PIDFD, .pidfd = (uintptr_t)pidfd, .exit_signal = SIGCHLD};
	long pid = syscall(SYS_clone3, &a, sizeof(a));

	return pid < 0 ? -errno : (pid_t)pid;
}

/* Root: namespaces directly. Otherwise through a user namespace; where that is forbidden, none at all, and
 * the executor says so. *kind: what it got. */
static pid_t fork_executor(bool root, int *pidfd, const char **kind)
{
	pid_t pid;

	*kind = root ? "root" : "user";
	pid = fork_into(EXEC_NAMESPACES | (root ? 0 : CLONE_NEWUSER), pidfd);
	if (pid != -EPERM && pid != -ENOSPC && pid != -EINVAL)
		return pid;
	*kind = "none";
	return fork_into(0, pidfd);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		log_warning("%s: %m", path);
	if (fd >= 0)
		close(fd);
}

static void map_own_user(uid_t uid, gid_t gid)
{
	char line[64];

	write_file("/proc/self/setgroups", "deny");
	snprintf(line, sizeof(line), "%u %u 1", uid, uid);
	write_file("/proc/self/uid_map", line);
	snprintf(line, sizeof(line), "%u %u 1", gid, gid);
	write_file("/proc/self/gid_map", line);
}

/* fds[i] becomes descriptor first + i, everything above ends; then prog, a file opened before, takes over. */
static void __attribute__((noreturn)) become(int prog, const char *const argv[], int first, const int *fds, int n)
{
	int high[16];

	for (int i = 0; i < n; i++)
		high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, first + n + 1);
	prog = fcntl(prog, F_DUPFD_CLOEXEC, first + n + 1);
	for (int i = 0; i < n; i++)
		dup2(high[i], first + i);
	dup3(prog, first + n, O_CLOEXEC);
	syscall(SYS_close_range, first + n + 1, ~0u, 0);
	execveat(first + n, "", (char *const *)argv, environ, AT_EMPTY_PATH);
	_exit(127);
}

/* A child sees only variables that steer the driver library or a sanitizer. */
static void trim_environment(void)
{
	static const char *const keep[] = {"SOFTCUDA_", "CUDA_", "ASAN_OPTIONS=", "UBSAN_OPTIONS=",
					   "LSAN_OPTIONS=", "JOURNAL_STREAM=", NULL};
	char *kept[64];
	int n = 0;

	for (char **e = environ; *e && n < 63; e++)
		for (int i = 0; keep[i]; i++)
			if (!strncmp(*e, keep[i], strlen(keep[i])))
				kept[n++] = *e;
	clearenv();
	for (int i = 0; i < n; i++)
		putenv(kept[i]);
}

struct exec_start {
	const struct vgpud_config *cfg;
	int program;
	const char *kind, *driver;
	struct ipc_device device;
	uint32_t uid, channel;
	uint64_t bar_size; /* 0: a probe or a spare */
	bool spare, check;
	int fds[IPC_FD_END - IPC_FD_SOCK];
	int n_fds;
};

/* One GPU is all that NVIDIA's library shall see; softcuda has as many devices as it is told. */
static void choose_device(const struct exec_start *s)
{
	uint64_t memory = config_softcuda_memory(s->cfg, s->device.ordinal - (unsigned)s->cfg->device);
	const char *env = getenv("SOFTCUDA_DEVICES");
	char text[32];

	if (s->device.uuid[0]) {
		setenv("CUDA_VISIBLE_DEVICES", s->device.uuid, 1);
		return;
	}
	if (!env || strtoul(env, NULL, 10) < s->device.ordinal + 1ul) {
		snprintf(text, sizeof(text), "%u", s->device.ordinal + 1);
		setenv("SOFTCUDA_DEVICES", text, 1);
	}
	snprintf(text, sizeof(text), "%llu", (unsigned long long)memory);
	if (memory)
		setenv("SOFTCUDA_MEMORY", text, 1);
}

static void __attribute__((noreturn)) run_executor(const struct exec_start *s)
{
	char uid[16], channel[16], device[16], bar[32], memory[32], context[32];
	const char *argv[] = {"vgpu-executor", "--namespaces", s->kind, "--uid", uid, "--channel", channel,
			      "--device", device, "--bar-size", bar, "--memory", memory,
			      "--context-bytes", context, "--landlock",
			      s->cfg->landlock == LANDLOCK_REQUIRE ? "require" : "accept-missing",
			      "--driver", s->driver, "--log-level", log_level_name(s->cfg->log_level),
			      "--uuid", s->device.uuid, s->spare ? "--spare" : s->check ? "--check" : NULL, NULL};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!strcmp(s->kind, "user"))
		map_own_user((uid_t)s->uid, getegid());
	snprintf(uid, sizeof(uid), "%u", s->uid);
	snprintf(channel, sizeof(channel), "%u", s->channel);
	snprintf(device, sizeof(device), "%u", s->device.ordinal);
	snprintf(bar, sizeof(bar), "%llu", (unsigned long long)s->bar_size);
	snprintf(memory, sizeof(memory), "%llu", (unsigned long long)s->cfg->executor_memory);
	snprintf(context, sizeof(context), "%llu", (unsigned long long)s->cfg->context_overhead);
	trim_environment();
	choose_device(s);
	become(s->program, argv, IPC_FD_SOCK, s->fds, s->n_fds);
}

static void child_free(struct child *c)
{
	loop_del(&c->keeper->loop, &c->io);
	fd_closep(&c->io.fd);
	fd_closep(&c->broker_sock);
	fd_closep(&c->lease_fd);
	fd_closep(&c->kick_fd);
	if (c->node.next)
		list_del(&c->node);
	free(c);
}

static void child_exited(struct loop_io *io, uint32_t events)
{
	struct child *c = io->arg;
	struct ipc_exited m = {.exec = c->id};
	int status = 0;

	if (waitpid(c->pid, &status, WNOHANG) != c->pid)
		return;
	m.status = status;
	link_send(c->keeper, IPC_EXITED, &m, sizeof(m), NULL, 0);
	child_free(c);
}

int child_watch(struct child *c)
{
	return loop_add(&c->keeper->loop, &c->io, c->io.fd, EPOLLIN, child_exited, c);
}

/* Every living executor has its own uid out of the configured range. */
static int free_uid_slot(struct keeper *k, uint32_t *slot)
{
	uint32_t count = (uint32_t)(k->cfg->executor_uids[1] - k->cfg->executor_uids[0]) + 1;

	for (uint32_t s = 0; s < count; s++) {
		bool taken = false;

		list_for_each(n, &k->children)
			taken |= list_entry(n, struct child, node)->uid_slot == s;
		if (!taken) {
			*slot = s;
			return 0;
		}
	}
	return -EUSERS;
}

static int child_fds(struct child *c, int *exec_sock)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	c->broker_sock = pair[0];
	*exec_sock = pair[1];
	c->lease_fd = memfd_create("vgpu-lease", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	c->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->lease_fd < 0 || c->kick_fd < 0 || ftruncate(c->lease_fd, LEASE_PAGE_SIZE) ||
	    fcntl(c->lease_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	return 0;
}

static int child_start(struct keeper *k, struct child *c, struct conn *conn, int exec_sock, const char **what)
{
	const char *library = c->device.uuid[0] ? k->cfg->gpu_library : k->cfg->driver;
	cleanup_fd int driver = open(library, O_RDONLY | O_CLOEXEC);
	struct exec_start s = {.cfg = k->cfg, .program = k->executor_fd, .channel = c->channel, .driver = library,
			       .device = c->device, .spare = c->spare, .check = c->check,
			       .fds = {exec_sock, c->lease_fd, c->kick_fd, driver}, .n_fds = 4};
	int pidfd = -1, rc;
	pid_t pid;

	*what = "driver library";
	if (driver < 0)
		return -errno;
	s.uid = k->cfg->is_root ? (uint32_t)k->cfg->executor_uids[0] + c->uid_slot : geteuid();
	if (conn) {
		s.bar_size = conn->bar_size;
		s.fds[s.n_fds++] = conn->memfd;
		s.fds[s.n_fds++] = conn->bells[VGPU_VECTOR_CHANNEL(c->channel)];
		s.fds[s.n_fds++] = conn->irqs[VGPU_VECTOR_CHANNEL(c->channel)];
	}
	*what = "clone";
	pid = fork_executor(k->cfg->is_root, &pidfd, &s.kind);
	if (pid == 0)
		run_executor(&s);
	if (pid < 0)
		return pid;
	c->pid = pid;
	c->io.fd = pidfd;
	rc = child_watch(c);
	if (rc) { /* unwatched it would never be reaped */
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return rc;
}

void child_announce(struct child *c)
{
	struct ipc_spawned m = {c->id, c->conn, c->channel, c->generation, c->pid};
	int fds[3] = {c->broker_sock, c->lease_fd, c->kick_fd};

	link_send(c->keeper, IPC_SPAWNED, &m, sizeof(m), fds, 3);
}

static bool has_channel(const struct conn *conn, uint32_t channel)
{
	return conn && conn->made && channel < VGPU_CHANNELS_MAX && VGPU_VECTOR_CHANNEL(channel) < conn->vectors;
}

/* It becomes a variable and an argument of a process. */
static bool is_uuid(const char s[IPC_UUID_LEN])
{
	size_t n = strnlen(s, IPC_UUID_LEN);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && s[i] != '-')
			return false;
	return n < IPC_UUID_LEN;
}

int child_spawn(struct keeper *k, const struct ipc_spawn *s, char *why, size_t why_len)
{
	struct conn *conn = s->conn == IPC_NO_CONN ? NULL : conn_find(k, s->conn);
	cleanup_fd int exec_sock = -1;
	const char *what = "arguments";
	struct child *c;
	int rc = -EINVAL;

	if ((s->conn != IPC_NO_CONN && !has_channel(conn, s->channel)) || !is_uuid(s->device.uuid))
		goto refuse;
	what = "memory";
	c = calloc(1, sizeof(*c));
	rc = -ENOMEM;
	if (!c)
		goto refuse;
	*c = (struct child){.keeper = k, .id = s->exec, .conn = s->conn, .channel = s->channel,
			    .generation = s->generation, .device = s->device,
			    .spare = s->conn == IPC_NO_CONN && s->channel == IPC_SPARE,
			    .check = s->conn == IPC_NO_CONN && s->channel == IPC_CHECK,
			    .broker_sock = -1, .lease_fd = -1, .kick_fd = -1,
			    .io.fd = -1};
	what = "executor-uids";
	rc = free_uid_slot(k, &c->uid_slot);
	if (!rc) {
		what = "descriptors";
		rc = child_fds(c, &exec_sock);
	}
	if (!rc)
		rc = child_start(k, c, conn, exec_sock, &what);
	if (!rc) {
		if (conn)
			conn->ran[s->channel] = s->generation;
		list_add_tail(&k->children, &c->node);
		child_announce(c);
		return 0;
	}
	child_free(c);
refuse:
	snprintf(why, why_len, "executor not started: %s: %s", what, strerror(-rc));
	return rc;
}

static struct child *child_find(struct keeper *k, uint32_t id)
{
	list_for_each(n, &k->children) {
		struct child *c = list_entry(n, struct child, node);

		if (c->id == id)
			return c;
	}
	return NULL;
}

/* One message on the socket whose other end it reads; nothing else was ever sent there, so it has room. */
static int send_channel(struct child *c, const struct conn *conn)
{
	struct ipc_channel m = {.bar_size = conn->bar_size, .channel = c->channel};
	int fds[3] = {conn->memfd, conn->bells[VGPU_VECTOR_CHANNEL(c->channel)],
		      conn->irqs[VGPU_VECTOR_CHANNEL(c->channel)]};
	int sock = fcntl(c->broker_sock, F_DUPFD_CLOEXEC, 3), rc;
	struct msg_chan chan;

	if (sock < 0)
		return -errno;
	msg_chan_init(&chan, sock, &ipc_table, IPC_BROKER, IPC_EXECUTOR);
	rc = msg_send(&chan, IPC_CHANNEL, &m, sizeof(m), fds, 3);
	if (!rc && msg_pending(&chan))
		rc = -EAGAIN;
	msg_chan_fini(&chan);
	return rc;
}

/* From here on it is that channel's executor, for this broker and any that follows. */
void child_assign(struct keeper *k, const struct ipc_spawn *s)
{
	struct conn *conn = conn_find(k, s->conn);
	struct child *c = child_find(k, s->exec);
	int rc = -EINVAL;

	if (!c) /* it ended; EXITED is under way */
		return;
	if (c->spare && has_channel(conn, s->channel)) {
		c->spare = false;
		c->conn = s->conn;
		c->channel = s->channel;
		c->generation = s->generation;
		conn->ran[s->channel] = s->generation;
		rc = send_channel(c, conn);
	}
	if (!rc)
		return;
	log_error("executor %u cannot be given its channel (%s): killed", c->id, strerror(-rc));
	kill(c->pid, SIGKILL);
}

void child_kill(struct keeper *k, uint32_t id)
{
	struct child *c = child_find(k, id);

	if (c) /* not reaped yet, so the pid is still ours */
		kill(c->pid, SIGKILL);
}

/* Reaped within ms? A process inside a driver that hangs does not even obey SIGKILL, and one that is traced
 * is its tracer's; whoever ends after us is reaped by init. */
bool wait_ended(int pidfd, pid_t pid, int ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	while (poll(&p, 1, ms) < 0 && errno == EINTR)
		;
	return waitpid(pid, NULL, WNOHANG) == pid;
}

void children_end(struct keeper *k)
{
	uint64_t until = now_ns() + CHILDREN_END_NS;

	list_for_each(n, &k->children)
		kill(list_entry(n, struct child, node)->pid, SIGKILL);
	list_for_each(n, &k->children) {
		struct child *c = list_entry(n, struct child, node);
		uint64_t now = now_ns();

		if (!wait_ended(c->io.fd, c->pid, now < until ? (int)((until - now) / 1000000) : 0))
			log_error("executor %d is killed but does not end: what it holds of the device is not free yet",
				  c->pid);
		child_free(c);
	}
}

int broker_spawn(struct keeper *k, int sock)
{
	int fds[] = {sock, k->config_fd, k->state_fd}, pidfd = -1;
	const char *argv[] = {"vgpu-broker", NULL};
	pid_t pid = fork_into(0, &pidfd);

	if (pid == 0) {
		become(k->broker_fd, argv, IPC_BFD_SOCK, fds, 3);
	}
	if (pid < 0)
		return pid;
	k->broker_pid = pid;
	return pidfd;
}

pid_t spawn_plain(const char *path, char *const argv[], const int *fds, int n, int *pidfd)
{
	cleanup_fd int program = open(path, O_PATH | O_CLOEXEC);
	pid_t pid;

	if (program < 0)
		return -errno;
	pid = fork_into(0, pidfd);
	if (pid == 0)
		become(program, (const char *const *)argv, IPC_BFD_SOCK, fds, n);
	return pid;
}
