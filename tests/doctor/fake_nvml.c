/* SPDX-License-Identifier: Apache-2.0 */
/* A libnvidia-ml.so.1 of one GPU, or with DOCTOR_FAKE_NVML=hang one that never answers, as with a
 * driver that hangs. Names and layouts are NVML's public ones. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int nvmlInit_v2(void);
int nvmlDeviceGetCount_v2(unsigned *n);
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **dev);
int nvmlSystemGetDriverVersion(char *s, unsigned n);
int nvmlDeviceGetPciInfo_v3(void *dev, void *info);
int nvmlDeviceGetMigMode(void *dev, unsigned *now, unsigned *pending);

int nvmlInit_v2(void)
{
	const char *how = getenv("DOCTOR_FAKE_NVML");

	while (how && !strcmp(how, "hang"))
		pause();
	return 0;
}

int nvmlDeviceGetCount_v2(unsigned *n)
{
	*n = 1;
	return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **dev)
{
	*dev = &nvmlInit_v2;
	return i ? 6 : 0; /* not found */
}

int nvmlSystemGetDriverVersion(char *s, unsigned n)
{
	strncpy(s, "570.172.08", n);
	return 0;
}

/* busIdLegacy[16], five unsigned, busId[32] */
int nvmlDeviceGetPciInfo_v3(void *dev, void *info)
{
	(void)dev;
	strcpy((char *)info + 36, "00000000:1B:00.0");
	return 0;
}

int nvmlDeviceGetMigMode(void *dev, unsigned *now, unsigned *pending)
{
	(void)dev;
	*now = 1;
	*pending = 0;
	return 0;
}
