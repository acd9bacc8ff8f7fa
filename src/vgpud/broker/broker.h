/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker: decides everything, owns nothing that must outlive it, has no privileges. One thread.
 *
 *   pool      a named set of devices, with a policy
 *   device    what computes: its scheduler, its spare, its health; every VM is on one
 *   vm        a registered tenant: share, quota, limits
 *   bconn     one BAR2 handed out: a VM's (ivshmem) or one local process's (unix)
 *   channel   life cycle by channel_states.h
 *   bexec     an executor process: its socket, lease page, quota
 */
#ifndef VGPUD_BROKER_H
#define VGPUD_BROKER_H
#include <stdbool.h>
#include <jansson.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"
#include "executor/lease_page.h"
#include "vgpud/broker/channel_states.h"
#include "vgpud/broker/events.h"
#include "vgpud/broker/limit.h"
#include "vgpud/broker/placement.h"
#include "vgpud/broker/sched.h"
#include "vgpud/broker/scrub.h"
#include "vgpud/broker/settings.h"
#include "vgpud/broker/times.h"
#include "vgpud/config.h"
#include "vgpud/ipc.h"

struct sqlite3;

#define PERIOD_NS 1000000000ull	   /* wishes and watchdog are looked at at least this often */
#define BUCKET_NS 100000000ull	   /* timeline: one bucket */
#define TIMELINE_BUCKETS 6000u	   /* ten minutes */
#define VMS_MAX 4096u
#define DEVICES_MAX 64u
#define POOLS_MAX 64u
#define POOL_DEFAULT "default"
#define DEVICE_REASON_LEN 200
#define LOOK_USERS_MAX 64u
#define DEVICE_PEERS_LEN (31 * IPC_UUID_LEN) /* as many GPUs as NVML counts, less itself */

struct vm {
	struct list node;
	struct broker *broker;
	struct pool *pool;
	struct device *device; /* where it computes; never NULL */
	struct device *next;   /* where it will compute once it is not connected; NULL: there */
	char why[PLACE_WHY_LEN]; /* it was put there */
	struct vm_settings set;
	bool listening, quarantined;
	uint64_t quota_used, bar_used;
	struct limit limit[LEASE_LIMITS];
	double tokens; /* spawn bucket */
	uint64_t tokens_at;
	uint64_t faults[CONFIG_FAULTS_MAX]; /* ns, newest first */
	struct sched_tenant tenant;
	uint32_t *timeline; /* us of device time per bucket, a ring indexed by time / BUCKET_NS */
	uint64_t timeline_first, timeline_last; /* bucket numbers; first 0: nothing yet */
	uint64_t device_ns; /* device time by our clock; alone: only while it worked */
	uint64_t units, launches, bytes, unsupported, fault_count, spawned; /* of ended executors + live */
	struct histogram times[VM_TIMES]; /* of ended executors; the queue wait: of all */
	uint64_t told_since; /* ns: begin of the window in which told connections were logged */
	unsigned told;
	uint64_t retired; /* channels whose memory could not be zeroed */
};

struct bexec;

struct channel {
	struct bconn *conn;
	unsigned index;
	enum ch_state state;
	uint32_t generation;
	uint32_t error; /* enum vgpu_error */
	struct bexec *exec;
	uint8_t *extents; /* bitmap of what its executor was allowed to map; NULL: none */
	struct scrub_job scrub; /* in SCRUBBING */
	uint32_t next_extent;	/* the first it has not looked at */
};

struct bconn {
	struct list node;
	struct broker *broker;
	struct vm *vm;
	uint32_t id, transport, uid;
	unsigned vectors, n_channels;
	bool made, gone;
	bool handed; /* the peer was told to take it */
	bool logged; /* its beginning was, so its end is */
	int memfd;
	uint64_t bar_size;
	int bells[IPC_VECTORS_MAX], irqs[IPC_VECTORS_MAX];
	struct vgpu_header *header;
	const volatile struct vgpu_wish *wish;
	struct loop_io bell_io;
	uint64_t bells_since; /* ns: begin of the window in which bells_heard were heard */
	unsigned bells_heard;
	bool muted;
	struct scrub_job scrub; /* of the whole, once it is gone */
	struct channel channel[VGPU_CHANNELS_MAX];
};

