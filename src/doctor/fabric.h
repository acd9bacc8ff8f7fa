/* SPDX-License-Identifier: Apache-2.0 */
/* What groups MIG and FABRIC both ask of NVSwitch and Fabric Manager. */
#ifndef DOCTOR_FABRIC_H
#define DOCTOR_FABRIC_H

#include "host.h"

/* A value of fabricmanager.cfg; false when the file or the key is not there (noted as a problem) or not readable. */
bool fm_config(struct audit *a, const char *key, char *v, size_t size);
/* The check does not apply without NVSwitch (emitted). */
bool need_switch(struct audit *a);

#endif
