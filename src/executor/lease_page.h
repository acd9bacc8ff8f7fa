/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page an executor and the broker share: leases without messages while nobody else wants the device.
 *
 * Two halves, each word with one writer. The broker never reads its own half back and treats the other
 * half as a claim: a lying executor can only lose its own lease or be charged by the broker's clock.
 *
 * A lease has a number. The executor publishes want = n and kicks; the broker answers grant = n and
 * rings the channel's doorbell, which is what the executor sleeps on.
 * The executor holds lease n while grant == n and released != n. Taking it back is Dekker's algorithm:
 *
 *   executor: active = 1; fence; if revoke == n -> active = 0, released = n, kick   (else: may submit)
 *   broker:   revoke = n; fence; if active == 0 -> the lease is over                (else: wait for released)
 *
 * so either the broker sees the work or the executor sees the revocation. An idle holder keeps its lease
 * with active = 0 at no cost to anyone; while waiters says so it gives it up instead.
 *
 * Limits: `allowed` says up to which of its own counts the executor may issue launches and copied bytes; it
 * kicks when it is there, once, and finds more when the broker has more to give. One copy may go beyond.
 *
 * Told to hand over, the executor says ending = n shortly before its last kernel ends, so that the next tenant's
 * wake-ups happen beside it: the broker admits that one then, and splits the charge while both hold a lease.
 *
 * Between grant and claimed == n the executor is waking up, which on a busy host takes milliseconds: it is
 * not idle, and the broker leaves it a quantum before it looks at active.
 */
#ifndef VGPU_LEASE_PAGE_H
#define VGPU_LEASE_PAGE_H
#include <stdatomic.h>
#include <stdint.h>
#include "base/histogram.h"

#define LEASE_PAGE_SIZE 4096u

enum lease_limit { LEASE_LAUNCHES, LEASE_BYTES, LEASE_LIMITS };
#define LEASE_NO_LIMIT UINT64_MAX

enum lease_waiters {
	LEASE_KEEP,	 /* nobody else wants the device */
	LEASE_CONTENDED, /* somebody waits or shares: give an idle lease up, after LEASE_GRACE_NS */
	LEASE_RETURN,	 /* nobody waits, but what is kept is charged (a cap): at once */
};

/* A program that synchronises, or refills its queue a moment late, is idle for some tens of microseconds. Taken
 * away in each such moment, the lease would go to whoever else has work for a whole turn: with weights of 1 : 100
 * the small one had 24 % of the device. The time is charged to who keeps it. */
#define LEASE_GRACE_NS 400000u

/* Durations as base/histogram.h counts them; one writer. */
struct lease_times {
	_Atomic uint64_t sum; /* ns */
	_Atomic uint64_t count[HIST_BUCKETS];
};

enum lease_time {
	LEASE_EXECUTION, /* a unit on the device; those that complete between two looks share the time evenly */
	LEASE_LATENCY,	 /* from when the executor saw it in the ring until it saw it complete */
	LEASE_TIMES
};

struct lease_page {
	/* written by the broker */
	_Alignas(64) _Atomic uint32_t grant; /* number of the last lease granted */
	_Atomic uint32_t revoke;	     /* hand lease of this number over at the next kernel boundary */
	_Atomic uint32_t waiters;	     /* do not keep an idle lease: enum lease_waiters */
	_Alignas(64) _Atomic uint64_t quota_used, quota_total; /* bytes, the whole VM */
	_Atomic uint64_t allowed[LEASE_LIMITS]; /* of launches, of bytes, since its start; LEASE_NO_LIMIT */
	_Atomic uint32_t queue_depth; /* kernels on the device at once; 0: as many as it likes */

	/* written by the executor */
	_Alignas(64) _Atomic uint32_t want;   /* number of the lease asked for */
	_Atomic uint32_t released;	      /* number of the last lease given back */
	_Atomic uint32_t claimed;	      /* number of the last lease it found granted */
	_Atomic uint32_t active;	      /* 1: work may be on the device */
	_Atomic uint64_t active_since;	      /* ns, CLOCK_MONOTONIC; valid while active */
	_Atomic uint64_t busy_ns;	      /* sum of finished active periods */
	_Atomic uint32_t ending;	      /* number of the lease whose last kernels run */
	_Alignas(64) _Atomic uint64_t units_begun, units_ended;
	_Atomic uint64_t launches, bytes, unsupported; /* counters for metrics */
	struct lease_times times[LEASE_TIMES];
};
_Static_assert(sizeof(struct lease_page) <= LEASE_PAGE_SIZE, "one page");
#endif