struct bexec {
	struct list node;
	struct broker *broker;
	struct device *device;
	struct vm *vm;	     /* NULL: the probe, or the spare */
	struct channel *channel;
	bool prepared; /* a spare that waits for its channel */
	bool given;    /* was the spare, has a channel */
	uint32_t id;
	int32_t pid;
	struct msg_chan link; /* fd -1 until spawned */
	struct loop_io link_io, kick_io;
	struct lease_page *page;
	struct sched_client client;
	uint64_t revoked_at; /* ns; 0: not told to hand over */
	unsigned killed_for; /* periods: killed, but not reaped */
	bool hung;	     /* its device was drained for that */
	uint32_t lease; /* number of the lease last granted */
	uint64_t busy_seen; /* its claim of busy ns, last read */
	struct histogram claimed[LEASE_TIMES]; /* as last read */
	uint64_t quota_used, overhead;
	uint64_t allowed[LEASE_LIMITS]; /* as published */
	uint64_t limited[LEASE_LIMITS]; /* ns: since when it waits for more; 0: it does not */
	uint64_t ended_seen, ended_at; /* watchdog: units_ended and when it last moved */
	uint64_t waited_at;	       /* since when others have been waiting meanwhile; 0: nobody */
	uint32_t end_error;	       /* its last word */
	uint64_t adopt_token; /* of the ADOPT it was sent; 0: ours from the beginning */
};

/* A peer that came while there was no broker, or before the device is known. */
struct early_conn {
	struct list node;
	struct ipc_conn conn;
};

struct pool {
	struct list node;
	struct broker *broker;
	char name[IPC_NAME_LEN];
	bool concurrent; /* else exclusive */
};

enum device_state { DEVICE_UP, DEVICE_DRAINED, DEVICE_LOST }; /* health.c */

enum device_wanted { DEVICE_WANT_NOTHING, DEVICE_WANT_BACK, DEVICE_WANT_ASSIGNED };

struct asker {
	uint32_t uid;
	int32_t pid;
	bool admin;
};

struct device {
	struct list node;
	struct broker *broker;
	struct pool *pool; /* never NULL */
	char name[IPC_NAME_LEN];
	struct ipc_device id;
	bool cpu;    /* softcuda */
	bool absent; /* vgpud.conf does not name it any more; forgotten as soon as no VM is on it */
	enum device_state state;
	char reason[DEVICE_REASON_LEN]; /* not UP: why */
	/* As assign-gpu was told, else as the driver says; empty, PLACE_NODE_NONE: not known. peers, which only the former
	 * tells: UUIDs of GPUs that NVLink joins to it, with spaces between. */
	char pci[32], peers[DEVICE_PEERS_LEN];
	uint32_t numa_node;
	uint64_t losses;
	struct bexec *probe; /* runs now */
	bool probe_ok, answered; /* answered: some probe has ended */
	enum device_wanted wanted; /* a command waits for the probe */
	struct asker wanted_by;
	bool doomed; /* freed as soon as no process knows it */
	uint64_t probe_since, suspected_at; /* ns */
	bool suspect_again; /* reported when no check was due, */
	char suspicion[128]; /* for this reason */
	bool known; /* a probe said what it is */
	struct vgpu_device_info info;
	struct sched sched;
	struct sched_slot *heap; /* VMS_MAX */
	struct loop_io timer;
	uint64_t handovers, handover_wait_ns; /* revoke to release */
	struct bexec *spare;
	uint64_t spare_at; /* ns: not before */
	unsigned spare_failures;
	char probe_text[IPC_TEXT_LEN]; /* why the probe failed */
};

/* Those of enum vgpu_error that a guest is charged with have a name; others NULL. */
#define FAULTS (VGPU_ERR_TIMEOUT + 1)
extern const char *const fault_names[FAULTS];

/* It is asked one at a time, so an answer is the oldest question's. */
enum keeper_question { KEEPER_RELOAD, KEEPER_UPGRADE, KEEPER_QUESTIONS };

