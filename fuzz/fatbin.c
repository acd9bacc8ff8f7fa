/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device code reader (fat binaries, PTX, ELF) against arbitrary bytes, for several devices.
 * libFuzzer target; with -DFUZZ_REPLAY it runs the files of the directories or files named once.
 * Beyond "does not crash": text that is handed out must be readable to its end and within the limit.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cuda/fatbin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define MUST(c) do { if (!(c)) { fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #c); abort(); } } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const unsigned devices[] = { 30, 75, 90 };
	volatile char last;
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		char err[64];
		struct cuda_ptx ptx;
		memset(err, 'x', sizeof err);
		if (cuda_image_ptx(data, len, devices[i], &ptx, err, sizeof err)) {
			MUST(memchr(err, 0, sizeof err));
			MUST(!ptx.owned);
			continue;
		}
		MUST(ptx.len <= CUDA_PTX_MAX && ptx.arch <= devices[i]);
		if (ptx.len)
			last = ptx.text[0] + ptx.text[ptx.len - 1];
		cuda_ptx_free(&ptx);
	}
	(void)last;
	return 0;
}

#ifdef FUZZ_REPLAY
static int replay(const char *path)
{
	FILE *f = fopen(path, "rb");
	static uint8_t buf[1 << 20];
	if (!f) {
		perror(path);
		return 1;
	}
	size_t n = fread(buf, 1, sizeof buf, f);
	fclose(f);
	uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees the end */
	memcpy(exact, buf, n);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	return 0;
}

static int replay_dir(const char *path, DIR *d)
{
	struct dirent *e;
	char name[4096];
	int bad = 0, files = 0;
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof name, "%s/%s", path, e->d_name);
		bad |= replay(name);
		files++;
	}
	closedir(d);
	printf("%s: %d files\n", path, files);
	return bad || !files;
}

int main(int argc, char **argv)
{
	int bad = 0;
	for (int i = 1; i < argc; i++) {
		DIR *d = opendir(argv[i]);
		bad |= d ? replay_dir(argv[i], d) : replay(argv[i]);
	}
	return bad;
}
#endif
