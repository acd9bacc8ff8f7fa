/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VGPU_BASE_UTF8_H
#define VGPU_BASE_UTF8_H
#include <string.h>

/* What snprintf() cut within a character loses the rest of it: JSON takes whole ones only. */
static inline void utf8_whole(char *s)
{
	size_t n = strlen(s), lead = n;

	while (lead && n - lead < 3 && (s[lead - 1] & 0xc0) == 0x80)
		lead--;
	if (lead-- && s[lead] & 0x80) {
		unsigned char c = (unsigned char)s[lead];
		size_t need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;

		if (n - lead < need)
			s[lead] = 0;
	}
}
#endif
