/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest. Lives one after the other, each a process with a channel of its own and an attack that the seed
 * chooses; some are killed in the midst of it.
 *
 * usage: hostile [--seed N] [--seconds S | --lives N] [--first N] [--attack NAME] [--pattern N] [--foreign ADDR]...
 *   --attack NAME    one of the list below; "all", the default, takes them in turns
 *   --first N        begin with life N: with --lives 1 that one alone again
 *   --pattern N      the word that other tenants' memory is full of
 *   --foreign ADDR   a device address of another tenant
 *
 * Prints the seed and the number of every life that fails a verdict. Exit status 1 when one did, 3 when the host
 * refused to let it in.
 */
#include "attack.h"
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cuda/cuda.h"
#include "wire/ring.h"

#define LIFE_MS 400u	/* the longest */
#define FOREIGN_MAX 16u
#define REFUSED 3

const struct attack attacks[] = {
	{"noise", attack_noise, true, true},	   {"slots", attack_slots, true, true},	  {"indexes", attack_indexes, true, true},
	{"payload", attack_payload, true, true},   {"swap", attack_swap, true, true},	  {"wishes", attack_wishes, true, true},
	{"answers", attack_answers, true, true},   {"storm", attack_storm, false, true},  {"flood", attack_flood, true, true},
	{"deaf", attack_deaf, true, true},	   {"handles", attack_handles, true, true}, {"pointers", attack_pointers, true, true},
	{"lengths", attack_lengths, true, true},   {"random", attack_random, true, true}, {"quota", attack_quota, true, true},
	{"local", attack_local, true, true},	   {"exhaust", attack_exhaust, true, true}, {"reuse", attack_reuse, true, true},
	{"promise", attack_promise, true, true},
	{"leave", attack_leave, true, false},	   {"look", attack_look, false, false},
};
const unsigned attacks_count = sizeof(attacks) / sizeof(*attacks);

struct options {
	uint64_t seed, first, lives, pattern;
	double seconds;
	const char *attack;
	uint64_t foreign[FOREIGN_MAX + 1];
};

/* Of all lives, in memory they share. */
struct tally {
	unsigned long lives, died, killed;
	unsigned long tried;
} *tally; /* one per attack */

bool failed(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("FAILED: ", stdout);
	vprintf(fmt, ap);
	putchar('\n');
	fflush(stdout);
	va_end(ap);
	return false;
}

static const struct attack *by_name(const char *name)
{
	for (unsigned i = 0; i < attacks_count; i++)
		if (!strcmp(attacks[i].name, name))
			return &attacks[i];
	return NULL;
}

/* Life n's attack: a block of lives holds each of them once, in an order of its own. */
static const struct attack *pick(const struct options *o, uint64_t n)
{
	const struct attack *list[32];
	unsigned count = 0;
	struct rng r;

	if (strcmp(o->attack, "all"))
		return by_name(o->attack);
	for (unsigned i = 0; i < attacks_count; i++)
		if (attacks[i].often)
			list[count++] = &attacks[i];
	r = rng_of(o->seed, ~(n / count));
	for (unsigned i = count - 1; i > 0; i--) {
		unsigned j = (unsigned)rng_below(&r, i + 1);
		const struct attack *a = list[i];

		list[i] = list[j];
		list[j] = a;
	}
	return list[n % count];
}

/* In the life's own process; its exit status. */
static int live(const struct options *o, const struct attack *a, uint64_t n)
{
	struct life l = {.rng = rng_of(o->seed, n), .pattern = o->pattern, .foreign = o->foreign};
	struct tally *t = &tally[a - attacks];
	uint64_t ms = 20 + rng_below(&l.rng, LIFE_MS), begun = vgpu_now_ns();
	char why[256] = "";
	int rc;
	bool ok;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	do { /* the quota of the life before is free once its executor has been reaped */
		door_close(&l.d);
		rc = door_open(&l.d, why, sizeof(why));
		if (rc) {
			printf("refused: %s\n", why);
			return REFUSED;
		}
		if (a->run != attack_look)
			rc = things_make(&l.d, &l.t, a->kernels);
	} while (rc == CUDA_ERROR_OUT_OF_MEMORY && vgpu_now_ns() < begun + ANSWER_MS * 1000000ull);
	if (rc) {
		failed("an ordinary beginning: result %d", rc);
		return 1;
	}
	l.until = vgpu_now_ns() + ms * 1000000;
	ok = a->run(&l);
	t->tried += l.tried;
	t->died += !door_alive(&l.d);
	if (a->run == attack_leave) /* its memory is to be found as it is when the process is gone */
		pause();
	door_close(&l.d);
	return ok ? 0 : 1;
}


