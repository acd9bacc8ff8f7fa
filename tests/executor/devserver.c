/* SPDX-License-Identifier: Apache-2.0 */
/* usage: devserver SOCKET DRIVER     runs the harness for programs started by hand:
 *   VGPU_SOCKET=SOCKET LD_LIBRARY_PATH=<dir of the guest's libcuda.so.1> PROGRAM */
#include <stdio.h>
#include "harness.h"

int main(int argc, char **argv)
{
	int s;

	if (argc != 3) {
		fprintf(stderr, "usage: devserver SOCKET DRIVER\n");
		return 2;
	}
	s = harness_listen(argv[1]);
	if (s < 0) {
		perror(argv[1]);
		return 1;
	}
	return harness_loop(s, argv[2]);
}
