/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the call half: one taken entry (struct call) and everything it may touch (struct exec).
 *
 * Threads of one executor:
 *   decoder  takes entries of both rings, issues work, never blocks in the driver; keeps what waits for
 *            the guest's host functions aside (held.c); asks for the lease and hears its doorbell (gate.c);
 *   helpers  run calls marked `helper` (waits, loads, frees) and complete them by tag;
 *   reaper   blocks for the device while the decoder sleeps or has a full window (marks.c), and gives a lease
 *            back that is due when the last kernel has ended.
 */
#ifndef VGPU_EXECUTOR_CALL_H
#define VGPU_EXECUTOR_CALL_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "cuda/loader.h"
#include "executor/executor.h"
#include "executor/handles.h"
#include "wire/geometry.h"
#include "wire/ops.h"
#include "wire/ranges.h"
#include "wire/ring.h"

#define EXEC_WINDOW 256u      /* kernels in flight at most: half of them cover two wake-ups with kernels of 1 us */
#define EXEC_WINDOW_START 16u /* until it is known how long they take */
#define EXEC_WINDOW_MIN 2u    /* one runs, one is next */
#define EXEC_AHEAD_NS 1000000u /* work in flight is a delay when handing over: half a quantum of it */
#define EXEC_TAKEN 32u /* a power of two: entries copied at once, so that their cache misses overlap */
#define EXEC_MARK_UNITS 32u   /* at most: so often the watchdog sees progress */
#define EXEC_MARKS 64u
#define EXEC_SEEN 64u /* a power of two */
#define EXEC_MARK_STREAMS 8u
#define EXEC_MARK_CALLS 16u
#define EXEC_HELPERS 64u
#define EXEC_CONTEXTS 64u /* created ones at once: each costs the driver memory nobody else accounts for */
#define EXEC_LINKS 16u /* at once: each keeps its logs, and the driver its inputs */
#define EXEC_BODY_MAX 160u
#define EXEC_IMAGES_BYTES (512ull << 20) /* of module images held at once */

struct call {
	const struct vgpu_op_info *op;
	struct vgpu_entry e;	/* the one copy */
	uint32_t ctx;		/* == e.ctx, proven live when the op needs a context */
	struct obj *context;	/* then its object; decoder and helper of this call only */
	uint32_t payload_len;
	const uint8_t *payload; /* a private copy */
	uint8_t body[EXEC_BODY_MAX];
	uint8_t out[VGPU_INLINE_OUT];
	uint8_t *reply; /* made by the handler with malloc(); sent and freed by call_complete() */
	uint32_t reply_len;
	struct obj *stream; /* set by a handler that enqueued on it: see marks.h */
	bool enqueued;
	bool running;	/* held: a host function the guest has not answered */
	uint64_t index; /* of a work entry: its place in the ring */
	struct call *next;
};

/* A point in the work ring and the events that say when everything before it has completed. */
struct mark {
	uint64_t closed_at; /* ns */
	uint64_t begun_at, seen_at; /* ns: before its first unit was issued; first seen in the ring */
	uint64_t index;
	uint32_t units, kernels, events, calls; /* kernels: those units that need the lease */
	bool awaited; /* the guest waits for it: an answer or staging memory */
	bool long_copy; /* more bytes than spinning for them pays */
	struct mark_event {
		struct obj *ctx;
		CUevent event;
	} event[EXEC_MARK_STREAMS];
	uint32_t tag[EXEC_MARK_CALLS]; /* completions to post then */
};

struct exec_marks {
	pthread_mutex_t lock;
	pthread_cond_t go;
	struct mark ring[EXEC_MARKS];
	uint64_t head, tail;	/* decoder pushes, whoever holds the lock pops */
	_Atomic uint64_t done;	/* = work_done, as we know it */
	uint64_t kernels; /* in the marks; under lock */
	_Atomic uint32_t long_copies; /* marks of them; written under lock */
	bool reaping, stop, wanted;
	uint64_t reaped; /* while reaping: the mark whose events the reaper waits for; it stays */
	uint64_t popped_at, unit_ns; /* under lock: last completion; how long a unit takes, smoothed */
	struct {
		uint32_t units;
		uint64_t since, told; /* ns: it began; the one before ended */
	} batch; /* under lock: popped in one look */
	struct mark open; /* being collected; decoder only */
	bool failed;	  /* decoder only: the open mark cannot be closed, serving ends */
	struct mark_stream {
		struct obj *ctx;
		CUstream stream;
	} touched[EXEC_MARK_STREAMS];
	uint32_t ntouched;
	uint64_t issued; /* work index up to which the open mark reaches */
	pthread_t thread;
	bool started;
};

struct exec_helpers {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct call *head, *tail;
	unsigned threads, idle, queued;
	bool stop;
	pthread_t thread[EXEC_HELPERS];
};

/* The newest upload from the bounce area that is not known to be complete: see uploads.c. */
struct exec_upload {
	bool pending;
	uint32_t ctx, stream; /* handles */
	uint64_t index;	      /* its place in the work ring */
};

