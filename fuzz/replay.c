/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target once over each file named, and each file of the folders named: make check.
 * With --random FIRST COUNT LENGTH over COUNT inputs of noise instead, numbered from FIRST, of at most
 * so many bytes: for targets that make something valid of any input.
 */
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPUT_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int replay(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *room = f ? malloc(INPUT_MAX) : NULL, *exact;
	size_t n;

	if (!room) {
		perror(path);
		return 1;
	}
	n = fread(room, 1, INPUT_MAX, f);
	fclose(f);
	exact = malloc(n ? n : 1); /* so that a sanitizer sees the end */
	if (exact) {
		memcpy(exact, room, n);
		LLVMFuzzerTestOneInput(exact, n);
	}
	free(exact);
	free(room);
	return !exact;
}

static int replay_dir(const char *path, DIR *d, int *files)
{
	struct dirent *e;
	char name[4096];
	int bad = 0;

	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		bad |= replay(name);
		++*files;
	}
	closedir(d);
	return bad;
}

static void noise(uint64_t number, uint8_t *p, size_t n)
{
	uint64_t x = number * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = (uint8_t)(x * 0x2545f4914f6cdd1du >> 56);
	}
}

static unsigned long long current;

static void on_abort(int sig)
{
	char line[80];
	int n = snprintf(line, sizeof(line), "input --random %llu 1\n", current);

	signal(SIGABRT, SIG_DFL);
	if (sig == SIGTERM)
		_exit(write(STDERR_FILENO, line, (size_t)n) != n);
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(1);
}

static int random_inputs(uint64_t first, uint64_t count, size_t most)
{
	uint8_t *p = malloc(most + 1);

	signal(SIGABRT, on_abort);
	signal(SIGTERM, on_abort); /* says how far it got */
	for (uint64_t i = first; p && i < first + count; i++) {
		size_t n = most / 2 + i * 7919 % (most / 2 + 1);

		noise(i, p, n);
		current = i;
		LLVMFuzzerTestOneInput(p, n);
	}
	printf("%llu inputs of noise\n", (unsigned long long)count);
	free(p);
	return !p;
}

int main(int argc, char **argv)
{
	int bad = 0, files = 0;

	if (argc == 5 && !strcmp(argv[1], "--random"))
		return random_inputs(strtoull(argv[2], NULL, 0), strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0));

	for (int i = 1; i < argc; i++) {
		DIR *d = opendir(argv[i]);

		if (d) {
			bad |= replay_dir(argv[i], d, &files);
		} else {
			bad |= replay(argv[i]);
			files++;
		}
	}
	printf("%d inputs\n", files);
	return bad || !files;
}
