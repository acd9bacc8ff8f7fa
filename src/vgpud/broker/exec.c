/* SPDX-License-Identifier: Apache-2.0 */
/* Executors as the broker sees them: typed messages in, results out, quota, watchdog. */
#include "vgpud/broker/broker.h"
#include "base/log.h"
#include "cuda/cuda.h"
#include "wire/geometry.h"
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define REAP_PERIODS 10 /* a killed executor is reaped within; our own delays do not count against it */
#define MESSAGES_MAX 16u
#define QUOTA_CLAIM_MAX (1ull << 50) /* no sum of claims overflows */

static void on_link(struct loop_io *io, uint32_t events);

static struct bexec *exec_by_id(struct broker *b, uint32_t id)
{
	list_for_each(n, &b->execs) {
		struct bexec *x = list_entry(n, struct bexec, node);

		if (x->id == id)
			return x;
	}
	return NULL;
}

/* ---- quota ---- */

/* Every executor of the VM sees the VM's sum. */
void quota_publish(struct vm *vm)
{
	list_for_each(n, &vm->broker->execs) {
		struct bexec *x = list_entry(n, struct bexec, node);

		if (x->vm != vm || !x->page)
			continue;
		atomic_store(&x->page->quota_total, vm->set.quota);
		atomic_store(&x->page->quota_used, vm->quota_used);
	}
}

static int quota_change(struct bexec *x, int64_t bytes)
{
	struct vm *vm = x->vm;

	if (bytes >= 0) {
		if ((uint64_t)bytes > vm->set.quota || vm->quota_used > vm->set.quota - (uint64_t)bytes)
			return -EDQUOT;
		x->quota_used += (uint64_t)bytes;
		vm->quota_used += (uint64_t)bytes;
	} else {
		if (bytes == INT64_MIN || x->quota_used < (uint64_t)-bytes)
			return -EPROTO; /* gives back what it never took */
		x->quota_used -= (uint64_t)-bytes;
		vm->quota_used -= (uint64_t)-bytes;
	}
	quota_publish(vm);
	return 0;
}

/* What an adopted executor holds already counts, fits or not. */
static void quota_adopt(struct bexec *x, uint64_t bytes)
{
	struct vm *vm = x->vm;

	x->quota_used += bytes;
	vm->quota_used += bytes;
	if (vm->quota_used > vm->set.quota)
		log_warning("VM %s: more memory in use than its quota", vm->set.name);
	quota_publish(vm);
}

/* ---- life ---- */

static struct bexec *exec_new(struct device *d, uint32_t id)
{
	struct bexec *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->broker = d->broker;
	x->device = d;
	x->id = id;
	x->link.fd = -1;
	list_add_tail(&d->broker->execs, &x->node);
	return x;
}

static bool first_of_vm(const struct bexec *x)
{
	list_for_each(n, &x->broker->execs) {
		const struct bexec *o = list_entry(n, struct bexec, node);

		if (o != x && o->vm == x->vm && !o->overhead)
			return false;
	}
	return true;
}

static void exec_free(struct bexec *x)
{
	struct broker *b = x->broker;

	loop_del(&b->loop, &x->link_io);
	loop_del(&b->loop, &x->kick_io);
	if (x->kick_io.fd > 0)
		close(x->kick_io.fd);
	if (x->link.fd >= 0)
		msg_chan_fini(&x->link);
	if (x->page)
		munmap(x->page, LEASE_PAGE_SIZE);
	if (x->channel)
		x->channel->exec = NULL;
	list_del(&x->node);
	free(x);
}

static void exec_bind(struct bexec *x, struct channel *ch)
{
	x->channel = ch;
	x->vm = ch->conn->vm;
	x->vm->spawned++;
	ch->exec = x;
	sched_client_init(&x->client, &x->vm->tenant);
	quota_publish(x->vm);
	if (x->page)
		limits_begin(x, now_ns());
}