struct broker {
	struct loop loop;
	uint64_t faults[FAULTS]; /* of all VMs, since its start */
	struct vgpud_config cfg;
	struct msg_chan keeper;
	struct loop_io look_io; /* end of the window in which answers to those who may only look are counted */
	uint64_t look_since, look_ns; /* its begin; what they took in it */
	uint32_t look_uid[LOOK_USERS_MAX]; /* who had an answer in it */
	unsigned look_users;
	struct loop_io keeper_io, control_io, period_io, unmute_io, limits_io;
	struct list vms, conns, execs, clients;
	struct list early; /* peers that came before we, or their VM's device, are ready */
	struct list devices, pools; /* at least one of each once start_loop() is done; the first pool is "default" */
	struct scrub scrub;
	struct sqlite3 *db;
	uint32_t next_exec, next_vm;
	struct device *waited_device;
	uint32_t waited_for; /* what a command waits for: id of the VM whose LISTENING, or number of the question */
	uint32_t asked[KEEPER_QUESTIONS], answered[KEEPER_QUESTIONS]; /* questions to the keeper; their numbers */
	unsigned asking; /* 1 + the one that has been sent; 0: none */
	bool synced, ready;
	bool serving; /* an earlier broker was: nothing that is found to be wrong is a reason to end */
	bool settled; /* enough devices have answered, sockets were asked for */
	uint64_t synced_at; /* ns */
	uint64_t refusals_since; /* ns: begin of the window */
	unsigned refusals;	 /* in it */
	unsigned listening_pending; /* LISTEN answers awaited before READY */
	char state_trouble[512]; /* why not all of what is in force is in state.db; empty: it is */
	char state_aside[32]; /* what state.db is called that could not be used */
	uint64_t state_again, state_wait; /* ns: when it is tried next; how long after the last try */
	int state_lock; /* descriptor of state-dir, locked; -1: not yet */
	unsigned db_fault; /* enum db_fault: of the last error */
	struct events events;
};

/* link.c */
struct vgpu_err *keeper_link_start(struct broker *b);
void to_keeper(struct broker *b, uint16_t type, const void *p, size_t size);
void broker_ready(struct broker *b, const char *error);
/* Its number, for control_answered(). */
uint32_t keeper_ask(struct broker *b, enum keeper_question q);

/* vm.c */
struct vm *vm_by_name(struct broker *b, const char *name);
struct vm *vm_by_id(struct broker *b, uint32_t id);
struct vm_home {
	struct pool *pool;
	struct device *device, *next; /* device NULL: to be chosen */
	const char *why;
};
/* Checks name, memory and BAR2 budget; fills in defaults. The VM is not stored. */
struct vgpu_err *vm_add(struct broker *b, struct vm_settings *s, const struct vm_home *home, struct vm **out);
void vm_remove(struct vm *vm);
void vm_listen(struct vm *vm);
void vm_unlisten(struct vm *vm);
/* May these be its settings on this device? self: not counted there; NULL: a new VM. Fills in defaults. */
struct vgpu_err *vm_check(struct device *d, const struct vm *self, struct vm_settings *s);
/* All or nothing, at once. Refuses what does not fit; what is stored is the caller's. */
struct vgpu_err *vm_change(struct vm *vm, const struct vm_settings *to);
/* Its own or the configuration's. */
uint64_t vm_fault_limit(const struct vm *vm);
uint64_t vm_fault_window(const struct vm *vm); /* ns */
void vm_remember_fault(struct vm *vm, uint64_t at);
bool vm_fault(struct vm *vm, uint64_t now);
/* Running executors end, calls return VGPU_ERR_QUARANTINED, nobody is let in. */
void vm_quarantine(struct vm *vm);
void vm_release(struct vm *vm);
bool vm_connected(const struct vm *vm);
uint64_t bar_reserved(const struct broker *b);
void vm_timeline_add(struct vm *vm, uint64_t now, uint64_t ns);
bool vm_take_token(struct vm *vm, uint64_t now);

