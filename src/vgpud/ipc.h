/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keeper, broker and executors may say to each other: the only table.
 *
 * Keeper <-> broker: one socketpair, made anew for each broker. The keeper answers READY only after it has
 * replayed every connection and executor it still holds (SYNC state), so that a restarted broker
 * re-learns all of them. Broker <-> executor: one socketpair per executor, whose broker end the keeper
 * also keeps, so that a broker's death is no event for the executor.
 *
 * Keeper and broker are always of one version. An executor may be older than both: what broker and executors say to
 * each other, and the lease page, may change only together with IPC_EXECUTOR_VERSION; an upgrade is refused then while
 * executors run.
 *
 * Every payload is a fixed-size struct; text fields are NUL-terminated by the sender and again by the
 * receiver.
 */
#ifndef VGPUD_IPC_H
#define VGPUD_IPC_H
#include "base/msg.h"
#include "vgpud/transports/unix_proto.h"
#include "wire/layout.h"

#define IPC_EXECUTOR_VERSION 2u

enum ipc_role { IPC_KEEPER = 1, IPC_BROKER = 2, IPC_EXECUTOR = 4 };

/* Bits of msg_chan.state at the receiver. */
enum ipc_state {
	IPC_S_START = 1, /* broker: before SYNCED; keeper: before READY; executor's peer: before its READY */
	IPC_S_RUN = 2,
	IPC_S_ADOPT = 4, /* broker, of an executor it inherited: everything before READY is dropped */
};

enum ipc_type {
	/* keeper -> broker */
	IPC_CONTROL = 1, /* fd: listening control socket */
	IPC_CONN,	 /* a connection: without fds as accepted, with fds once made */
	IPC_GONE,	 /* its peer closed it */
	IPC_SPAWNED,	 /* fds: socket, lease page, kick eventfd */
	IPC_EXITED,	 /* executor reaped; nothing of it runs any more */
	IPC_LISTENING,	 /* result of LISTEN */
	IPC_SYNCED,	 /* everything replayed */
	IPC_RELOADED,	 /* fd: the configuration read anew; or why not */
	IPC_UPGRADED,	 /* ok: end, without a word to the guests, the next vgpud takes over; or why not */
	/* broker -> keeper */
	IPC_READY,
	IPC_LISTEN,
	IPC_UNLISTEN,
	IPC_MAKE,     /* answered by CONN with fds */
	IPC_HANDOVER, /* give the peer its memory, or a refusal */
	IPC_CLOSE,
	IPC_SPAWN, /* answered by SPAWNED or EXITED */
	IPC_KILL,
	IPC_RELOAD, /* read the configuration anew; answered by RELOADED */
	IPC_UPGRADE, /* become the vgpud that is installed now; answered by UPGRADED */
	IPC_ASSIGN, /* a spare gets its channel; answered as SPAWN is from then on */
	/* executor -> broker */
	IPC_X_DEVICE, /* probe only: what the device is */
	IPC_X_SPARE, /* spare only: prepared and jailed, waits for CHANNEL */
	IPC_X_READY,
	IPC_X_END, /* last word before it exits by itself */
	IPC_X_QUOTA, /* answered by RESULT */
	IPC_X_EXTENTS, /* answered by RESULT */
	IPC_X_SICK, /* the driver says that the device fails: a hint, for the guest may have made it up */
	/* broker -> executor */
	IPC_RESULT,
	IPC_ADOPT, /* answered by X_READY, then by the unanswered request again */
	IPC_STOP,
	IPC_CHANNEL, /* spare only, sent by the keeper with ASSIGN; fds: BAR2, doorbell, interrupt */
	IPC_TYPES
};

enum ipc_transport { IPC_IVSHMEM = 0, IPC_UNIX = 1 };

#define IPC_NAME_LEN 64
#define IPC_TEXT_LEN 256
#define IPC_VECTORS_MAX VGPU_VECTORS
#define IPC_NO_CONN 0u

struct ipc_conn {
	uint32_t conn, vm; /* vm: its listener's, or MAKE's; 0: named in hello, and not let in yet */
	uint32_t transport, uid;
	uint32_t vectors, gone;
	uint64_t bar_size;
	struct vgpu_unix_hello hello; /* unix: as received, unchecked; hello_len bytes */
	uint32_t hello_len, handed; /* handed: the peer has been given its memory, or as much of it as could be sent */
	uint32_t ran[VGPU_CHANNELS_MAX]; /* generation the latest executor of each channel was started for; 0: none */
};