/* The first context of a VM is paid by its reservation, further ones by its quota. */
static int pay_context(struct bexec *x)
{
	uint64_t overhead = x->broker->cfg.context_overhead;
	int rc;

	if (!overhead || first_of_vm(x))
		return 0;
	rc = quota_change(x, (int64_t)overhead);
	if (!rc)
		x->overhead = overhead;
	return rc;
}

struct bexec *exec_start(struct device *d, uint32_t what)
{
	struct ipc_spawn m = {.exec = ++d->broker->next_exec, .conn = IPC_NO_CONN, .channel = what, .device = d->id};
	struct bexec *x = exec_new(d, m.exec);

	if (x)
		to_keeper(d->broker, IPC_SPAWN, &m, sizeof(m));
	return x;
}

/* The spare if one waits, else a new process. */
int exec_spawn(struct channel *ch)
{
	struct broker *b = ch->conn->broker;
	struct device *d = ch->conn->vm->device;
	bool serves = device_serves(d);
	struct bexec *spare = serves ? spare_take(d) : NULL, *x = spare || !serves ? spare : exec_new(d, ++b->next_exec);
	struct ipc_spawn m = {.conn = ch->conn->id, .channel = ch->index, .generation = ch->generation, .device = d->id};
	struct ipc_id kill = {spare ? spare->id : 0};
	int rc;

	if (!x)
		return serves ? -ENOMEM : -ENODEV;
	m.exec = x->id;
	x->given = spare;
	exec_bind(x, ch);
	rc = pay_context(x);
	if (!rc) {
		to_keeper(b, spare ? IPC_ASSIGN : IPC_SPAWN, &m, sizeof(m));
		return 0;
	}
	if (spare)
		to_keeper(b, IPC_KILL, &kill, sizeof(kill));
	exec_free(x);
	return rc;
}

/* Edge-triggered and never read: the executor holds the same open file and could make a read wait. */
static void on_kick(struct loop_io *io, uint32_t events)
{
	exec_look(io->arg);
}

static int exec_attach(struct bexec *x, struct msg *m)
{
	struct broker *b = x->broker;
	int sock = msg_take_fd(m, 0), lease = msg_take_fd(m, 1), kick = msg_take_fd(m, 2), rc;
	void *p = mmap(NULL, LEASE_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, lease, 0);
	int unmapped = p == MAP_FAILED ? -errno : 0;

	close(lease);
	msg_chan_init(&x->link, sock, &ipc_table, IPC_BROKER, IPC_EXECUTOR);
	x->link.state = IPC_S_START;
	rc = loop_add(&b->loop, &x->kick_io, kick, EPOLLIN | EPOLLET, on_kick, x);
	if (rc) {
		close(kick);
		x->kick_io.fd = -1;
	}
	if (!rc)
		rc = loop_add(&b->loop, &x->link_io, sock, EPOLLIN, on_link, x);
	if (unmapped)
		return unmapped;
	x->page = p;
	if (x->vm) {
		quota_publish(x->vm);
		limits_begin(x, now_ns());
	}
	return rc;
}

static struct bexec *exec_adopt(struct broker *b, const struct ipc_spawned *s)
{
	struct bconn *c = bconn_by_id(b, s->conn);
	struct channel *ch = c && s->channel < c->n_channels ? &c->channel[s->channel] : NULL;
	struct bexec *x;

	if (!ch || ch->exec)
		return NULL;
	x = exec_new(c->vm->device, s->exec);
	if (!x)
		return NULL;
	exec_bind(x, ch);
	if (!first_of_vm(x)) {
		x->overhead = b->cfg.context_overhead;
		quota_adopt(x, x->overhead);
	}
	ch->generation = s->generation;
	ch->state = CH_STARTING; /* until it says READY */
	return x;
}

