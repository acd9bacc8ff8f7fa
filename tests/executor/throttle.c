/* SPDX-License-Identifier: Apache-2.0 */
/* What may be issued under limits: breaks if more is, or if no more is asked for when there is some. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "executor/call.h"

static uint64_t left[EXEC_LIMITS];
static uint64_t charged_launches, charged_bytes;

static uint64_t room(void *ctx, enum exec_limit what)
{
	return left[what];
}

static void launches(void *ctx, uint32_t n)
{
	charged_launches += n;
	if (left[EXEC_LAUNCHES] != UINT64_MAX)
		left[EXEC_LAUNCHES] -= n < left[EXEC_LAUNCHES] ? n : left[EXEC_LAUNCHES];
}

static void bytes(void *ctx, uint64_t n)
{
	charged_bytes += n;
	if (left[EXEC_BYTES] != UINT64_MAX)
		left[EXEC_BYTES] -= n < left[EXEC_BYTES] ? n : left[EXEC_BYTES];
}

static const struct exec_ops limited = {.room = room, .charge_launches = launches, .charge_bytes = bytes};
static const struct exec_ops free_ops = {.charge_launches = launches, .charge_bytes = bytes};

static struct exec *make(const struct exec_ops *ops, uint64_t n, uint64_t b, uint64_t depth)
{
	static struct exec_env env;
	struct exec *x = calloc(1, sizeof(*x));

	env = (struct exec_env){.ops = ops};
	x->env = &env;
	atomic_store(&x->window, 16);
	left[EXEC_LAUNCHES] = n;
	left[EXEC_BYTES] = b;
	left[EXEC_DEPTH] = depth;
	charged_launches = charged_bytes = 0;
	throttle_ask(x);
	return x;
}

static bool issue(struct exec *x, unsigned op, uint64_t len)
{
	struct call c = {.op = &vgpu_op_info[op]};

	if (!throttle_allows(x, &c))
		return false;
	if (op == VGPU_OP_LAUNCH)
		x->charged_launches++;
	else
		x->charged_bytes += len;
	return true;
}

static void test_launches(void **state)
{
	struct exec *x = make(&limited, 3, 0, UINT64_MAX);

	for (int i = 0; i < 3; i++)
		assert_true(issue(x, VGPU_OP_LAUNCH, 0));
	assert_false(issue(x, VGPU_OP_LAUNCH, 0));
	assert_true(x->throttle.waits);
	assert_int_equal(charged_launches, 3); /* told before it asked */
	left[EXEC_LAUNCHES] = 2;
	assert_true(issue(x, VGPU_OP_LAUNCH, 0));
	exec_charge(x);
	assert_true(issue(x, VGPU_OP_LAUNCH, 0));
	assert_false(issue(x, VGPU_OP_LAUNCH, 0));
	free(x);
}

/* One copy may go beyond; the next waits. Launches do not wait for bytes, nor other work for either. */
static void test_bytes(void **state)
{
	struct exec *x = make(&limited, UINT64_MAX, 10, UINT64_MAX);

	assert_true(issue(x, VGPU_OP_COPY, 1000));
	assert_false(issue(x, VGPU_OP_MEMSET, 1));
	assert_true(issue(x, VGPU_OP_LAUNCH, 0));
	assert_true(issue(x, VGPU_OP_EVENT_RECORD, 0));
	assert_int_equal(charged_bytes, 1000);
	free(x);
}

static void test_no_limits(void **state)
{
	struct exec *x = make(&free_ops, 0, 0, 0);

	for (int i = 0; i < 1000; i++) {
		assert_true(issue(x, VGPU_OP_LAUNCH, 0));
		assert_true(issue(x, VGPU_OP_COPY, 1ull << 40));
		if (i % 10 == 0)
			exec_charge(x);
	}
	assert_int_equal(throttle_window(x), 16);
	free(x);
}

static void test_depth(void **state)
{
	struct exec *x = make(&limited, UINT64_MAX, UINT64_MAX, 2);

	assert_int_equal(throttle_window(x), 2);
	left[EXEC_DEPTH] = 100;
	throttle_ask(x);
	assert_int_equal(throttle_window(x), 16);
	free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_launches), cmocka_unit_test(test_bytes),
					   cmocka_unit_test(test_no_limits), cmocka_unit_test(test_depth)};

	return cmocka_run_group_tests_name("throttle", tests, NULL, NULL);
}
