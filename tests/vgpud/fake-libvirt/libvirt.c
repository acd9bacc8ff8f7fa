/* SPDX-License-Identifier: Apache-2.0 */
/* Two machines, one running; FAKE_LIBVIRT_DOWN: nobody answers. Prototypes as in libvirt's public API. */
#include <stdlib.h>
#include <string.h>

static struct domain {
	const char *name, *uuid;
	int active;
} domains[] = {{"web", "6c0e7a5e-0000-4000-8000-000000000001", 1}, {"db", "6c0e7a5e-0000-4000-8000-000000000002", 0}};

void *virConnectOpenReadOnly(const char *uri)
{
	return getenv("FAKE_LIBVIRT_DOWN") ? NULL : domains;
}

int virConnectListAllDomains(void *conn, void ***out, unsigned flags)
{
	*out = calloc(3, sizeof(**out));
	for (int i = 0; i < 2; i++)
		(*out)[i] = &domains[i];
	return 2;
}

const char *virDomainGetName(struct domain *d)
{
	return d->name;
}

int virDomainGetUUIDString(struct domain *d, char *out)
{
	strcpy(out, d->uuid);
	return 0;
}

int virDomainIsActive(struct domain *d)
{
	return d->active;
}

int virDomainFree(void *d)
{
	return 0;
}

int virConnectClose(void *conn)
{
	return 0;
}

const char *virGetLastErrorMessage(void)
{
	return "cannot connect to libvirtd";
}

void virSetErrorFunc(void *data, void *fn)
{
}