void exec_spawned(struct broker *b, struct msg *m)
{
	const struct ipc_spawned *s = (void *)m->payload;
	struct bexec *x = exec_by_id(b, s->exec);
	struct ipc_id kill = {s->exec};
	bool adopted = !x;
	int rc;

	if (s->exec > b->next_exec)
		b->next_exec = s->exec;
	if (x && x->link.fd >= 0) {
		log_error("executor %u: announced twice: the second is not ours", s->exec);
		return; /* its descriptors go with the message; the number is the first one's, so nothing can be killed by it */
	}
	if (!x)
		x = exec_adopt(b, s);
	if (!x) {
		if (s->conn != IPC_NO_CONN) /* else an earlier broker's spare */
			log_warning("executor %u, of connection %u: %s: killed", s->exec, s->conn,
				    bconn_by_id(b, s->conn) ? "its channel has another" : "which is not known");
		to_keeper(b, IPC_KILL, &kill, sizeof(kill));
		return;
	}
	rc = exec_attach(x, m);
	if (rc) {
		log_warning("executor %u cannot be attached (%s): killed", s->exec, strerror(-rc));
		to_keeper(b, IPC_KILL, &kill, sizeof(kill));
		return;
	}
	x->pid = s->pid;
	if (adopted) {
		struct ipc_adopt a = {now_ns()};

		x->link.state = IPC_S_ADOPT;
		x->adopt_token = a.token;
		if (msg_send(&x->link, IPC_ADOPT, &a, sizeof(a), NULL, 0))
			to_keeper(b, IPC_KILL, &kill, sizeof(kill));
	} else if (x->channel && (x->channel->state == CH_KILLING || x->channel->state == CH_DYING)) {
		to_keeper(b, IPC_KILL, &kill, sizeof(kill)); /* unwanted before it was born */
	}
}

static void drain(struct bexec *x, unsigned most);

static void describe_exit(const struct bexec *x, const struct ipc_exited *m)
{
	const char *vm = x->vm ? x->vm->set.name : x == x->device->spare ? "(spare)" : "(probe)";
	unsigned ch = x->channel ? x->channel->index : 0;

	if (m->status == -1)
		log_error("VM %s channel %u: %s", vm, ch, m->text);
	else if (WIFSIGNALED(m->status) && WTERMSIG(m->status) != SIGKILL)
		log_warning("VM %s channel %u: executor %d died of signal %d", vm, ch, x->pid, WTERMSIG(m->status));
	else if (WIFEXITED(m->status) && WEXITSTATUS(m->status) && !x->end_error)
		log_warning("VM %s channel %u: executor %d exited with %d", vm, ch, x->pid, WEXITSTATUS(m->status));
}

static uint32_t exit_error(const struct bexec *x, const struct ipc_exited *m)
{
	if (x->end_error)
		return x->end_error;
	return m->status == -1 ? VGPU_ERR_SPAWN : VGPU_ERR_EXECUTOR_CRASHED;
}

static bool is_fault(uint32_t error)
{
	return error == VGPU_ERR_EXECUTOR_CRASHED || error == VGPU_ERR_PROTOCOL || error == VGPU_ERR_TIMEOUT;
}

/* What the guest is charged with, or VGPU_ERR_NONE. That it closed the channel, and we killed the executor for
 * it, excuses only an end that bears no other mark: else whoever closes fast enough has no faults. */
static uint32_t exit_fault(const struct bexec *x, const struct ipc_exited *m)
{
	const struct channel *ch = x->channel;

	if (is_fault(ch->error))
		return ch->error;
	if (is_fault(x->end_error))
		return x->end_error;
	if (m->status != -1 && WIFSIGNALED(m->status) && WTERMSIG(m->status) != SIGKILL)
		return VGPU_ERR_EXECUTOR_CRASHED;
	if (ch->state == CH_KILLING || ch->error != VGPU_ERR_NONE)
		return VGPU_ERR_NONE;
	return is_fault(exit_error(x, m)) ? exit_error(x, m) : VGPU_ERR_NONE;
}

const char *const fault_names[FAULTS] = {
	[VGPU_ERR_EXECUTOR_CRASHED] = "crash", [VGPU_ERR_PROTOCOL] = "protocol", [VGPU_ERR_TIMEOUT] = "timeout",
};