/* pools.c */
struct pool *pool_by_name(const struct broker *b, const char *name);
struct pool *pool_new(struct broker *b, const char *name); /* NULL: no memory */
void pool_free(struct pool *p); /* nothing is in it */
unsigned pool_number(const struct pool *p);
void pool_set_policy(struct pool *p, bool concurrent);
struct device *device_by_name(const struct broker *b, const char *name);
void device_set_pool(struct device *d, struct pool *p);
bool vm_counts_on(const struct vm *vm, const struct device *d); /* there, or soon */
/* Bytes: quotas and first contexts of the device's VMs. */
uint64_t device_reserved(const struct device *d);
uint64_t device_reservations(const struct device *d, const struct vm *but); /* percent */
unsigned device_vms(const struct device *d);
bool device_linked(const struct device *a, const struct device *b); /* by NVLink, as far as is known */
/* The best device of the pool for these settings; why[PLACE_WHY_LEN]. self: not counted; NULL: a new VM. */
struct vgpu_err *vm_choose(struct pool *p, const struct vm *self, const struct vm_settings *s, struct device **out, char *why);
/* At once, or at its next connection. */
void vm_go(struct vm *vm, struct pool *p, struct device *d, const char *why);
/* It may have come to rest: moves it where it is to be, or away from a device that does not serve. */
void vm_settle(struct vm *vm);

/* health.c */
const char *device_state_name(const struct device *d);
bool device_serves(const struct device *d);
bool device_awaited(const struct device *d); /* it may serve: its first probe has not ended */
int device_probe(struct device *d, uint32_t what); /* IPC_PROBE or IPC_CHECK; one at a time */
bool probe_ended(struct bexec *x, const char *why); /* was it one? why: if it did not say so itself */
void device_suspect(struct device *d, const char *why);
void device_lost(struct device *d, const char *why);
/* Nothing new starts on it: an executor that was killed does not end. */
void device_hangs(struct device *d, int32_t pid);
/* That executor ended after all: a check decides. */
void device_hung(struct device *d);
void device_end_all(struct device *d);
void device_watch(struct device *d, uint64_t now);

/* irq.c */
int irq_init(void);
void irq_raise(int fd); /* never blocks, whatever the peer does to the eventfd */

/* conn.c */
int conns_init(struct broker *b);
void conn_announced(struct broker *b, struct msg *m);
void conn_gone(struct bconn *c);
void conns_settle(struct broker *b);
void conns_let_in(struct broker *b); /* a device has answered: who waited for it goes on */
struct bconn *bconn_by_id(struct broker *b, uint32_t id);
void conn_maybe_free(struct bconn *c);
void conn_show_status(struct bconn *c, uint32_t status, uint32_t error);
/* The whole header as it is to be; the guest can write it, so once a second as well. No interrupt. */
void conn_show_header(struct bconn *c);
void conn_look(struct bconn *c);

/* channel.c */
void channel_event(struct channel *ch, enum ch_event ev);
void channel_fail(struct channel *ch, uint32_t error);
void channel_look(struct channel *ch);
void channel_period(struct channel *ch, uint64_t now);
void channel_adopt(struct channel *ch);
struct vgpu_channel_status channel_status(const struct channel *ch); /* as its guest is to see it */
void channel_show(struct channel *ch);

/* exec.c */
int exec_spawn(struct channel *ch);
struct bexec *exec_start(struct device *d, uint32_t what); /* IPC_PROBE or IPC_SPARE; NULL: no memory */
void exec_spawned(struct broker *b, struct msg *m);
void exec_exited(struct broker *b, const struct ipc_exited *m);
void exec_watch(struct bexec *x, uint64_t now);
void quota_publish(struct vm *vm);
void device_learn_place(struct device *d); /* its info is known */

/* spare.c */
void spare_step(struct device *d, uint64_t now);
struct bexec *spare_take(struct device *d); /* NULL: none is ready. Not the spare any more */
bool spare_ended(const struct bexec *x); /* was it the spare? */
const char *spare_state(const struct device *d); /* for people */

/* limits.c */
int limits_init(struct broker *b);
void limits_begin(struct bexec *x, uint64_t now); /* it has a VM and a page */
void limits_look(struct bexec *x, uint64_t now);
void limits_changed(struct vm *vm);
void limits_end(struct bexec *x, uint64_t now);