/* Work entries behind a host function, in ring order: see held.c. */
struct exec_held {
	struct call *head, *tail;
	uint32_t n;
	uint64_t bytes; /* of their payload */
	bool look;	/* something changed: held_step() has work */
	bool stuck;	/* it stopped at an entry that waits for the window or the lease */
	bool full;	/* the ring waits for room here */
	bool moved;	/* an entry has left: parked calls may run */
};

/* When work entries were first seen in the ring: those below `head`, and not below the one before, at `ns`. */
struct exec_seen {
	struct {
		uint64_t head, ns;
	} at[EXEC_SEEN]; /* a ring, oldest first */
	uint32_t first, n;
	uint64_t head;
};

struct exec_throttle {
	uint64_t room[EXEC_LIMITS]; /* as exec_ops.room said, less what was charged since */
	bool waits;		    /* this turn an entry waits for room */
};

enum gate_state { GATE_NONE, GATE_WANTED, GATE_HELD, GATE_DRAINING };

struct exec {
	struct exec_env *env;
	const struct cuda_driver *drv;
	CUdevice dev;
	void *channel;
	struct vgpu_ch_host *host;
	struct vgpu_ch_guest *guest;
	uint8_t *bounce;
	bool bounce_registered;
	uint64_t work_tail, ctl_tail, calls;
	/* Work entries copied from the ring, not issued yet: indexes work_tail <= i < work_taken. */
	struct vgpu_entry taken[EXEC_TAKEN];
	uint64_t work_taken;
	struct exec_seen seen; /* decoder only */
	struct handles handles;
	pthread_mutex_t mem_lock; /* mem, textures, mapped, images_bytes, data of images */
	pthread_mutex_t primary_lock; /* primary */
	struct vgpu_ranges mem;
	struct vgpu_ranges textures;
	uint8_t mapped[VGPU_EXTENTS_MAX / 8]; /* extents that lie in our address space */
	uint64_t images_bytes; /* and of what was given to links */
	struct obj *primary; /* NULL while released */
	pthread_mutex_t link_lock; /* links and texture references, and every use of one */
	pthread_mutex_t limit_lock; /* limits of contexts and what they hold of the quota */
	uint32_t links;
	_Atomic uint32_t contexts; /* created ones */
	pthread_mutex_t cpl_lock;
	uint64_t cpl_head;
	_Atomic int broken;	      /* enum vgpu_error */
	_Atomic uint32_t sticky;      /* CUresult */
	atomic_flag told_sick;
	uint64_t kernels_issued;      /* decoder's */
	_Atomic uint64_t kernels_ended; /* written under marks.lock */
	_Atomic uint32_t window;      /* kernels that may be in flight: EXEC_AHEAD_NS worth of recent ones */
	_Atomic bool asleep, nudge;   /* decoder sleeps; somebody wants it awake */
	_Atomic uint32_t ending;      /* contexts: the decoder closes its mark every turn */
	_Atomic uint32_t turn;	      /* the decoder holds no object when it changes: exec_grace() */
	int wake_fd;
	struct call *parked;	      /* control calls whose `follows` is not reached */
	uint32_t nparked;
	uint64_t charged_bytes;
	uint32_t charged_launches;
	uint64_t late_errors;
	struct exec_marks marks;
	struct exec_upload upload;
	struct exec_throttle throttle;
	struct exec_held held;
	struct exec_helpers helpers;
	_Atomic int gate; /* enum gate_state: see gate.c */
	bool ending_said; /* of this drain; decoder only */
	struct vgpu_spin spin;
	uint32_t sleeps; /* counted in VGPU_SLEEP_NEXT */
	uint8_t payload[VGPU_BLOCK_SIZE + 256]; /* decoder's copy */
};

/* What a range of x->mem is. */
enum mem_kind { MEM_DEVICE, MEM_HOST, MEM_GLOBAL, MEM_BOUNCE };

/* serve.c */
void call_complete(struct exec *x, struct call *c, int rc);
void exec_post(struct exec *x, uint32_t tag, int rc, const struct call *c);
void exec_break(struct exec *x, int error);	/* protocol violation: serving ends */
void exec_sticky(struct exec *x, int rc);	/* remembers rc if it is an execution fault */
void exec_wake(struct exec *x);
/* For helpers, after obj_claim() or taking a range out: returns when the decoder uses it no more. */
void exec_grace(struct exec *x);
/* Around obj_claim() of a context: every mark of its work is in the ring when settle returns, and none comes. */
void exec_ctx_ending(struct exec *x);
void exec_ctx_settle(struct exec *x);
/* Decoder: makes it current though it may be claimed, until exec_ctx_settle() returns. A CUresult. */
int exec_use_live(struct exec *x, struct obj *ctx);
struct obj *exec_use_ctx(struct exec *x, uint32_t ctx); /* makes it current on this thread; NULL if no such */
void exec_run(struct exec *x, struct call *c);	/* decode, call, complete */
void exec_charge(struct exec *x);	/* report what was issued since the last time */
/* Of a work entry, by the decoder: may it be issued now? issue it: the CUresult, already told. */
bool exec_may_issue(struct exec *x, const struct call *c);
int exec_issue(struct exec *x, struct call *c);