static void on_fault(struct vm *vm, uint32_t error)
{
	unsigned long long limit = vm_fault_limit(vm);
	bool too_many = vm_fault(vm, now_ns());

	vm->broker->faults[error]++;
	event_add(vm->broker, "fault", vm->set.name, "%s", fault_names[error]);
	if (too_many) {
		log_error("VM %s: %llu faults in %llu s: quarantined until vgpu-admin clear-quarantine", vm->set.name,
			  limit, (unsigned long long)(vm_fault_window(vm) / 1000000000));
		event_add(vm->broker, "quarantine", vm->set.name, "%llu faults", limit);
		vm_quarantine(vm);
	}
	state_fault(vm, fault_names[error]);
}

static void count_totals(struct bexec *x)
{
	if (!x->page)
		return;
	x->vm->units += atomic_load(&x->page->units_ended);
	x->vm->launches += atomic_load(&x->page->launches);
	x->vm->bytes += atomic_load(&x->page->bytes);
	x->vm->unsupported += atomic_load(&x->page->unsupported);
	times_end(x);
}

void exec_exited(struct broker *b, const struct ipc_exited *m)
{
	struct bexec *x = exec_by_id(b, m->exec);
	struct channel *ch;
	struct vm *vm;
	uint32_t fault;
	bool unserved;

	if (!x)
		return;
	drain(x, UINT_MAX); /* its last word may still lie in the socket */
	describe_exit(x, m);
	if (!x->vm) {
		if (!probe_ended(x, m->status == -1 ? m->text : "the executor that looks at the device died"))
			spare_ended(x);
		exec_free(x);
		devices_reap(b);
		return;
	}
	ch = x->channel;
	vm = x->vm;
	if (x->hung)
		device_hung(x->device);
	exec_lease_end(x);
	limits_end(x, now_ns());
	count_totals(x);
	vm->quota_used -= x->quota_used;
	/* A spare may end, for whatever reason, in the moment it is given away: nothing the guest did. */
	unserved = x->given && x->link.state == IPC_S_START && ch->state == CH_STARTING;
	fault = unserved ? VGPU_ERR_NONE : exit_fault(x, m);
	if (!unserved && ch->error == VGPU_ERR_NONE)
		ch->error = exit_error(x, m);
	exec_free(x);
	quota_publish(vm);
	if (unserved && !exec_spawn(ch))
		return;
	if (unserved)
		ch->error = VGPU_ERR_SPAWN;
	if (fault)
		on_fault(vm, fault);
	channel_event(ch, CH_EXIT);
	conn_maybe_free(ch->conn);
}

/* ---- messages ---- */

static void reply(struct bexec *x, int rc)
{
	struct ipc_result r = {rc};

	/* It asks one thing at a time, so an answer that does not fit means it does not play by the rules. */
	if (msg_send(&x->link, IPC_RESULT, &r, sizeof(r), NULL, 0) || msg_pending(&x->link))
		channel_fail(x->channel, VGPU_ERR_PROTOCOL);
}

/* What the driver says of a device's place; an assigned one keeps what assign-gpu was told. */
void device_learn_place(struct device *d)
{
	const vg_s32 *attr = d->info.attr;
	bool told = d->id.uuid[0];

	if (d->cpu || attr[CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID] == VGPU_ATTR_UNKNOWN)
		return;
	if (!told || !d->pci[0])
		snprintf(d->pci, sizeof(d->pci), "%04x:%02x:%02x.0", (unsigned)attr[CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID] & 0xffff,
			 (unsigned)attr[CU_DEVICE_ATTRIBUTE_PCI_BUS_ID] & 0xff, (unsigned)attr[CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID] & 0x1f);
	if ((!told || d->numa_node == PLACE_NODE_NONE) && attr[CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID] != VGPU_ATTR_UNKNOWN &&
	    attr[CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID] >= 0)
		d->numa_node = (uint32_t)attr[CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID];
}

