/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The firmware's description of the IOMMU: DMAR (Intel), IVRS (AMD). A table is believed only when
 * its signature, length and checksum hold.
 */
#ifndef DOCTOR_ACPI_H
#define DOCTOR_ACPI_H

#include "evidence.h"

#define ACPI_MAX_RMRR 64

struct acpi_rmrr {
	uint64_t base, limit;
	uint16_t segment;
};

struct acpi_dmar {
	bool valid;
	uint8_t width; /* host address width in bits */
	bool intr_remap, x2apic_opt_out, dma_opt_in;
	unsigned drhd, atsr, rhsa, satc;
	struct acpi_rmrr rmrr[ACPI_MAX_RMRR];
	unsigned nrmrr; /* all that were seen; only the first ACPI_MAX_RMRR are kept */
};

struct acpi_ivrs {
	bool valid;
	uint32_t ivinfo;
	unsigned ivhd, ivmd;
	uint8_t phys_bits, virt_bits; /* from IVinfo: PASize, VASize */
};

/* NULL when the table holds, else what is wrong with it. */
const char *acpi_dmar_parse(struct acpi_dmar *d, const uint8_t *p, size_t len);
const char *acpi_ivrs_parse(struct acpi_ivrs *v, const uint8_t *p, size_t len);

#endif
