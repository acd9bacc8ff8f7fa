/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device in simulated time, driven as broker/device.c drives a real one: deadlines are looked at when they
 * come, a holder told to go does so at its next kernel boundary and says so shortly before, holders side by side
 * run at a fraction of the speed. No clock, so figures are exact and repeatable. Every step checks that the device does not idle while
 * somebody may compute.
 */
#ifndef TESTS_SCHED_SIM_H
#define TESTS_SCHED_SIM_H
#include "vgpud/broker/sched.h"

#define MS 1000000ull
#define SIM_CLIENTS_MAX 4096
#define SIM_LEAD_NS 250000u /* as executor/gate.c's */

struct sim_vm {
	struct sched_tenant t;
	uint64_t kernel_min, kernel_max; /* ns, log-uniform between them; max SIM_ENDLESS: never ends */
	unsigned batch;			 /* kernels between two pauses; 0: never pauses */
	uint64_t think;			 /* ns of pause, mean; 0: none */
	bool lies;			 /* says that it is ending as soon as it is told to go */
	uint64_t longest_wait;		 /* ns between asking and being granted */
};
#define SIM_ENDLESS UINT64_MAX

struct sim_client {
	struct sched_client c;
	struct sim_vm *vm;
	double left;	/* ns of the kernel that runs or is next, alone on the device */
	unsigned done;	/* kernels since the last pause */
	uint64_t wake;	/* pausing until then; 0: not */
	bool revoked;
};

struct sim {
	struct sched s;
	struct sched_slot heap[SIM_CLIENTS_MAX];
	struct sim_client client[SIM_CLIENTS_MAX];
	unsigned n;
	uint64_t now, idle_wrongly; /* ns */
	uint64_t rng;
};

struct sim *sim_new(uint64_t quantum, uint64_t seed);
/* vm: the caller's, its loads set. */
void sim_vm_init(struct sim_vm *vm, uint32_t share);
void sim_add(struct sim *m, struct sim_vm *vm);
void sim_run(struct sim *m, uint64_t ns);
uint64_t sim_random(struct sim *m, uint64_t below);
#endif
