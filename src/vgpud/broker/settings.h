/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be set on a VM: one table, from which the control socket reads, state.db stores and views show.
 * A new limit is one field of struct vm_settings and one row.
 */
#ifndef VGPUD_SETTINGS_H
#define VGPUD_SETTINGS_H
#include <jansson.h>
#include <stdbool.h>
#include "base/err.h"
#include "vgpud/ipc.h"

struct vm_settings {
	uint32_t id;
	char name[IPC_NAME_LEN];
	uint64_t priority; /* 4 high, 2 medium, 1 low */
	uint64_t weight;   /* 1..100 */
	uint64_t quota;	   /* bytes of device memory */
	uint64_t job_timeout_ns, hard_timeout_ns; /* 0: the configuration's */
	uint64_t bar_size;
	uint64_t uid; /* who may use it over unix; UINT32_MAX: whoever reaches the socket */
	uint64_t cap; /* percent of device time it never exceeds; 0: none */
	uint64_t reservation; /* percent of device time it gets whenever it has work; 0: none */
	uint64_t max_launches_per_second, max_bytes_per_second; /* kernels; bytes copied and set; 0: no limit */
	uint64_t numa_node; /* of the host, where its memory is; UINT32_MAX: it does not say */
	uint64_t queue_depth; /* kernels of one program on the device at once; 0: as many as keep it busy */
	uint64_t fault_limit, fault_window_ns; /* so many within so long are quarantine; 0: the configuration's */
};

struct setting {
	const char *key; /* in JSON, and its column */
	size_t at;	 /* of a uint64_t in struct vm_settings */
	uint64_t min, max, initial;
	bool zero_too; /* 0 is allowed although below min: none, or the configuration's */
	bool words;    /* high, medium, low */
	bool down;     /* changes only while the VM is not connected */
};

extern const struct setting vm_setting[]; /* ends with key NULL */

void settings_initial(struct vm_settings *s);
/* Takes the keys that are there; "cmd", "name" and `also` (may be NULL) are the caller's. Unknown keys and values out
 * of range are refused, *s is then undefined. */
struct vgpu_err *settings_read(json_t *q, const char *also, struct vm_settings *s);
uint64_t setting_get(const struct setting *k, const struct vm_settings *s);
bool setting_fits(const struct setting *k, uint64_t v);
void setting_put(const struct setting *k, struct vm_settings *s, uint64_t v);
/* "weight 50 -> 60, cap 0 -> 25"; empty: no difference. */
void settings_difference(const struct vm_settings *old, const struct vm_settings *new, char *out, size_t n);
const char *priority_name(uint64_t p);
uint64_t priority_value(const char *name); /* 0: there is none of this name */
#endif
