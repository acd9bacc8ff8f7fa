/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which device of a pool a VM is put on. Pure code: figures in, a choice and its reason out.
 *
 * A device is possible if it is in service, and quota and reservation fit. Of the possible ones, in this order:
 *   1. a GPU before the CPU's softcuda
 *   2. on the VM's NUMA node, if it names one
 *   3. the smallest sum of shares: whoever is there gets most of it
 *   4. the least memory left over: large holes stay for large VMs
 *   5. fewer idle NVLink peers: linked groups stay free together
 *   6. the first
 */
#ifndef VGPUD_PLACEMENT_H
#define VGPUD_PLACEMENT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLACE_NODE_NONE UINT32_MAX
#define PLACE_WHY_LEN 160

struct place_device {
	const char *name;
	bool in_service, cpu;
	uint64_t memory, reserved;  /* bytes */
	uint64_t shares;	    /* of the VMs that are on it */
	uint64_t reservations;	    /* percent of its time */
	uint32_t node;		    /* NUMA; PLACE_NODE_NONE: unknown */
	unsigned idle_peers;	    /* devices without a VM that NVLink joins to it */
};

struct place_request {
	uint64_t quota;	      /* bytes; 0: what is left */
	uint64_t overhead;    /* of its first context */
	uint64_t reservation; /* percent */
	uint32_t node;
};

/* Bytes of quota that would fit. */
uint64_t place_left(const struct place_device *d, uint64_t overhead);
/* Index of the device, or -1; why[PLACE_WHY_LEN]: what decided, or what each lacks, for a person. */
int place_choose(const struct place_device *d, unsigned n, const struct place_request *r, char *why);
#endif
