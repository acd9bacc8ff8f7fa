/* SPDX-License-Identifier: Apache-2.0 */
#include "acpi.h"

#include <string.h>

static uint64_t le(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | p[n];
	return v;
}

/* The common header: signature, length at 4, every byte of the table adding up to 0. */
static const char *table_problem(const uint8_t *p, size_t len, const char *sig)
{
	uint8_t sum = 0;

	if (len < 48)
		return "shorter than its header";
	if (memcmp(p, sig, 4))
		return "wrong signature";
	if (le(p + 4, 4) != len)
		return "length differs from its header";
	for (size_t i = 0; i < len; i++)
		sum += p[i];
	return sum ? "wrong checksum" : NULL;
}

static void dmar_struct(struct acpi_dmar *d, unsigned type, const uint8_t *p, size_t n)
{
	switch (type) {
	case 0:
		d->drhd++;
		break;
	case 1:
		if (n >= 24) {
			if (d->nrmrr < ACPI_MAX_RMRR)
				d->rmrr[d->nrmrr] = (struct acpi_rmrr){le(p + 8, 8), le(p + 16, 8),
								       (uint16_t)le(p + 6, 2)};
			d->nrmrr++;
		}
		break;
	case 2:
		d->atsr++;
		break;
	case 3:
		d->rhsa++;
		break;
	case 5:
		d->satc++;
		break;
	}
}

const char *acpi_dmar_parse(struct acpi_dmar *d, const uint8_t *p, size_t len)
{
	const char *bad = table_problem(p, len, "DMAR");

	memset(d, 0, sizeof(*d));
	if (bad)
		return bad;
	d->width = p[36] + 1;
	d->intr_remap = p[37] & 1;
	d->x2apic_opt_out = p[37] & 2;
	d->dma_opt_in = p[37] & 4;
	for (size_t at = 48; at < len;) {
		size_t n = at + 4 <= len ? le(p + at + 2, 2) : 0;

		if (n < 4 || at + n > len)
			return "a structure reaches beyond the table";
		dmar_struct(d, (unsigned)le(p + at, 2), p + at, n);
		at += n;
	}
	d->valid = true;
	return NULL;
}

const char *acpi_ivrs_parse(struct acpi_ivrs *v, const uint8_t *p, size_t len)
{
	const char *bad = table_problem(p, len, "IVRS");

	memset(v, 0, sizeof(*v));
	if (bad)
		return bad;
	v->ivinfo = (uint32_t)le(p + 36, 4);
	v->phys_bits = v->ivinfo >> 8 & 0x7f;
	v->virt_bits = v->ivinfo >> 15 & 0x7f;
	for (size_t at = 48; at < len;) {
		size_t n = at + 4 <= len ? le(p + at + 2, 2) : 0;

		if (n < 4 || at + n > len)
			return "a block reaches beyond the table";
		if (p[at] == 0x10 || p[at] == 0x11 || p[at] == 0x40)
			v->ivhd++;
		else if (p[at] >= 0x20 && p[at] <= 0x22)
			v->ivmd++;
		at += n;
	}
	v->valid = true;
	return NULL;
}
