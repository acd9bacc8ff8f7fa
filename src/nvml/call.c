/* SPDX-License-Identifier: Apache-2.0 */
#include "nvml/call.h"
#include <dlfcn.h>
#include <errno.h>
#include <string.h>

/* What the library is given is larger than what it is told, for one that ends its texts behind the end. */
#define SLACK 64

static const char *const names[] = {
#define F(name) "nvml" #name,
#include "nvml/functions.def"
#undef F
};

static bool done(struct nv *nv, int rc)
{
	nv->rc = rc;
	nv->lost |= rc == NV_GPU_IS_LOST;
	if (rc && rc != NV_NOT_SUPPORTED && rc != NV_FUNCTION_NOT_FOUND && rc != NV_TIMEOUT && rc != NV_INSUFFICIENT_SIZE)
		nv->failures++;
	return rc == NV_SUCCESS;
}

/* The function with this shape, called; a missing one is as one that is not found. */
#define CALL(nv, f, params, ...) \
	done(nv, (nv)->fn[f] ? ((int(*) params)(nv)->fn[f])(__VA_ARGS__) : NV_FUNCTION_NOT_FOUND)

int nv_open(struct nv *nv)
{
	memset(nv, 0, sizeof(*nv));
	nv->lib = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!nv->lib)
		return -ENOENT;
	for (unsigned i = 0; i < NV_FUNCTIONS; i++)
		nv->fn[i] = dlsym(nv->lib, names[i]);
	return CALL(nv, NV_Init_v2, (void)) ? 0 : nv->rc < 0 ? NV_UNKNOWN : nv->rc;
}

void nv_close(struct nv *nv)
{
	CALL(nv, NV_Shutdown, (void));
	dlclose(nv->lib);
	nv->lib = NULL;
}

static bool keep_text(bool ok, char *from, char *out, size_t size)
{
	if (!ok)
		return false;
	from[NV_TEXT - 1] = 0;
	for (char *p = from; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	from[size - 1] = 0;
	memcpy(out, from, strlen(from) + 1);
	return true;
}

bool nv_system_text(struct nv *nv, enum nv_fn fn, char *out, size_t size)
{
	char buf[NV_TEXT + SLACK] = "";

	return keep_text(CALL(nv, fn, (char *, unsigned), buf, NV_TEXT), buf, out, size);
}

bool nv_text(struct nv *nv, enum nv_fn fn, void *dev, char *out, size_t size)
{
	char buf[NV_TEXT + SLACK] = "";

	return keep_text(CALL(nv, fn, (void *, char *, unsigned), dev, buf, NV_TEXT), buf, out, size);
}

bool nv_id_text(struct nv *nv, enum nv_fn fn, unsigned id, char *out, size_t size)
{
	char buf[NV_TEXT + SLACK] = "";

	return keep_text(CALL(nv, fn, (unsigned, char *, unsigned), id, buf, NV_TEXT), buf, out, size);
}

bool nv_count(struct nv *nv, enum nv_fn fn, unsigned *v)
{
	unsigned n = 0;

	if (!CALL(nv, fn, (unsigned *), &n))
		return false;
	*v = n;
	return true;
}

bool nv_u32(struct nv *nv, enum nv_fn fn, void *dev, unsigned *v)
{
	unsigned n = 0;

	if (!CALL(nv, fn, (void *, unsigned *), dev, &n))
		return false;
	*v = n;
	return true;
}

bool nv_u64(struct nv *nv, enum nv_fn fn, void *dev, unsigned long long *v)
{
	unsigned long long n = 0;

	if (!CALL(nv, fn, (void *, unsigned long long *), dev, &n))
		return false;
	*v = n;
	return true;
}

bool nv_pair(struct nv *nv, enum nv_fn fn, void *dev, unsigned *a, unsigned *b)
{
	unsigned x = 0, y = 0;

	if (!CALL(nv, fn, (void *, unsigned *, unsigned *), dev, &x, &y))
		return false;
	*a = x;
	*b = y;
	return true;
}

bool nv_at(struct nv *nv, enum nv_fn fn, void *dev, unsigned which, unsigned *v)
{
	unsigned n = 0;

	if (!CALL(nv, fn, (void *, unsigned, unsigned *), dev, which, &n))
		return false;
	*v = n;
	return true;
}

bool nv_p2p(struct nv *nv, void *dev, void *peer, unsigned what, unsigned *status)
{
	unsigned n = 0;

	if (!CALL(nv, NV_DeviceGetP2PStatus, (void *, void *, unsigned, unsigned *), dev, peer, what, &n))
		return false;
	*status = n;
	return true;
}

bool nv_system_struct(struct nv *nv, enum nv_fn fn, void *out)
{
	return CALL(nv, fn, (void *), out);
}

bool nv_struct(struct nv *nv, enum nv_fn fn, void *dev, void *out)
{
	return CALL(nv, fn, (void *, void *), dev, out);
}

bool nv_id_struct(struct nv *nv, enum nv_fn fn, unsigned id, void *out)
{
	return CALL(nv, fn, (unsigned, void *), id, out);
}

bool nv_handle(struct nv *nv, unsigned index, void **dev)
{
	void *h = NULL;

	if (!CALL(nv, NV_DeviceGetHandleByIndex_v2, (unsigned, void **), index, &h))
		return false;
	*dev = h;
	return true;
}

bool nv_mig_handle(struct nv *nv, void *dev, unsigned index, void **mig)
{
	void *h = NULL;

	if (!CALL(nv, NV_DeviceGetMigDeviceHandleByIndex, (void *, unsigned, void **), dev, index, &h))
		return false;
	*mig = h;
	return true;
}

bool nv_list(struct nv *nv, enum nv_fn fn, void *dev, unsigned *n, void *list)
{
	unsigned room = *n, there = room;

	*n = 0;
	if (!CALL(nv, fn, (void *, unsigned *, void *), dev, &there, list) || (there > room && !done(nv, NV_UNKNOWN)))
		return false;
	*n = there;
	return true;
}

bool nv_fields(struct nv *nv, void *dev, struct nv_field *f, unsigned n)
{
	return CALL(nv, NV_DeviceGetFieldValues, (void *, int, struct nv_field *), dev, (int)n, f);
}

bool nv_ecc(struct nv *nv, void *dev, bool uncorrected, bool lifetime, unsigned long long *v)
{
	unsigned long long n = 0;

	if (!CALL(nv, NV_DeviceGetTotalEccErrors, (void *, unsigned, unsigned, unsigned long long *), dev, uncorrected, lifetime, &n))
		return false;
	*v = n;
	return true;
}

bool nv_rows(struct nv *nv, void *dev, unsigned v[4])
{
	return CALL(nv, NV_DeviceGetRemappedRows, (void *, unsigned *, unsigned *, unsigned *, unsigned *), dev, v, v + 1, v + 2, v + 3);
}

void *nv_events(struct nv *nv)
{
	void *set = NULL;

	return CALL(nv, NV_EventSetCreate, (void **), &set) ? set : NULL;
}

bool nv_register(struct nv *nv, void *dev, void *events)
{
	return CALL(nv, NV_DeviceRegisterEvents, (void *, unsigned long long, void *), dev, NV_EVENT_XID, events);
}

bool nv_event(struct nv *nv, void *events, struct nv_event *e)
{
	return CALL(nv, NV_EventSetWait_v2, (void *, struct nv_event *, unsigned), events, e, 0u);
}
