/* SPDX-License-Identifier: Apache-2.0 */
/* Check functions of the machine around the GPUs: firmware, case, processor, inventory; their rows stand
 * in checks_pci.c. */
#ifndef DOCTOR_CHECKS_MACHINE_H
#define DOCTOR_CHECKS_MACHINE_H

#include "host.h"

void machine_secure_boot(struct audit *a);
void machine_firmware(struct audit *a);
void machine_chassis(struct audit *a);
void machine_cpu_vulns(struct audit *a);
void machine_identity(struct audit *a);

#endif
