/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker among hostile peers: executors that were taken over (typed messages with any number of
 * descriptors, the lease page), guests (wish page, doorbells, the hello of a unix peer), and whoever
 * reaches the control socket. The keeper is honest, as the broker may rely on: it answers what it is
 * asked, and the input only chooses when things fail.
 *
 * Stored state is left out (state.db is no peer's); nothing else is. Besides the sanitizers: quotas add
 * up, each line on the control socket gets one answer that is JSON, what may not be said is answered
 * by ending who said it, and when all have gone nothing is left, down to the descriptors.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/log.h"
#include "vgpud/broker/broker.h"
#include "wire/geometry.h"
#include "fuzz.h"

#define CONNS 6u
#define EXECS 12u
#define CLIENTS 6u
#define STEPS_MAX 120u

struct peer { /* what the keeper holds of a connection */
	uint32_t id;
	bool gone, made;
	int memfd, bells[IPC_VECTORS_MAX], irqs[IPC_VECTORS_MAX];
	unsigned vectors;
	struct ipc_conn said;
};
struct mock_exec {
	uint32_t id;
	int sock, kick;
	struct lease_page *page;
};
struct mock_client {
	int fd;
	unsigned asked; /* lines without an answer */
};
static struct broker b;
static struct choices in;
static struct msg_chan keeper;
static struct peer peers[CONNS];
static struct mock_exec execs[EXECS];
static struct mock_client clients[CLIENTS];
static int control = -1; /* listening, for all inputs */
static struct sockaddr_un control_at;
static socklen_t control_len;
static uint32_t next_conn;

/* ---- stored state: always well ---- */

struct vgpu_err *state_record(struct broker *b_, const struct change *c)
{
	MUST(c->command && c->object && c->text && c->who);
	return choose(&in) % 32 == 31 ? err_new("disk full") : NULL;
}
void state_fault(struct vm *vm, const char *kind)
{
}
void state_place(struct vm *vm)
{
}

void state_device(struct device *d)
{
}

void state_forget_device(struct device *d)
{
}

void state_retry(struct broker *b_)
{
}

void state_copy(struct broker *b_)
{
}
struct vgpu_err *state_rows(struct broker *b_, const char *sql, const char *const *keys, const char *arg, json_t **out)
{
	*out = json_array();
	return NULL;
}

/* Lines are made, so that their arguments are read, and forgotten. */
void log_set_level(enum log_level l)
{
}

void log_at(enum log_level l, const char *fmt, ...)
{
	char room[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(room, sizeof(room), fmt, ap);
	va_end(ap);
}

/* ---- the loop, one look at a time ---- */

static void turn(void)
{
	for (unsigned i = 0; i < 24; i++) {
		int n = epoll_wait(b.loop.epfd, b.loop.pending, LOOP_BATCH, 0);
		bool more = scrub_step(&b.scrub);

		b.loop.n_pending = n;
		for (int k = 0; k < n; k++) {
			struct loop_io *io = b.loop.pending[k].data.ptr;

			if (io)
				io->fn(io, b.loop.pending[k].events);
		}
		b.loop.n_pending = 0;
		if (n <= 0 && !more)
			return;
	}
}

/* ---- the keeper ---- */

static struct peer *peer_of(uint32_t id)
{
	for (unsigned i = 0; i < CONNS; i++)
		if (peers[i].id == id)
			return &peers[i];
	return NULL;
}

static void peer_close(struct peer *p)
{
	for (unsigned i = 0; p->made && i < p->vectors; i++) {
		close(p->bells[i]);
		close(p->irqs[i]);
	}
	if (p->made)
		close(p->memfd);
	memset(p, 0, sizeof(*p));
}

static void on_make(const struct ipc_make *m)
{
	struct peer *p = peer_of(m->conn);
	int fds[1 + 2 * IPC_VECTORS_MAX];
	unsigned n = 0;

	if (!p || p->made)
		return;
	MUST(m->vectors >= 2 && m->vectors <= IPC_VECTORS_MAX && m->bar_size >= VGPU_BAR_MIN && m->bar_size <= VGPU_BAR_MAX);
	p->memfd = memfd_create("bar", MFD_CLOEXEC);
	MUST(p->memfd >= 0 && ftruncate(p->memfd, (off_t)m->bar_size) == 0);
	p->vectors = m->vectors;
	p->made = true;
	fds[n++] = p->memfd;
	for (unsigned i = 0; i < m->vectors; i++)
		fds[n++] = p->bells[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	for (unsigned i = 0; i < m->vectors; i++)
		fds[n++] = p->irqs[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	p->said.vectors = m->vectors;
	p->said.bar_size = m->bar_size;
	MUST(!msg_send(&keeper, IPC_CONN, &p->said, sizeof(p->said), fds, n));
}

static void exec_over(struct mock_exec *x, int status)
{
	struct ipc_exited m = { .exec = x->id, .status = status };

	close(x->sock);
	close(x->kick);
	munmap(x->page, LEASE_PAGE_SIZE);
	memset(x, 0, sizeof(*x));
	MUST(!msg_send(&keeper, IPC_EXITED, &m, sizeof(m), NULL, 0));
}

static void on_spawn(const struct ipc_spawn *m)
{
	struct ipc_exited no = { .exec = m->exec, .status = -1, .text = "not today" };
	struct ipc_spawned yes = { .exec = m->exec, .conn = m->conn, .channel = m->channel, .generation = m->generation, .pid = 1 };
	int pair[2], fds[3];
	unsigned i = 0;

	while (i < EXECS && execs[i].id)
		i++;
	if (i == EXECS || choose(&in) % 16 == 15) {
		MUST(!msg_send(&keeper, IPC_EXITED, &no, sizeof(no), NULL, 0));
		return;
	}
	MUST(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	fds[0] = pair[0];
	fds[1] = memfd_create("lease", MFD_CLOEXEC);
	fds[2] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	MUST(fds[1] >= 0 && fds[2] >= 0 && !ftruncate(fds[1], LEASE_PAGE_SIZE));
	execs[i].id = m->exec;
	execs[i].sock = pair[1];
	execs[i].kick = fds[2];
	execs[i].page = mmap(NULL, LEASE_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
	MUST(execs[i].page != MAP_FAILED);
	MUST(!msg_send(&keeper, IPC_SPAWNED, &yes, sizeof(yes), fds, 3));
	close(fds[0]);
	close(fds[1]);
}

static void on_ready(const struct ipc_ready *m)
{
	if (!m->ok)
		return;
	keeper.state = IPC_S_RUN;
	MUST(!msg_send(&keeper, IPC_CONTROL, NULL, 0, &control, 1));
}

static void serve_keeper(void)
{
	struct msg m;
	char why[128];
	int rc;

	turn();
	while ((rc = msg_recv(&keeper, &m, why, sizeof(why))) == 1) {
		const struct ipc_id *id = (const void *)m.payload;
		struct ipc_listening a = { .vm = id->id, .rc = 0 };

		MUST(!m.n_fds);
		if (m.type == IPC_READY)
			on_ready((const void *)m.payload);
		else if (m.type == IPC_MAKE)
			on_make((const void *)m.payload);
		else if (m.type == IPC_SPAWN)
			on_spawn((const void *)m.payload);
		else if (m.type == IPC_CLOSE && peer_of(id->id))
			peer_close(peer_of(id->id));
		for (unsigned i = 0; m.type == IPC_KILL && i < EXECS; i++)
			if (execs[i].id == id->id)
				exec_over(&execs[i], 9);
		if (m.type == IPC_LISTEN) {
			a.rc = choose(&in) % 16 == 15 ? -EADDRINUSE : 0;
			MUST(!msg_send(&keeper, IPC_LISTENING, &a, sizeof(a), NULL, 0));
		}
		msg_done(&m);
		turn();
	}
	MUST(rc == 0);
	MUST(!b.loop.stop);
}

/* ---- what hostile peers do ---- */

static void new_peer(void)
{
	struct ipc_conn m = { .conn = ++next_conn, .uid = choose(&in) % 3 };
	struct peer *p = peer_of(0);

	if (!p)
		return;
	m.transport = choose(&in) % 2 ? IPC_UNIX : IPC_IVSHMEM;
	if (m.transport == IPC_IVSHMEM) {
		m.vm = 1 + choose(&in) % 4;
	} else {
		m.hello = (struct vgpu_unix_hello){ VGPU_UNIX_MAGIC, VGPU_UNIX_VERSION, "" };
		m.hello_len = sizeof(m.hello);
		m.hello.tenant[0] = "\0abc"[choose(&in) % 4];
		if (choose(&in) % 4 == 3) { /* as any peer may say it */
			choose_into(&in, &m.hello, sizeof(m.hello));
			m.hello_len = (uint32_t)(choose(&in) % 4 ? sizeof(m.hello) : choose_bytes(&in, 2));
		}
	}
	p->id = m.conn;
	p->said = m;
	MUST(!msg_send(&keeper, IPC_CONN, &m, sizeof(m), NULL, 0));
}

static void leave(struct peer *p)
{
	struct ipc_id m = { p->id };

	if (!p->id || p->gone)
		return;
	p->gone = true;
	MUST(!msg_send(&keeper, IPC_GONE, &m, sizeof(m), NULL, 0));
}

static void scribble_wish(struct peer *p)
{
	struct vgpu_wish *w;
	uint64_t one = 1;

	if (!p->made)
		return;
	w = mmap(NULL, VGPU_WISH_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, p->memfd, (off_t)VGPU_WISH_OFF);
	MUST(w != MAP_FAILED);
	for (unsigned n = 1 + choose(&in) % 4; n; n--) {
		uint8_t k = choose(&in);

		if (k & 128)
			w->owner[k & 127] = choose(&in) % 40;
		else
			w->wanted[k % VGPU_CHANNELS_MAX % (k & 64 ? 32 : 2)] = choose(&in) % 8;
	}
	munmap(w, VGPU_WISH_SIZE);
	if (write(p->bells[choose(&in) % p->vectors % 2], &one, sizeof(one)) < 0)
		MUST(errno == EAGAIN);
}

/* Any head, any payload, any number of descriptors; mostly what the table knows. */
static void say(struct mock_exec *x)
{
	static const uint8_t own[] = { IPC_X_READY, IPC_X_QUOTA, IPC_X_QUOTA, IPC_X_EXTENTS, IPC_X_END, IPC_X_DEVICE };
	struct {
		uint16_t type, n_fds;
		uint32_t size;
		uint8_t payload[MSG_PAYLOAD_MAX + 8];
	} m = { 0 };
	uint8_t how = choose(&in);
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * 80)];
	} ctl;
	struct iovec iov = { &m, 8 };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	unsigned fds = 0;

	m.type = own[how % sizeof(own)];
	m.size = ipc_table.rules[m.type].size;
	if (how & 64)
		m.type = (uint16_t)choose_bytes(&in, 1 + how % 2);
	if (m.type == IPC_X_QUOTA) {
		int64_t v = (int64_t)choose(&in) << (choose(&in) & 55);

		v = how & 32 ? -v : v;
		memcpy(m.payload, &v, sizeof(v));
	} else if (m.type == IPC_X_EXTENTS) {
		uint32_t e[2] = { choose(&in), (uint32_t)choose_bytes(&in, how & 32 ? 4 : 1) };

		memcpy(m.payload, e, sizeof(e));
	} else {
		choose_into(&in, m.payload, choose(&in));
	}
	if (how >= 240)
		fds = m.n_fds = (uint16_t)(choose(&in) % 80);
	if (how >= 248)
		m.n_fds = choose(&in);
	if (how % 32 == 31)
		m.size = (uint32_t)choose_bytes(&in, 2);
	iov.iov_len = 8 + (m.size <= sizeof(m.payload) ? m.size : sizeof(m.payload));
	if (how % 32 == 30)
		iov.iov_len = choose_bytes(&in, 2) % (sizeof(m) + 1);
	if (fds) {
		struct cmsghdr *c = (struct cmsghdr *)ctl.room;
		int fd[80];

		for (unsigned i = 0; i < fds; i++)
			fd[i] = x->kick;
		*c = (struct cmsghdr){ CMSG_LEN(sizeof(int) * fds), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(c), fd, sizeof(int) * fds);
		mh.msg_control = ctl.room;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * fds);
	}
	sendmsg(x->sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void play_lease(struct mock_exec *x)
{
	struct lease_page *p = x->page;
	uint64_t one = 1;

	for (unsigned n = 1 + choose(&in) % 3; n; n--) {
		uint8_t k = choose(&in);
		uint64_t v = k & 128 ? choose_bytes(&in, 8) : k & 64 ? p->grant : p->want + (k & 8 ? 1 : 0);

		switch (k % 8) {
		case 0: p->want = (uint32_t)v; break;
		case 1: p->released = (uint32_t)v; break;
		case 2: p->claimed = (uint32_t)v; break;
		case 3: p->active = (uint32_t)v; break;
		case 4: p->active_since = v; break;
		case 5: p->busy_ns = v; break;
		case 6: p->units_begun = v; break;
		default: p->units_ended = v;
		}
	}
	if (write(x->kick, &one, sizeof(one)) < 0)
		MUST(errno == EAGAIN);
}

/* ---- the control socket ---- */

static void connect_client(struct mock_client *c)
{
	if (c->fd > 0)
		return;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	MUST(c->fd > 0);
	if (connect(c->fd, (struct sockaddr *)&control_at, control_len)) {
		close(c->fd);
		c->fd = 0;
	}
	c->asked = 0;
}

static void add_value(struct buf *t)
{
	static const char *const values[] = { "\"a\"", "\"b\"", "\"c\"", "1", "2", "0", "-1", "true", "null", "\"high\"", "50", "100",
					      "268435456", "536870912", "1073741824", "30000000000", "9223372036854775807", "1.5",
					      "[]", "{}", "\"\\u0000\"", "\"../../x\"", "99999999999999999999", "4294967295",
					      "\"xééééééééééééééééééééééééééééééééé\"" };
	uint8_t how = choose(&in);

	if (how < 200) {
		buf_printf(t, "%s", values[how % (sizeof(values) / sizeof(*values))]);
	} else if (how < 240) { /* any text that can be written in JSON */
		char room[80];
		size_t n = choose_into(&in, room, choose(&in) % sizeof(room));
		json_t *s = json_stringn(room, n);
		char *d = s ? json_dumps(s, JSON_ENCODE_ANY) : NULL;

		buf_printf(t, "%s", d ? d : "\"\"");
		free(d);
		json_decref(s);
	} else {
		buf_printf(t, "%llu", (unsigned long long)choose_bytes(&in, 6));
	}
}

static void ask(struct mock_client *c)
{
	static const char *const commands[] = { "register-vm", "remove-vm", "set-vm", "set-vm-id", "quarantine-vm", "clear-quarantine",
						"list-vms", "show-vm", "status", "health", "connections", "timeline", "events",
						"audit", "faults", "none" };
	static const char *const keys[] = { "name", "priority", "weight", "quota", "bar_size", "job_timeout_ns", "hard_timeout_ns",
					    "uid", "cap", "reservation", "id", "since", "wait", "since_bucket", "zzz", "cmd" };
	struct buf t;

	buf_init(&t, 16384);
	for (unsigned lines = 1 + choose(&in) % 3; lines; lines--) {
		uint8_t how = choose(&in), n = choose(&in) % 6;

		if (how >= 240) {
			char room[120];
			size_t len = choose_into(&in, room, choose(&in) % sizeof(room));

			for (size_t i = 0; i < len; i++)
				buf_printf(&t, "%c", room[i] && room[i] != '\n' ? room[i] : ' ');
			buf_printf(&t, "\n");
			continue;
		}
		buf_printf(&t, "{\"cmd\":\"%s\",\"name\":", commands[how % 16]);
		if (how < 192)
			buf_printf(&t, "\"%c\"", 'a' + (how >> 4) % 3);
		else
			add_value(&t);
		for (; n; n--) {
			buf_printf(&t, ",\"%s\":", keys[1 + choose(&in) % 15]);
			add_value(&t);
		}
		buf_printf(&t, "}\n");
	}
	if (send(c->fd, t.data, t.len, MSG_NOSIGNAL) == (ssize_t)t.len)
		for (size_t i = 0; i < t.len; i++)
			c->asked += t.data[i] == '\n';
	buf_free(&t);
}

/* Reads what there is; each line an answer. */
static void hear(struct mock_client *c, bool all)
{
	static char room[1 << 20];
	size_t have = 0;
	ssize_t n;

	if (c->fd <= 0)
		return;
	while ((n = recv(c->fd, room + have, sizeof(room) - have, MSG_DONTWAIT)) > 0) {
		char *nl;

		have += (size_t)n;
		turn();
		while ((nl = memchr(room, '\n', have))) {
			json_t *j = json_loadb(room, (size_t)(nl - room), 0, NULL);

			MUST(json_is_object(j) && json_is_boolean(json_object_get(j, "ok")));
			MUST(json_object_get(j, json_is_true(json_object_get(j, "ok")) ? "data" : "error"));
			MUST(c->asked);
			c->asked--;
			json_decref(j);
			have -= (size_t)(nl + 1 - room);
			memmove(room, nl + 1, have);
		}
		MUST(have < sizeof(room));
		serve_keeper();
	}
	MUST(n < 0 && errno == EAGAIN); /* no line of ours ends a connection */
	MUST(!have || !all);
}

/* ---- what must hold ---- */

static void check(void)
{
	unsigned n = 0;

	list_for_each(it, &b.vms) {
		struct vm *vm = list_entry(it, struct vm, node);
		uint64_t sum = 0;

		list_for_each(e, &b.execs)
			if (list_entry(e, struct bexec, node)->vm == vm)
				sum += list_entry(e, struct bexec, node)->quota_used;
		MUST(vm->quota_used == sum);
	}
	list_for_each(it, &b.clients)
		n++;
	MUST(n <= CLIENTS);
	list_for_each(it, &b.conns)
		for (unsigned i = 0; i < list_entry(it, struct bconn, node)->n_channels; i++) {
			const struct channel *ch = &list_entry(it, struct bconn, node)->channel[i];

			MUST(ch->state < CH_STATES && (!ch->exec || ch->exec->channel == ch));
		}
}

static void step(void)
{
	uint8_t what = choose(&in), which = choose(&in);
	struct mock_exec *x = &execs[which % EXECS];
	struct mock_client *c = &clients[which % CLIENTS];
	struct peer *p = &peers[which % CONNS];

	for (unsigned i = 0; i < EXECS && !x->id; i++)
		x = &execs[(which + i) % EXECS];
	if (what < 24)
		new_peer();
	else if (what < 32)
		leave(p);
	else if (what < 72)
		scribble_wish(p);
	else if (what < 128 && x->id)
		say(x);
	else if (what < 160 && x->id)
		play_lease(x);
	else if (what < 168 && x->id)
		exec_over(x, what % 3 ? 0 : 11);
	else if (what < 176)
		connect_client(c);
	else if (what < 232 && c->fd > 0 && c->asked < 40)
		ask(c);
	else if (what < 236 && c->fd > 0) {
		close(c->fd);
		c->fd = 0;
	} else if (what < 248)
		list_for_each(it, &b.conns) {
			struct bconn *bc = list_entry(it, struct bconn, node);

			for (unsigned i = 0; bc->made && b.ready && i < bc->n_channels; i++)
				channel_period(&bc->channel[i], now_ns() + which * 250000000ull);
		}
	else
		devices_step(&b, now_ns() + which * 1000000ull);
	serve_keeper();
	if (what & 1 && c->fd > 0)
		hear(c, false);
	check();
}

/* ---- beginning and end ---- */

static void start(void)
{
	int pair[2];

	memset(&b, 0, sizeof(b));
	memset(peers, 0, sizeof(peers));
	next_conn = 0;
	b.next_vm = 1;
	config_defaults(&b.cfg);
	b.cfg.bar_budget = 4ull << 30;
	b.cfg.context_overhead = 1 << 20;
	b.cfg.spawn_burst = 1000;
	b.cfg.fault_limit = 3;
	list_init(&b.devices);
	list_init(&b.pools);
	list_init(&b.vms);
	list_init(&b.conns);
	list_init(&b.execs);
	list_init(&b.clients);
	list_init(&b.early);
	scrub_init(&b.scrub);
	MUST(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	MUST(dup2(pair[1], IPC_BFD_SOCK) == IPC_BFD_SOCK);
	close(pair[1]);
	msg_chan_init(&keeper, pair[0], &ipc_table, IPC_KEEPER, IPC_BROKER);
	keeper.state = IPC_S_START;
	MUST(!loop_init(&b.loop) && !loop_timer_init(&b.loop, &b.period_io, NULL, &b) && !devices_init(&b) && !conns_init(&b) && !control_init(&b) &&
	     !keeper_link_start(&b));
}

/* The keeper says that all is replayed, and the probe what the device is. */
static void settle(void)
{
	const struct ipc_synced synced = {.serving = 1};
	struct ipc_x_device d = { .info = { .name = "fuzz", .total_mem = 8ull << 30 } };
	struct {
		uint16_t type, n_fds;
		uint32_t size;
		struct ipc_x_device d;
	} __attribute__((packed)) m = { IPC_X_DEVICE, 0, sizeof(d), d };

	MUST(!msg_send(&keeper, IPC_SYNCED, &synced, sizeof(synced), NULL, 0));
	serve_keeper();
	if (execs[0].id && send(execs[0].sock, &m, sizeof(m), 0) != sizeof(m))
		MUST(0);
	serve_keeper();
	if (execs[0].id)
		exec_over(&execs[0], 0);
	serve_keeper();
}

static void register_vms(void)
{
	static const char text[] = "{\"cmd\":\"register-vm\",\"name\":\"a\",\"quota\":1073741824}\n"
				   "{\"cmd\":\"register-vm\",\"name\":\"b\",\"quota\":268435456,\"priority\":\"high\"}\n";

	connect_client(&clients[0]);
	serve_keeper();
	if (clients[0].fd <= 0)
		return;
	MUST(send(clients[0].fd, text, sizeof(text) - 1, MSG_NOSIGNAL) == sizeof(text) - 1);
	clients[0].asked = 2;
	serve_keeper();
	serve_keeper();
	hear(&clients[0], false);
}

/* Everybody goes; then nothing may be left. */
static void finish(void)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		hear(&clients[i], true);
		if (clients[i].fd > 0)
			close(clients[i].fd);
		clients[i].fd = 0;
	}
	for (unsigned i = 0; i < CONNS; i++)
		leave(&peers[i]);
	serve_keeper();
	for (unsigned i = 0; i < EXECS; i++)
		if (execs[i].id)
			exec_over(&execs[i], 0);
	for (unsigned i = 0; i < 4000 && !list_empty(&b.conns); i++)
		serve_keeper();
	serve_keeper();
	check();
	MUST(list_empty(&b.conns) && list_empty(&b.execs) && list_empty(&b.clients) && list_empty(&b.early));
	list_for_each(it, &b.vms)
		vm_remove(list_entry(it, struct vm, node));
	for (unsigned i = 0; i < CONNS; i++)
		MUST(!peers[i].id);
	devices_end(&b);
	close(b.unmute_io.fd);
	close(b.period_io.fd);
	if (b.control_io.added) {
		loop_del(&b.loop, &b.control_io);
		close(b.control_io.fd);
	}
	loop_fini(&b.loop);
	msg_chan_fini(&b.keeper);
	msg_chan_fini(&keeper);
}

static void once(void)
{
	int null = open("/dev/null", O_RDWR);

	MUST(null >= 0);
	while (null <= IPC_BFD_SOCK)
		null = dup(null); /* nobody else's descriptor lies where the broker expects the keeper */
	irq_init();
	control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	control_at.sun_family = AF_UNIX;
	control_len = sizeof(control_at);
	MUST(!bind(control, (struct sockaddr *)&control_at, sizeof(sa_family_t)) && !listen(control, 64) &&
	     !getsockname(control, (struct sockaddr *)&control_at, &control_len));
}

/* The first free descriptor number: the same before and after. */
static int first_free(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	int before;

	if (control < 0)
		once();
	before = first_free();
	in = (struct choices){ data, len };
	start();
	settle();
	if (b.ready)
		register_vms();
	for (unsigned i = 0; i < STEPS_MAX && in.left; i++)
		step();
	finish();
	close(IPC_BFD_SOCK);
	MUST(dup2(control, IPC_BFD_SOCK) == IPC_BFD_SOCK);
	MUST(first_free() == before);
	return 0;
}
