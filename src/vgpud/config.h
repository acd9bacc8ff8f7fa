/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpud's configuration, vgpud.conf(5). Read and checked once by the keeper; the broker gets this very
 * struct in a sealed memfd, so what was checked is what is used.
 */
#ifndef VGPUD_CONFIG_H
#define VGPUD_CONFIG_H
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/conf.h"

#define CONFIG_FAULTS_MAX 1000u /* fault-limit at most: so many are remembered for each VM */

enum sched_policy { POLICY_EXCLUSIVE, POLICY_CONCURRENT };
enum landlock_policy { LANDLOCK_REQUIRE, LANDLOCK_ACCEPT_MISSING };

struct vgpud_config {
	char run_dir[80]; /* a unix socket's path has room for 107 characters */
	char state_dir[200];
	char user[33], group[33], qemu_user[33];
	char driver[PATH_MAX];
	uint64_t executor_uids[2];
	unsigned log_level, landlock;
	uint64_t device, devices;    /* of `driver`: so many, from this ordinal on */
	char softcuda_memory[200];   /* sizes, one for each device, the last for all further ones; empty: its own choice */
	char gpu_driver[PATH_MAX];   /* library of the GPUs given by assign-gpu; "auto", "none" */
	uint64_t bar_size, bar_budget;	     /* bytes; budget 0 = half of the memory */
	uint64_t default_quota;		     /* bytes; 0 = what is left */
	uint64_t context_overhead;	     /* bytes of device memory per context */
	uint64_t quantum_ns;
	unsigned policy; /* enum sched_policy */
	uint64_t job_timeout_ns, hard_timeout_ns; /* hard 0 = none */
	uint64_t probe_timeout_ns; /* a driver that has not answered by then hangs */
	uint64_t spawn_burst, spawn_per_s;
	unsigned spare; /* an executor waits ahead of need */
	uint64_t executor_memory; /* RLIMIT_DATA of an executor, bytes; 0 = none */
	uint64_t fault_limit, fault_window_ns;

	/* Resolved by config_resolve(), not keys. */
	char gpu_library[PATH_MAX]; /* empty: none */
	uint32_t broker_uid, broker_gid; /* (uint32_t)-1: stay what we are */
	uint32_t control_gid, qemu_uid, qemu_gid; /* -1: leave */
	uint32_t is_root;
	uint32_t upgrades; /* the keeper's: so many programs it was before */
};

void config_defaults(struct vgpud_config *c);
/* Where it comes from: kept, so that it can be read again. */
struct config_source {
	const char *file; /* NULL: the default file, which may be missing */
	const char *const *options; /* "key=value", n of them, after the file */
	unsigned n;
};
#define CONFIG_DEVICES_MAX 64u
/* Does `driver` compute on the CPU? */
bool config_is_softcuda(const struct vgpud_config *c);
/* Bytes of softcuda's nth device; 0: its own choice. */
uint64_t config_softcuda_memory(const struct vgpud_config *c, unsigned n);
struct vgpu_err *config_load(struct vgpud_config *c, const struct config_source *from);
/* An error if it has less than registered VMs reserve, and less than the old one: bytes of all their BAR2, and the most
 * that context-overhead can be. */
struct vgpu_err *config_fits(const struct vgpud_config *old, const struct vgpud_config *fresh, uint64_t bars, uint64_t overhead_max);
/* Read, checked and resolved anew. Refused where a key differs that only a restart can change, or it does not fit. */
struct vgpu_err *config_reload(const struct vgpud_config *old, const struct config_source *from, uint64_t bars, uint64_t overhead_max,
			       struct vgpud_config *out);
/* An error naming the first such key. */
struct vgpu_err *config_fixed(const struct vgpud_config *old, const struct vgpud_config *fresh);
/* A directory service that does not answer holds up reload-config, and with it new programs, for so long and no longer. */
#define CONFIG_LOOKUP_MS 5000
/* Users, groups, driver library: what the machine must have. limit_ms: for the look-ups, -1: as long as it takes, where
 * nothing runs without the answer. */
struct vgpu_err *config_resolve(struct vgpud_config *c, int limit_ms);
extern const struct conf_key config_keys[];
#endif
