/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The executor's two halves and the line between them.
 *
 *   process half (main.c, jail.c, lease.c, quota.c): started by the keeper, jails itself, speaks to
 *     the broker over one socketpair, owns the lease;
 *   call half (serve.c, dispatch_*.c, handles.c, ...): takes entries from the rings, checks them,
 *     calls the driver.
 *
 * exec_serve() is the call half's only entry; struct exec_env is all it may know of the outside.
 * Tests run exec_serve() in-process with an env of their own (no broker, no jail).
 */
#ifndef VGPU_EXECUTOR_H
#define VGPU_EXECUTOR_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct cuda_driver; /* cuda/loader.h: function table of the dlopen()ed driver */

/* Lease and quota as functions, so that tests and the null backend can supply their own. All are
 * called from executor threads, thread-safe, and never block on the guest. */
enum exec_time { EXEC_EXECUTION, EXEC_LATENCY }; /* as in lease_page.h */
enum exec_limit { EXEC_LAUNCHES, EXEC_BYTES, EXEC_DEPTH, EXEC_LIMITS };

struct exec_ops {
	/* Right to run compute. true: held, compute may be issued now. Never blocks, no message, no system call. */
	bool (*lease_try)(void *ctx);
	/* After a lease_try() that said no: asks for it. When it is granted bell_fd rings, and lease_try() says yes. */
	void (*lease_ask)(void *ctx);
	/* Between kernels: must the holder hand over now? One load of a shared word. */
	bool (*lease_due)(void *ctx);
	/* No kernel of ours is on the device any more; give the lease back. From two threads. */
	void (*lease_release)(void *ctx);
	/* Due, and the last kernels will end in a moment: the next one may begin to wake up. NULL: nobody cares. */
	void (*lease_ending)(void *ctx);
	/* Ring empty, device drained, lease still held: keep it if nobody waits. Otherwise it is kept for a moment
	 * all the same, in which a program that synchronises goes on: ns after which to call again; 0: never. */
	uint64_t (*lease_idle)(void *ctx);
	/* A unit (kernel, graph, copy) begins, n units have ended: for the watchdog. Cheap. Begun by one thread
	 * only, ended by one at a time. */
	void (*unit_begin)(void *ctx);
	void (*units_end)(void *ctx, uint32_t n);
	/* For metrics; NULL: nobody wants to know. n units took so long each: on the device, or from the first look at
	 * them in the ring until they were seen complete. One caller at a time. */
	void (*unit_times)(void *ctx, enum exec_time what, uint32_t n, uint64_t ns);
	/* Device memory, counted across all executors of the VM. 0 or -EDQUOT. */
	int (*quota_take)(void *ctx, uint64_t bytes);
	void (*quota_give)(void *ctx, uint64_t bytes);
	/* For cuMemGetInfo: what the VM may still take, and its quota. */
	void (*quota_info)(void *ctx, uint64_t *free_bytes, uint64_t *total);
	/* Traffic and launches for the limits and metrics. */
	void (*charge_bytes)(void *ctx, uint64_t bytes);
	void (*charge_launches)(void *ctx, uint32_t n);
	/* How many launches, or bytes of copies, may be issued beyond what was charged: 0 = wait and ask again; how
	 * many kernels may be on the device at once. UINT64_MAX: no limit. Never blocks. NULL: no limits. */
	uint64_t (*room)(void *ctx, enum exec_limit what);
	/* May the extents [first, first+count) be mapped for this channel? Asks the broker, which reads the
	 * wish page. 0 or -EPERM. */
	int (*extents_check)(void *ctx, uint32_t first, uint32_t count);
	void (*count_unsupported)(void *ctx, uint16_t opcode);
	/* The driver said that the device itself fails (ECC, lost). From any thread, once. NULL: nobody is told. */
	void (*sick)(void *ctx, int code);
	/* The guest broke the protocol. A process ends here, with whatever it still runs on the device; NULL or
	 * returning: exec_serve() returns when that is over. From any thread, once. */
	void (*broken)(void *ctx, int error);
};

struct exec_env {
	const struct cuda_driver *driver;
	int device;		/* CUdevice ordinal to use */
	int memfd;		/* the VM's BAR2 */
	void *bar;		/* mapped whole, or only this channel's part: see bar_is_channel */
	uint64_t bar_size;
	unsigned channel;
	int bell_fd;		/* eventfd: the guest rang this channel's doorbell */
	int irq_fd;		/* eventfd: write to interrupt the guest */
	const struct exec_ops *ops;
	void *ops_ctx;
	uint64_t context_bytes; /* quota each created context takes */
	const atomic_int *stop; /* non-zero: finish the current call and return */
	int stop_fd;		/* eventfd, readable when *stop was set */
};

/* Everything the driver needs before the jail closes: cuInit, device, primary context. 0 or CUresult. */
int exec_prepare(struct exec_env *env);
/* Serve until *stop or a protocol violation. Returns enum vgpu_error (VGPU_ERR_NONE on *stop). */
int exec_serve(struct exec_env *env);
#endif