/* device.c */
int devices_init(struct broker *b);
void devices_end(struct broker *b); /* nothing is on them any more */
void device_follow_policy(struct device *d); /* its pool's or the configuration's; device_step() follows */
struct device *device_new(struct broker *b, const char *name, const struct ipc_device *id); /* NULL: no memory */
void device_free(struct device *d); /* nothing is on it any more */
void devices_reap(struct broker *b); /* frees the doomed that no process knows */
/* The configuration does not name it. NULL: no memory. */
struct device *device_absent(struct broker *b, const char *name);
/* Whoever is on an absent device goes elsewhere as soon as that can be; then it is forgotten. */
void devices_leave(struct broker *b);
bool devices_answered(const struct broker *b); /* every first probe has ended */
void devices_settle(struct broker *b);
/* Do registered VMs reserve more than there is? By another device, or less memory, than they were made for. */
bool devices_overfull(const struct broker *b, char *text, size_t len);
void devices_reconfigured(struct broker *b); /* quantum and policy, at once */
void devices_step(struct broker *b, uint64_t now);
struct device *device_first(const struct broker *b);
void device_step(struct device *d, uint64_t now);
void exec_look(struct bexec *x);
void exec_lease_end(struct bexec *x);

/* control.c */
int control_init(struct broker *b);
int control_start(struct broker *b, int fd);
void control_listening(struct broker *b, uint32_t id, int rc); /* of the VM's number, which may be nobody's by now */
void control_device(struct device *d, struct vgpu_err *e); /* what a command waited for was decided; NULL: done */
void control_event(struct broker *b); /* one was added: whoever waits for it is answered */

/* commands.c */
/* LISTENING: a new VM's socket; MOVED: that of one that got another number. DENIED: not waiting, but the error is that this user may not. */
enum command_wait { WAIT_NOT, WAIT_LISTENING, WAIT_MOVED, WAIT_EVENT, WAIT_RELOAD, WAIT_UPGRADE, WAIT_DEVICE, WAIT_DENIED, WAIT_MALFORMED };
/* Who waits for the answer to this question is told; error NULL: done. */
void control_answered(struct broker *b, enum command_wait what, uint32_t number, const char *error);
/* *data, an error, or *wait: answered later by control_listening() (VM b->waited_for) or control_event(). */
struct vgpu_err *command_run(struct broker *b, const struct asker *who, json_t *q, json_t **data, enum command_wait *wait);

/* commands_device.c: the probe that a command wanted has ended; error NULL: well. */
struct vgpu_err *device_decided(struct device *d, const char *error);

/* views.c */
json_t *device_view(const struct device *d);
json_t *pool_view(const struct pool *p);
json_t *vm_view(const struct vm *vm, bool detail);
json_t *connections_view(struct broker *b);
json_t *health_view(struct broker *b);
json_t *status_view(struct broker *b);
void scheduler_view(json_t *o, struct broker *b); /* who waits, who computes, for how long anybody did */
json_t *timeline_view(struct broker *b, uint64_t since_bucket);

/* state.c */
struct change {
	const struct asker *who;
	const char *command, *object; /* object: the VM's name */
	const char *text;	      /* what was set to what */
	const struct vm *vm;	      /* to be stored as it is now; NULL: none */
	uint32_t drop;		      /* id of a VM to be forgotten; 0: none */
	const struct pool *pool;      /* as vm */
	const struct device *device;
	const char *drop_pool, *drop_device; /* names; the pool's devices are default's then */
	bool forget_faults;
	bool stops; /* somebody is to be stopped: done although it cannot be stored yet, or audited */
};
struct vgpu_err *state_open(struct broker *b);
/* All of it or nothing, with who did it. Nothing, while what went before cannot be stored. */
struct vgpu_err *state_record(struct broker *b, const struct change *c);
/* Before anything is changed by hand: state.db is tried again, if it must be. */
void state_retry(struct broker *b);
/* Counted; with its quarantine, if it led to one. A full disk is no reason not to go on. */
void state_fault(struct vm *vm, const char *kind);
/* Where a VM is, what became of a device: not worth an error of its own, as with faults. */
void state_place(struct vm *vm);
void state_device(struct device *d);
void state_forget_device(struct device *d);
/* Renews the copy a later broker falls back on. */
void state_copy(struct broker *b);
/* Once a second: a file that can be written again is. */
void state_period(struct broker *b, uint64_t now);
/* Rows as objects; arg, or NULL, is bound to the query's only parameter. */
struct vgpu_err *state_rows(struct broker *b, const char *sql, const char *const *keys, const char *arg, json_t **out);

/* jail.c */
struct vgpu_err *broker_jail_identity(const struct vgpud_config *c);
struct vgpu_err *broker_jail_close(void);
#endif
