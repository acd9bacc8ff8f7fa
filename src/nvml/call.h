/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVIDIA's management library, found at run time. It may be absent, older or newer than us, and what it answers is not
 * believed: texts are ended and made printable, a call that fails leaves nothing behind. What cannot be guarded against
 * from inside, a library that hangs or writes where it should not, is why it is only loaded in child processes
 * (child.h; vgpu-doctor has its own). Structures and numbers are NVML's public ones.
 */
#ifndef VGPU_NVML_CALL_H
#define VGPU_NVML_CALL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum nv_fn {
#define F(name) NV_##name,
#include "nvml/functions.def"
#undef F
	NV_FUNCTIONS
};

/* nvmlReturn_t */
enum {
	NV_SUCCESS = 0,
	NV_NOT_SUPPORTED = 3,
	NV_NO_PERMISSION = 4,
	NV_NOT_FOUND = 6,
	NV_INSUFFICIENT_SIZE = 7,
	NV_DRIVER_NOT_LOADED = 9,
	NV_TIMEOUT = 10,
	NV_FUNCTION_NOT_FOUND = 13,
	NV_GPU_IS_LOST = 15,
	NV_UNKNOWN = 999,
};

#define NV_GPUS_MAX 32u
#define NV_LINKS_MAX 18u /* NVLink 4 and 5 */
#define NV_TEXT 96	 /* bytes, of any text but the driver's own buffers */

struct nv {
	void *lib;
	void *fn[NV_FUNCTIONS];
	int rc;		   /* of the last call */
	bool lost;	   /* a call said so since the caller cleared it */
	uint64_t failures; /* calls that failed otherwise than "not supported", "none waits", "too many" */
};

/* version = size | 2 << 24 */
struct nv_memory {
	unsigned version;
	unsigned long long total, reserved, free, used;
};

struct nv_bar1 {
	unsigned long long total, free, used;
};

struct nv_pci {
	char legacy[16];
	unsigned domain, bus, device, id, subsystem;
	char bus_id[32];
};

struct nv_fabric {
	unsigned char cluster[16];
	int status;
	unsigned clique;
	unsigned char state;
};

struct nv_utilization {
	unsigned gpu, memory; /* percent */
};

/* nvmlGpuP2PCapsIndex_t and the largest nvmlGpuP2PStatus_t; 0: these two can */
#define NV_P2P_NVLINK 2u
#define NV_P2P_STATUS_MAX 6u

enum nv_field_kind { NV_DOUBLE, NV_UINT, NV_ULONG, NV_ULONGLONG, NV_LONGLONG, NV_INT, NV_USHORT };

struct nv_field {
	unsigned id, scope;
	long long timestamp, latency;
	unsigned kind;
	int rc;
	union {
		double d;
		int si;
		unsigned ui;
		unsigned long ul;
		unsigned long long ull;
		long long sll;
		unsigned short us;
	} v;
};

struct nv_process {
	unsigned pid;
	unsigned long long memory;
	unsigned gpu_instance, compute_instance;
};

struct nv_event {
	void *device;
	unsigned long long type, data;
	unsigned gpu_instance, compute_instance;
};
#define NV_EVENT_XID 8ull

/* Loads libnvidia-ml.so.1 and initialises it. 0; -ENOENT: there is none; otherwise NVML's error, > 0. */
int nv_open(struct nv *nv);
void nv_close(struct nv *nv);

/* All of these: true when the call succeeded; otherwise nothing is written, nv->rc says why. out of a text: `size`
 * bytes (at most NV_TEXT), ended, printable. */
bool nv_system_text(struct nv *nv, enum nv_fn fn, char *out, size_t size);
bool nv_system_struct(struct nv *nv, enum nv_fn fn, void *out);
bool nv_text(struct nv *nv, enum nv_fn fn, void *dev, char *out, size_t size);
bool nv_id_text(struct nv *nv, enum nv_fn fn, unsigned id, char *out, size_t size);
bool nv_count(struct nv *nv, enum nv_fn fn, unsigned *v);
bool nv_u32(struct nv *nv, enum nv_fn fn, void *dev, unsigned *v);
bool nv_u64(struct nv *nv, enum nv_fn fn, void *dev, unsigned long long *v);
bool nv_pair(struct nv *nv, enum nv_fn fn, void *dev, unsigned *a, unsigned *b);
bool nv_at(struct nv *nv, enum nv_fn fn, void *dev, unsigned which, unsigned *v);
bool nv_p2p(struct nv *nv, void *dev, void *peer, unsigned what, unsigned *status);
bool nv_struct(struct nv *nv, enum nv_fn fn, void *dev, void *out);	  /* its version, if any, is the caller's */
bool nv_id_struct(struct nv *nv, enum nv_fn fn, unsigned id, void *out);
bool nv_handle(struct nv *nv, unsigned index, void **dev);
bool nv_mig_handle(struct nv *nv, void *dev, unsigned index, void **mig);
/* *n: room, then how many there are; more than the room is a failure. */
bool nv_list(struct nv *nv, enum nv_fn fn, void *dev, unsigned *n, void *list);
bool nv_fields(struct nv *nv, void *dev, struct nv_field *f, unsigned n);
bool nv_ecc(struct nv *nv, void *dev, bool uncorrected, bool lifetime, unsigned long long *v);
bool nv_rows(struct nv *nv, void *dev, unsigned v[4]); /* corrected, uncorrected, pending, failed */
/* NULL: events are not to be had. */
void *nv_events(struct nv *nv);
bool nv_register(struct nv *nv, void *dev, void *events);
bool nv_event(struct nv *nv, void *events, struct nv_event *e); /* false: none is waiting */
#endif
