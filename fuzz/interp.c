/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random valid kernels: softcuda's interpreter against a reference that runs one thread after the
 * other (interp/reference.c for what instructions mean, interp/machine.c for memory, branches, loops and barriers).
 *
 * The input chooses instructions. The kernel exists twice, as PTX text for softcuda and as a list of
 * steps for the reference; what every thread leaves in memory and in its registers must be the same
 * to the bit. Kernels race for nothing: between two barriers a thread writes its own slots and reads
 * what others wrote before the barrier; shared counters are only added to (or or'ed, ...) and read
 * after it. PTX leaves the bits of a NaN open, so those leave a float register as one NaN.
 */
#include <stdbool.h>
#include <stddef.h>
#include "interp/kernel.h"
#include "softcuda/engine.h"
#include "fuzz.h"

static void fill(uint8_t *p, size_t n, uint64_t *state)
{
	for (size_t i = 0; i < n; i++) {
		*state = *state * 6364136223846793005u + 1442695040888963407u;
		p[i] = (uint8_t)(*state >> 56);
	}
}

/* Registers that meet: small numbers, limits, and every class of float, besides noise. */
static void fill_registers(uint8_t *dump, uint64_t *state)
{
	uint8_t noise[9];

	for (unsigned kind = 0; kind < KINDS; kind++)
		for (unsigned r = 0; r < REGS; r++) {
			struct choices c = { noise, sizeof(noise) };

			fill(noise, sizeof(noise), state);
			set(dump + dump_at[kind] + r * dump_bytes[kind], dump_bytes[kind],
			    kind == P ? noise[0] & 1 : cut(special(&c, kind), kind));
		}
}

static struct sc_device *device;
static uint64_t va; /* struct world in device memory */

static void run_softcuda(const struct kernel *k, const struct text *t, const struct world *in, struct world *out)
{
	struct {
		uint64_t memory, dump, input;
		uint8_t numbers[64] __attribute__((aligned(16)));
	} params = { va + offsetof(struct world, own), va + offsetof(struct world, dump), va + offsetof(struct world, input), { 0 } };
	struct sc_launch l = { .grid = { BLOCKS, 1, 1 }, .block = { k->threads, 1, 1 }, .params = &params };
	char why[1024];
	struct ptx_log log = { why, sizeof(why), 0 };
	struct sc_module *m = NULL;
	struct sc_fault fault = { 0 };
	int rc;

	memcpy((void *)(uintptr_t)va, in, sizeof(*in));
	memcpy(params.numbers, in->numbers, sizeof(params.numbers));
	rc = sc_module_load(device, t->s, t->n, &log, &m);
	if (rc) {
		fprintf(stderr, "%s\nrefused: %d %s\n", t->s, rc, why);
		abort();
	}
	l.kernel = sc_module_kernel(m, "k");
	rc = sc_launch(device, &l, &fault);
	if (rc) {
		fprintf(stderr, "%s\nfailed: %d %s, line %d\n", t->s, rc, fault.what, fault.line);
		abort();
	}
	memcpy(out, (void *)(uintptr_t)va, sizeof(*out));
	sc_module_unload(m);
}

/* The first difference in words; false: none. */
static bool compare(const struct kernel *k, const struct world *want, const struct world *got, char *what, size_t len)
{
	for (unsigned i = 0; i < BLOCKS * k->threads; i++) {
		for (unsigned kind = 0; kind < KINDS; kind++)
			for (unsigned r = 0; r < REGS; r++) {
				unsigned at = dump_at[kind] + r * dump_bytes[kind];
				uint64_t a = one_nan(get(want->dump[i] + at, dump_bytes[kind], false), kind);
				uint64_t b = one_nan(get(got->dump[i] + at, dump_bytes[kind], false), kind);

				if (a == b)
					continue;
				snprintf(what, len, "%%%c%u is %#llx, reference %#llx", kind_letter[kind], r,
					 (unsigned long long)b, (unsigned long long)a);
				return true;
			}
		for (unsigned n = 0; n < SLOT; n++)
			if (want->own[i][n] != got->own[i][n]) {
				snprintf(what, len, "byte %u of thread %u is %#x, reference %#x", n, i, got->own[i][n], want->own[i][n]);
				return true;
			}
	}
	return false;
}

static struct world before, want, got;
static struct text text;

static bool differs(const struct kernel *k, char *what, size_t len)
{
	put_kernel(&text, k, before.table);
	want = before;
	run_reference(k, &want);
	run_softcuda(k, &text, &before, &got);
	return compare(k, &want, &got, what, len);
}

/* Leaves out what is not needed for the difference, prints the rest, and ends. */
static void __attribute__((noreturn)) explain(struct kernel *k)
{
	char what[160];

	for (unsigned n = k->n; n-- > 0;) {
		struct insn was = k->i[n];

		if (was.kind > COUNT)
			continue;
		k->i[n].kind = NOTHING;
		if (!differs(k, what, sizeof(what)))
			k->i[n] = was;
	}
	differs(k, what, sizeof(what));
	for (unsigned i = 0; i < BLOCKS * k->threads; i++)
		if (memcmp(want.dump[i], got.dump[i], DUMP) || memcmp(want.own[i], got.own[i], SLOT)) {
			fprintf(stderr, "thread %u of %u begins with", i, k->threads);
			for (unsigned kind = 0; kind < KINDS; kind++)
				for (unsigned r = 0; r < REGS; r++)
					fprintf(stderr, " %c%u=%#llx", kind_letter[kind], r,
						(unsigned long long)get(before.dump[i] + dump_at[kind] + r * dump_bytes[kind], dump_bytes[kind], false));
			break;
		}
	fprintf(stderr, "\n%s\n%s\n", text.s, what);
	text.n = 0;
	for (unsigned n = 0; n < k->n; n++)
		put_insn(&text, k, n);
	fprintf(stderr, "the kernel's own part:\n%s%s\n", text.s, what);
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct kernel k;
	char what[160];
	struct choices c = { data, len };
	uint64_t state = 1;

	if (!device) {
		static const struct sc_device_config cfg = { .name = "fuzz", .memory = 64 << 20, .threads = 1 };

		device = sc_device_open(&cfg);
		MUST(device && sc_mem_alloc(device, sizeof(struct world), 256, &va) == 0);
	}
	state = choose_bytes(&c, 3);
	fill((uint8_t *)&before, sizeof(before), &state);
	for (unsigned i = 0; i < BLOCKS * THREADS_MAX; i++)
		fill_registers(before.dump[i], &state);
	make_kernel(&k, &c);
	if (differs(&k, what, sizeof(what)))
		explain(&k);
	return 0;
}