struct ipc_id {
	uint32_t id;
};

/* serving: an earlier broker was READY, so this one goes on whatever it finds. */
struct ipc_synced {
	uint32_t serving;
};

struct ipc_spawned {
	uint32_t exec, conn, channel, generation;
	int32_t pid;
};

struct ipc_exited {
	uint32_t exec;
	int32_t status; /* as waitpid gives it; -1: could not be started, see text */
	char text[IPC_TEXT_LEN];
};

struct ipc_listen {
	uint32_t vm;
	char name[IPC_NAME_LEN];
};

struct ipc_listening {
	uint32_t vm;
	int32_t rc; /* 0 or -errno */
};

struct ipc_ready {
	uint32_t ok;
	char text[IPC_TEXT_LEN]; /* !ok: why vgpud cannot start */
};

/* Of RELOAD and UPGRADE: a configuration with less for registered VMs than they reserve is refused. */
struct ipc_reserved {
	uint64_t bars;	       /* bytes of bar-budget */
	uint64_t overhead_max; /* bytes, the most that context-overhead can be beside their quotas */
};

#define IPC_OVERHEAD_ANY INT64_MAX

/* Of UPGRADED, too. */
struct ipc_reloaded {
	uint32_t ok;
	char text[IPC_TEXT_LEN]; /* !ok: why nothing was changed */
};

/* It was let in: a later broker takes the keeper's word for whose it is and asks nothing again. */
struct ipc_make {
	uint32_t conn, vm, vectors, pad;
	uint64_t bar_size;
};

struct ipc_handover {
	uint32_t conn, status; /* enum vgpu_unix_status; anything but OK closes an ivshmem peer */
	char text[128];
};

#define IPC_PROBE 0u /* what is the device? */
#define IPC_SPARE 1u
#define IPC_CHECK 2u /* a probe that also computes */
#define IPC_UUID_LEN 48

/* Which device an executor opens. */
struct ipc_device {
	uint32_t ordinal;	 /* of `driver` */
	char uuid[IPC_UUID_LEN]; /* else of `gpu-driver`: as NVIDIA writes it, "GPU-..." or "MIG-..."; "": by ordinal */
};

struct ipc_spawn {
	uint32_t exec, conn;
	uint32_t channel, generation; /* IPC_NO_CONN: channel is IPC_PROBE, IPC_SPARE or IPC_CHECK */
	struct ipc_device device;
};

struct ipc_channel {
	uint64_t bar_size;
	uint32_t channel, pad;
};

struct ipc_x_device {
	struct vgpu_device_info info;
};

struct ipc_x_ready {
	uint64_t quota_used; /* bytes this executor has been granted */
	uint64_t token;	     /* of the ADOPT it answers; 0: the executor has just begun to serve */
};

/* One that a former broker asked may still be answered after this one has asked. */
struct ipc_adopt {
	uint64_t token;
};

struct ipc_x_end {
	uint32_t error; /* enum vgpu_error */
	char text[IPC_TEXT_LEN];
};

struct ipc_x_quota {
	int64_t bytes; /* > 0 take, < 0 give back */
};

struct ipc_x_extents {
	uint32_t first, count;
};

struct ipc_x_sick {
	int32_t code; /* CUresult */
};

struct ipc_result {
	int32_t rc;
};

extern const struct msg_table ipc_table;

/* Descriptor numbers an executor starts with; nothing else is open. */
enum ipc_exec_fd {
	IPC_FD_SOCK = 3,
	IPC_FD_LEASE,
	IPC_FD_KICK,   /* eventfd: look at my lease page */
	IPC_FD_DRIVER, /* the driver library, opened by the keeper */
	IPC_FD_BAR,    /* from here on: not for a probe or a spare */
	IPC_FD_BELL,
	IPC_FD_IRQ,
	IPC_FD_END
};
/* Descriptor numbers of a broker. */
/* STATE: the broker's own notes, kept for its successor (broker/state.c). */
enum ipc_broker_fd { IPC_BFD_SOCK = 3, IPC_BFD_CONFIG, IPC_BFD_STATE };
#endif
