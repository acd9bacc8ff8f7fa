/* SPDX-License-Identifier: Apache-2.0 */
/* Check functions of the NVIDIA driver's state; their rows stand in checks_bind.c. */
#ifndef DOCTOR_CHECKS_DRIVER_H
#define DOCTOR_CHECKS_DRIVER_H

#include "host.h"

void driver_skew(struct audit *a);
void driver_floor(struct audit *a);
void driver_upgrades_held(struct audit *a);
void driver_rollback(struct audit *a);
void driver_params(struct audit *a);
void driver_placebos(struct audit *a);
void driver_gsp_off(struct audit *a);
void driver_device_nodes(struct audit *a);
void driver_integrity(struct audit *a);
void driver_peermem(struct audit *a);
void driver_xids(struct audit *a);

/* The driver's files against what their package installed; asked for by --verify. */
void driver_files(struct audit *a);

#endif
