/* SPDX-License-Identifier: Apache-2.0 */
/* Our declarations against an independent copy of the same interface: a number or an offset that
 * differs would be passed to every program, and by no other test be noticed. */
#include <stdio.h>
#include "facts.h"

int main(void)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < nours; i++)
		if (ours[i].value != ffmpegs[i].value) {
			printf("%s: %llu, ffmpeg's header says %llu\n", ours[i].what, ours[i].value, ffmpegs[i].value);
			wrong++;
		}
	printf("%u facts compared, %u differ\n", nours, wrong);
	return wrong ? 1 : 0;
}
