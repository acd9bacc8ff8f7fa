/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes and durations as people write them. All return 0, -EINVAL (form) or -ERANGE (too large). */
#ifndef VGPU_BASE_UNITS_H
#define VGPU_BASE_UNITS_H
#include <stddef.h>
#include <stdint.h>

/* "4096", "64K", "512M", "2G", "1T", also KiB, MiB ...: powers of 1024, in bytes. */
int units_size(const char *s, uint64_t *bytes);
/* "500us", "2ms", "30s", "10min", "1h": in ns. A bare number is refused unless it is 0. */
int units_duration(const char *s, uint64_t *ns);
/* Decimal number within [min, max]. */
int units_number(const char *s, uint64_t min, uint64_t max, uint64_t *out);
/* "1.5 GiB", for people. */
const char *units_size_text(uint64_t bytes, char *out, size_t n);
#endif