/* held.c; decoder only */
bool held_wants(struct exec *x, const struct call *c);	/* a host function, or behind one */
bool held_add(struct exec *x, const struct call *c);	/* copies it; false: no room now */
bool held_step(struct exec *x);				/* issues what need not wait any more; false: nothing */
bool held_before(struct exec *x, const struct call *c); /* does a held entry precede what the control call follows? */
uint64_t held_issued(const struct exec *x);		/* work index below which everything has been issued */
void held_free(struct exec *x);

static inline uint64_t exec_in_flight(struct exec *x) /* kernels; decoder only */
{
	return x->kernels_issued - atomic_load_explicit(&x->kernels_ended, memory_order_acquire);
}

/* marks.c */
int marks_start(struct exec *x);
void marks_stop(struct exec *x);
void marks_begin(struct exec *x, const struct call *c); /* before an entry is issued */
bool marks_touch(struct exec *x, struct call *c); /* an entry enqueued on c->stream; false: its context is gone */
void marks_close(struct exec *x);		  /* end the open mark: record its events */
void marks_poll(struct exec *x);		  /* pop what has completed; never blocks */
void marks_delegate(struct exec *x);		  /* decoder is going to sleep */
bool marks_idle(struct exec *x);		  /* everything issued has completed */
bool marks_no_kernels(struct exec *x);		  /* every kernel of a closed mark has */
bool marks_left(struct exec *x, uint64_t *ns); /* until all kernels have ended, as others took; false: not known */
bool marks_room(struct exec *x);
void marks_drop_ctx(struct exec *x, struct obj *ctx); /* waits, then frees its events */

/* uploads.c */
int uploads_order(struct exec *x, const struct call *c, struct obj *stream); /* before enqueuing on stream */
void uploads_note(struct exec *x, const struct call *c, struct obj *stream); /* an upload was enqueued */

/* helpers.c */
int helpers_start(struct exec *x);
void helpers_stop(struct exec *x);
/* Takes the call, which is on the heap. false, and the call stays the caller's: more of them wait for a helper than
 * a guest may have open. */
bool helpers_submit(struct exec *x, struct call *c);

/* gate.c */
void gate_stop(struct exec *x);
bool gate_open(struct exec *x); /* may a kernel be issued now? */
void gate_step(struct exec *x); /* hand over when due */
/* No kernel of ours is on the device: a lease that is due goes back, true if there was one. Decoder, reaper. */
bool gate_drained(struct exec *x);
uint64_t gate_ending(struct exec *x); /* before sleeping: says when the drain is nearly over; ns until it will be, 0: none */
uint64_t gate_idle(struct exec *x); /* nothing to do and the device is drained; ns after which to call again, 0: never */

/* seen.c */
void seen_note(struct exec *x, uint64_t head); /* the guest has published entries below this */
uint64_t seen_at(const struct exec *x, uint64_t index); /* ns; of an entry that is not issued */

/* throttle.c */
void throttle_ask(struct exec *x);
bool throttle_allows(struct exec *x, const struct call *c); /* false: the entry waits */
void throttle_charged(struct exec *x);
uint32_t throttle_window(struct exec *x); /* kernels that may be in flight */

/* implicit.c */
#define CHARGE_UNIT 256u /* an allocation's least alignment, so the least it can cost (CUDA programming guide) */
uint64_t charged_linear(uint64_t bytes); /* what an allocation of so many bytes takes from the quota */
uint64_t charged_array(uint64_t row, uint64_t rows, uint64_t layers);
int implicit_launch(struct exec *x, struct obj *ctx, uint32_t local);
int implicit_limit(struct exec *x, uint32_t ctx, unsigned limit, uint64_t value); /* sets it */
void implicit_end(struct exec *x, struct obj *ctx);

/* dispatch_module.c: images. take: true for the one caller that may use and must free it. */
int image_add(struct exec *x, uint64_t size, uint8_t *data, uint32_t *handle); /* takes data; charged already */
bool image_charge(struct exec *x, uint64_t size);
void image_discharge(struct exec *x, uint64_t size);
bool image_take(struct exec *x, struct obj *image, uint32_t handle);
void image_free(struct exec *x, struct obj *image, uint32_t handle);

/* A name from the payload, NUL-terminated; NULL if it holds a NUL or is too long. */
const char *call_name(const struct call *c, char room[4097]);

/* dispatch_texref.c */
void texref_drop_module(struct exec *x, uint32_t module); /* with their module, before the driver's go */
void texref_drop_ctx(struct exec *x, uint32_t ctx);

/* dispatch_link.c */
void link_drop_ctx(struct exec *x, uint32_t ctx); /* the context is current; 0 = all */

/* dispatch_*.c */
bool call_try(struct exec *x, struct call *c, int *rc); /* a wait that is already over, without a helper */
int mem_add(struct exec *x, uint64_t base, uint64_t size, enum mem_kind kind, uint32_t owner);
void mem_unmark(struct exec *x, const struct vgpu_range *r); /* under mem_lock: its extents are mapped no more */
bool mem_ok(struct exec *x, uint64_t at, uint64_t len, bool host_only);
void exec_release_all(struct exec *x);
#endif
