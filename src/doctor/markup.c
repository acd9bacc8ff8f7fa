/* SPDX-License-Identifier: Apache-2.0 */
#include "markup.h"

#include <stdint.h>
#include <string.h>

static size_t utf8_len(const uint8_t *s)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

void put_escaped(FILE *f, const char *s)
{
	static const struct {
		char c;
		const char *text;
	} special[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#39;"}};

	while (*s) {
		size_t n = utf8_len((const uint8_t *)s), i;

		for (i = 0; i < 5 && special[i].c != *s; i++)
			;
		if (i < 5)
			fputs(special[i].text, f);
		else if (!n || (uint8_t)*s == 0x7f || ((uint8_t)*s < 0x20 && *s != '\n' && *s != '\t'))
			fputc('?', f);
		else
			fwrite(s, 1, n, f);
		s += n ? n : 1;
	}
}
