/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A random kernel: what it is made of, and what memory its threads find and leave. make.c chooses one, ptx.c writes it as
 * PTX, machine.c runs it thread by thread, as reference.c says what instructions mean.
 */
#ifndef VGPU_FUZZ_KERNEL_H
#define VGPU_FUZZ_KERNEL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGS 6u
#define THREADS_MAX 64u
#define BLOCKS 2u
#define INSNS_MAX 160u
#define DEPTH_MAX 4u
#define LOOPS_MAX 2u

#define SLOT 64u	/* bytes of a thread's own global memory */
#define INPUT 512u	/* bytes everybody may read */
#define CONSTANT 256u
#define LOCAL 64u
#define SHARED_SLOT 32u /* bytes per thread and half */
#define COUNTERS 7u
#define DUMP 256u	/* bytes of a thread's registers at the end */

enum reg { H, R, L, F, D, P, KINDS };
extern const char kind_letter[];
extern const uint8_t kind_bits[KINDS];
unsigned kind_of(char letter);

/* ---- memory ---- */

enum space { OWN, IN_GLOBAL, CONST, SHARED_MINE, SHARED_OTHERS, COUNTER_READ, LOCAL_MEM, PARAM, SPACES };
struct space_info {
	const char *name, *base; /* %d in base: the half */
	bool writable, generic;	 /* generic: the base register also works without a space */
};
extern const struct space_info spaces[SPACES];

struct width {
	const char *type; /* of ld and st */
	uint8_t reg, bytes, count;
	bool sign;
};
extern const struct width widths[];
#define N(a) (sizeof(a) / sizeof(*(a)))

struct atom {
	const char *text;
	uint8_t bytes;
	bool two; /* a second operand */
};
extern const struct atom atoms[];
extern const char *const counter_ops[COUNTERS];

/* ---- kernels ---- */

enum kind { OP, LOAD, STORE, ATOM, COUNT, NOTHING, IF, ELSE, ENDIF, LOOP, BREAK, ENDLOOP, BARRIER, END };
struct operand {
	bool constant;
	uint8_t reg;
	uint64_t value;
};
struct insn {
	uint8_t kind;
	uint16_t what; /* form, width, atom or counter */
	int8_t guard;  /* predicate, -1: none */
	bool guard_not;
	uint8_t space, half; /* half: of shared memory, being written between these barriers */
	bool generic;
	int8_t index; /* 32-bit register added to the address, -1: none */
	uint32_t mask, at;
	uint8_t out[4];
	struct operand in[4];
	uint16_t to, loop; /* partner of IF, ELSE, LOOP, BREAK, ENDLOOP */
};
struct kernel {
	unsigned n, threads;
	struct insn i[INSNS_MAX + 1];
};

/* ---- what threads find and leave ---- */

struct world {
	uint8_t own[BLOCKS * THREADS_MAX][SLOT], dump[BLOCKS * THREADS_MAX][DUMP];
	uint8_t input[INPUT], table[CONSTANT], numbers[64];
};

/* Registers come from the dump area and go back to it. */
extern const uint8_t dump_at[KINDS], dump_bytes[KINDS];

/* Of `bytes` bytes, little-endian; sign: extended. */
uint64_t get(const uint8_t *p, unsigned bytes, bool sign);
void set(uint8_t *p, unsigned bytes, uint64_t v);
uint64_t one_nan(uint64_t v, unsigned kind);
uint64_t cut(uint64_t v, unsigned kind); /* to the bits of the kind */

/* ---- make.c ---- */

struct choices;
uint64_t special(struct choices *c, unsigned kind); /* small numbers, limits, every class of float, noise */
uint32_t space_size(const struct kernel *k, enum space s);
/* Chooses until the input ends; closes what is open. */
void make_kernel(struct kernel *k, struct choices *c);

/* ---- ptx.c ---- */

struct text {
	char s[96 << 10];
	size_t n;
};
void put_kernel(struct text *t, const struct kernel *k, const uint8_t *table);
void put_insn(struct text *t, const struct kernel *k, unsigned n);

/* ---- machine.c ---- */

void run_reference(const struct kernel *k, struct world *w);
#endif