static void on_device(struct bexec *x, const void *p)
{
	const struct ipc_x_device *m = p;

	if (x != x->device->probe)
		return; /* one that took too long: another may be under way */
	x->device->info = m->info;
	x->device->info.name[sizeof(m->info.name) - 1] = 0;
	x->device->known = true;
	x->device->probe_ok = true;
	device_learn_place(x->device);
	state_copy(x->broker); /* for the next broker */
}

static void on_ready(struct bexec *x, const void *p)
{
	const struct ipc_x_ready *m = p;

	if (x->link.state == IPC_S_ADOPT && m->token != x->adopt_token)
		return; /* said to a former broker, or for it */
	if (m->quota_used > QUOTA_CLAIM_MAX) {
		channel_fail(x->channel, VGPU_ERR_PROTOCOL);
		return;
	}
	if (x->link.state == IPC_S_ADOPT && m->quota_used)
		quota_adopt(x, m->quota_used);
	x->link.state = IPC_S_RUN;
	channel_event(x->channel, CH_READY);
	exec_look(x);
}

static void on_spare(struct bexec *x, const void *p)
{
	x->prepared = true;
}

static void on_end(struct bexec *x, const void *p)
{
	const struct ipc_x_end *m = p;
	char text[IPC_TEXT_LEN];

	snprintf(text, sizeof(text), "%.*s", (int)sizeof(m->text) - 1, m->text);
	x->end_error = m->error <= VGPU_ERR_REMOVED ? m->error : VGPU_ERR_PROTOCOL;
	if (x == x->device->probe)
		snprintf(x->device->probe_text, sizeof(x->device->probe_text), "%s", text);
	if (x != x->device->probe && x->end_error == VGPU_ERR_NO_DEVICE)
		device_suspect(x->device, "an executor could not open it");
	if (!x->vm)
		return;
	if (x->end_error)
		log_warning("VM %s channel %u: executor ended with error %u%s%s", x->vm->set.name,
			    x->channel->index, x->end_error, text[0] ? ": " : "", text);
}

static void on_quota(struct bexec *x, const void *p)
{
	int rc = quota_change(x, ((const struct ipc_x_quota *)p)->bytes);

	if (rc == -EPROTO)
		channel_fail(x->channel, VGPU_ERR_PROTOCOL);
	else
		reply(x, rc);
}

static void on_extents(struct bexec *x, const void *p)
{
	const struct ipc_x_extents *m = p;
	struct channel *ch = x->channel;
	uint32_t n = vgpu_extent_count(ch->conn->bar_size);

	if (!ch->extents)
		ch->extents = calloc(1, VGPU_EXTENTS_MAX / 8);
	if (!ch->extents || m->count == 0 || m->first >= n || m->count > n - m->first) {
		reply(x, -EPERM);
		return;
	}
	for (uint32_t i = m->first; i < m->first + m->count; i++)
		if (ch->conn->wish->owner[i] != ch->index + 1) {
			reply(x, -EPERM);
			return;
		}
	for (uint32_t i = m->first; i < m->first + m->count; i++)
		ch->extents[i / 8] |= (uint8_t)(1u << (i % 8));
	reply(x, 0);
}

static void on_sick(struct bexec *x, const void *p)
{
	char why[128];

	snprintf(why, sizeof(why), "an executor of VM %s reports CUDA error %d", x->vm->set.name, ((const struct ipc_x_sick *)p)->code);
	device_suspect(x->device, why);
}

static void (*const handlers[IPC_TYPES])(struct bexec *, const void *) = {
	[IPC_X_SICK] = on_sick,
	[IPC_X_DEVICE] = on_device, [IPC_X_READY] = on_ready,	  [IPC_X_END] = on_end,
	[IPC_X_QUOTA] = on_quota,   [IPC_X_EXTENTS] = on_extents, [IPC_X_SPARE] = on_spare,
};

/* Probe and spare have no VM, and few words. */
static bool fits(const struct bexec *x, uint16_t type)
{
	if (x->vm)
		return type != IPC_X_DEVICE && type != IPC_X_SPARE;
	return type == IPC_X_END || type == (x == x->device->spare ? IPC_X_SPARE : IPC_X_DEVICE);
}

