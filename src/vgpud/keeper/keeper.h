/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper: the one process with privileges. It owns what must outlive a broker — listeners, peers'
 * sockets, memories, wake-ups, children — and does what the broker asks by typed message. It decides
 * nothing and parses nothing a guest or a local user wrote: a hello is forwarded as bytes.
 */
#ifndef VGPUD_KEEPER_H
#define VGPUD_KEEPER_H
#include <stdbool.h>
#include <sys/types.h>
#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"
#include "vgpud/config.h"
#include "vgpud/ipc.h"

struct listener {
	struct list node;
	struct keeper *keeper;
	struct loop_io io;
	uint32_t vm; /* 0: guest.sock */
	char path[108];
};

struct conn {
	struct list node;
	struct keeper *keeper;
	struct loop_io io; /* the peer's socket */
	uint32_t id, vm, transport, uid;
	bool made, gone, greeted; /* greeted: hello read, CONN sent */
	bool handed;		  /* HANDOVER was done */
	uint32_t ran[VGPU_CHANNELS_MAX]; /* generations, see struct ipc_conn */
	uint64_t accepted_at;	  /* ns */
	struct vgpu_unix_hello hello;
	uint32_t hello_len;
	int memfd;
	uint64_t bar_size;
	unsigned vectors;
	int bells[IPC_VECTORS_MAX], irqs[IPC_VECTORS_MAX];
};

struct child {
	struct list node;
	struct keeper *keeper;
	struct loop_io io; /* pidfd */
	uint32_t id, conn, channel, generation;
	bool spare; /* has no channel yet */
	pid_t pid;
	uint32_t uid_slot;
	int broker_sock, lease_fd, kick_fd; /* duplicates for the next broker */
};

struct keeper {
	struct loop loop;
	struct vgpud_config *cfg;
	const struct config_source *from;
	int config_fd, state_fd; /* memfds every broker gets */
	int lock_fd;
	char broker_path[PATH_MAX], executor_path[PATH_MAX];

	struct msg_chan link;
	struct loop_io link_io, broker_io, signal_io, restart_io, accept_io;
	pid_t broker_pid;
	uint64_t broker_started, broker_deaths[4]; /* ns */
	bool ready; /* READY was seen once: sockets are open */

	int control_fd;
	struct listener *guest;
	struct list listeners, conns, children;
	bool deaf; /* listeners are not looked at until accept_io fires */
	uint32_t next_conn;
	int exit_status;
};

/* keeper/listen.c */
int listeners_init(struct keeper *k);
struct vgpu_err *listen_socket(const char *path, int type, mode_t mode, uint32_t uid, uint32_t gid, int *fd);
int listener_open(struct keeper *k, uint32_t vm, const char *name);
void listener_close(struct listener *l);
struct vgpu_err *listener_open_guest(struct keeper *k);
struct conn *conn_find(struct keeper *k, uint32_t id);
int conn_make(struct conn *c, uint64_t bar_size, unsigned vectors);
void conn_handover(struct conn *c, uint32_t status, const char *text);
void conn_announce(struct conn *c);
void conn_close(struct conn *c);

/* keeper/spawn.c */
int child_spawn(struct keeper *k, const struct ipc_spawn *s, char *why, size_t why_len);
void child_announce(struct child *c);
void child_assign(struct keeper *k, const struct ipc_spawn *s);
void child_kill(struct keeper *k, uint32_t id);
void children_end(struct keeper *k);
bool wait_ended(int pidfd, pid_t pid, int ms);
int broker_spawn(struct keeper *k, int sock);

/* keeper/main.c */
struct vgpu_err *seal_config(struct keeper *k); /* a new sealed memfd of *cfg */

/* keeper/link.c */
struct vgpu_err *link_start(struct keeper *k);
void link_send(struct keeper *k, uint16_t type, const void *p, size_t size, const int *fds, unsigned n);
void link_end(struct keeper *k);
#endif
