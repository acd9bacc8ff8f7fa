/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's tests share: a device, a module from text, a launch by kernel name. */
#ifndef TEST_ENGINE_TEST_H
#define TEST_ENGINE_TEST_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "softcuda/engine.h"
#include "softcuda/engine_err.h"

#define PTX_HEAD ".version 7.5\n.target sm_75\n.address_size 64\n"

static struct sc_device *dev;
static struct sc_fault fault;

static inline int open_dev(void **state)
{
	const char *threads = getenv("SOFTCUDA_TEST_THREADS");
	struct sc_device_config cfg = { .name = "test", .memory = 1ull << 30, .threads = threads ? (unsigned)atoi(threads) : 2 };
	dev = sc_device_open(&cfg);
	return dev ? 0 : -1;
}

static inline int close_dev(void **state)
{
	sc_device_close(dev);
	return 0;
}

static inline struct sc_module *load_ptx(const char *text)
{
	char log[2048] = "";
	struct ptx_log l = { log, sizeof(log), 0 };
	struct sc_module *m = NULL;
	int rc = sc_module_load(dev, text, strlen(text), &l, &m);
	if (rc)
		print_message("load: %d\n%s\n", rc, log);
	assert_int_equal(rc, SC_OK);
	return m;
}

static inline struct sc_module *load_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	if (!f)
		print_message("cannot open %s\n", path);
	assert_non_null(f);
	static char text[4 << 20];
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	return load_ptx(text);
}

static inline void *dev_alloc(size_t bytes)
{
	uint64_t va;
	assert_int_equal(sc_mem_alloc(dev, bytes, 0, &va), SC_OK);
	return (void *)(uintptr_t)va;
}

static inline void dev_free(void *p)
{
	assert_int_equal(sc_mem_free(dev, (uint64_t)(uintptr_t)p), SC_OK);
}

struct shape {
	uint32_t grid, block, shared;
	const atomic_int *cancel;
	bool cooperative;
};

static inline int launch(struct sc_module *m, const char *name, struct shape s, const void *params)
{
	struct sc_kernel *k = sc_module_kernel(m, name);
	if (!k)
		print_message("no kernel %s\n", name);
	assert_non_null(k);
	struct sc_launch l = { .kernel = k, .grid = { s.grid, 1, 1 }, .block = { s.block, 1, 1 }, .dynamic_shared = s.shared,
			       .params = params, .cancel = s.cancel, .cooperative = s.cooperative };
	return sc_launch(dev, &l, &fault);
}

static inline void launch_ok(struct sc_module *m, const char *name, struct shape s, const void *params)
{
	int rc = launch(m, name, s, params);
	if (rc)
		print_message("%s: %d, line %d: %s\n", name, rc, fault.line, fault.what);
	assert_int_equal(rc, SC_OK);
}
#endif