/* Reads what is there, at most so many. Never frees x. */
static void drain(struct bexec *x, unsigned most)
{
	char why[128];
	struct msg m;
	int rc = 0;

	if (x->link.fd < 0)
		return;
	while (most-- && (rc = msg_recv(&x->link, &m, why, sizeof(why))) == 1) {
		if (!fits(x, m.type)) {
			rc = -EPROTO;
			snprintf(why, sizeof(why), "message %u: not from a probe", m.type);
			msg_done(&m);
			break;
		}
		/* What it told the broker before is repeated, as far as it matters, after its READY. */
		if (x->link.state != IPC_S_ADOPT || m.type == IPC_X_READY || m.type == IPC_X_END)
			handlers[m.type](x, m.payload);
		msg_done(&m);
	}
	if (rc >= 0)
		return;
	loop_del(&x->broker->loop, &x->link_io);
	if (rc == -EPROTO && x->channel) {
		log_warning("VM %s channel %u: executor: %s", x->vm->set.name, x->channel->index, why);
		channel_fail(x->channel, VGPU_ERR_PROTOCOL);
	} else if (rc == -EPROTO) {
		struct ipc_id kill = {x->id};

		log_warning("executor %d, which has no VM: %s: killed", x->pid, why);
		to_keeper(x->broker, IPC_KILL, &kill, sizeof(kill));
	}
}

static void on_link(struct loop_io *io, uint32_t events)
{
	drain(io->arg, MESSAGES_MAX); /* the rest when others had their turn */
}

/* ---- watchdog ---- */

/* A process that does not end when it is killed hangs within the driver, and keeps its memory and its place. */
static void watch_end(struct bexec *x)
{
	if (x->hung || ++x->killed_for < REAP_PERIODS)
		return;
	x->hung = true;
	device_hangs(x->device, x->pid);
}

/* One unit that does not end, while others wait: the job timeout; with nobody waiting: the hard limit, if
 * there is one. By our clock; the counters are the executor's, and one that lies about progress only keeps
 * what the scheduler charges it for. */
void exec_watch(struct bexec *x, uint64_t now)
{
	const struct vm_settings *s = &x->vm->set;
	uint64_t soft = s->job_timeout_ns ? s->job_timeout_ns : x->broker->cfg.job_timeout_ns;
	uint64_t hard = s->hard_timeout_ns ? s->hard_timeout_ns : x->broker->cfg.hard_timeout_ns;
	uint64_t begun, ended;
	bool others;

	if (!x->page)
		return;
	if (x->channel->state == CH_KILLING || x->channel->state == CH_DYING) {
		watch_end(x); /* how long it takes is not the guest's doing */
		return;
	}
	/* Told to hand over and not obeying: whatever its counters say, others have waited long enough. */
	others = sched_contended(&x->device->sched) || (!x->device->sched.concurrent && x->device->sched.holders > 1);
	if (others && x->revoked_at && now - x->revoked_at >= soft) {
		log_warning("VM %s channel %u: keeps a lease %llu ms after it was to hand over: killed", s->name,
			    x->channel->index, (unsigned long long)((now - x->revoked_at) / 1000000));
		channel_fail(x->channel, VGPU_ERR_TIMEOUT);
		return;
	}
	begun = atomic_load(&x->page->units_begun);
	ended = atomic_load(&x->page->units_ended);
	if (begun == ended || ended != x->ended_seen || !x->ended_at) {
		x->ended_seen = ended;
		x->ended_at = begun == ended ? 0 : now;
		x->waited_at = 0;
		return;
	}
	if (!others)
		x->waited_at = 0;
	else if (!x->waited_at)
		x->waited_at = now;
	if ((x->waited_at && now - x->ended_at >= soft) || (hard && now - x->ended_at >= hard)) {
		log_warning("VM %s channel %u: one unit of work runs for %llu ms: killed", s->name,
			    x->channel->index, (unsigned long long)((now - x->ended_at) / 1000000));
		channel_fail(x->channel, VGPU_ERR_TIMEOUT);
	}
}