/* 0, 1 failed, REFUSED. Every fourth life is killed at a moment of the seed's choice. */
static int one_life(const struct options *o, uint64_t n)
{
	const struct attack *a = pick(o, n);
	struct rng r = rng_of(o->seed, n ^ 1ull << 63);
	uint64_t kill_ms = 1 + rng_below(&r, LIFE_MS);
	bool killed = !strcmp(o->attack, "all") && n % 4 == 3;
	int status = 0, rc;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit((rc = live(o, a, n), fflush(stdout), rc));
	if (killed) {
		sigset_t child;
		struct timespec t = {0, (long)kill_ms * 1000000};

		sigemptyset(&child);
		sigaddset(&child, SIGCHLD);
		sigtimedwait(&child, NULL, &t);
		kill(pid, SIGKILL);
		tally[a - attacks].killed++;
	}
	waitpid(pid, &status, 0);
	tally[a - attacks].lives++;
	if (WIFSIGNALED(status) && !(killed && WTERMSIG(status) == SIGKILL)) {
		printf("life %llu (%s): the guest died of signal %d\n", (unsigned long long)n, a->name, WTERMSIG(status));
		return 1;
	}
	rc = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	if (rc == 1)
		printf("life %llu (%s) failed; again: --seed %llu --first %llu --lives 1 --attack %s\n", (unsigned long long)n,
		       a->name, (unsigned long long)o->seed, (unsigned long long)n, o->attack);
	fflush(stdout);
	return rc;
}

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {{"seed", 1, NULL, 's'},	 {"seconds", 1, NULL, 't'}, {"lives", 1, NULL, 'l'},
					      {"first", 1, NULL, 'f'},	 {"attack", 1, NULL, 'a'},  {"pattern", 1, NULL, 'p'},
					      {"foreign", 1, NULL, 'x'}, {0}};
	unsigned foreign = 0;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o->seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			o->seconds = atof(optarg);
			break;
		case 'l':
			o->lives = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			o->first = strtoull(optarg, NULL, 0);
			break;
		case 'a':
			o->attack = optarg;
			break;
		case 'p':
			o->pattern = strtoull(optarg, NULL, 0);
			break;
		case 'x':
			if (foreign < FOREIGN_MAX)
				o->foreign[foreign++] = strtoull(optarg, NULL, 0);
			break;
		default:
			return -1;
		}
	}
	return optind == argc && (!strcmp(o->attack, "all") || by_name(o->attack)) ? 0 : -1;
}

static void summary(void)
{
	for (unsigned i = 0; i < attacks_count; i++)
		if (tally[i].lives)
			printf("%-9s %5lu lives, %5lu ended by the host, %4lu killed, %9lu tries\n", attacks[i].name, tally[i].lives,
			       tally[i].died, tally[i].killed, tally[i].tried);
}

int main(int argc, char **argv)
{
	struct options o = {.attack = "all", .pattern = 0x5ca1ab1e0ddba115, .lives = UINT64_MAX, .seconds = 10};
	int bad = 0, refused = 0, rc;
	uint64_t until;
	sigset_t child;

	getrandom(&o.seed, 4, 0);
	if (parse(argc, argv, &o)) {
		fputs("usage: hostile [--seed N] [--seconds S | --lives N] [--first N] [--attack NAME] [--pattern N] [--foreign ADDR]...\n"
		      "attacks: all", stderr);
		for (unsigned i = 0; i < attacks_count; i++)
			fprintf(stderr, " %s", attacks[i].name);
		fputc('\n', stderr);
		return 2;
	}
	tally = mmap(NULL, sizeof(*tally) * attacks_count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tally == MAP_FAILED)
		return 2;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	printf("seed %llu\n", (unsigned long long)o.seed);
	until = vgpu_now_ns() + (uint64_t)(o.seconds * 1e9);
	for (uint64_t n = 0; n < o.lives && (o.lives != UINT64_MAX || vgpu_now_ns() < until); n++) {
		rc = one_life(&o, o.first + n);
		bad += rc == 1;
		refused += rc == REFUSED;
	}
	summary();
	printf("%d failed, %d refused\n", bad, refused);
	return bad ? 1 : refused ? REFUSED : 0;
}
