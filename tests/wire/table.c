/* SPDX-License-Identifier: Apache-2.0 */
/* If these fail, the API table promises what descriptor, completion or payload area cannot hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "wire/ops.h"

static void every_call_fits(void **state)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < VGPU_OP_COUNT; i++) {
		const struct vgpu_op_info *o = &vgpu_op_info[i];
		uint32_t body = o->in_size > VGPU_INLINE_IN ? o->in_size : 0;

		if (!o->name)
			continue;
		seen++;
		assert_true(o->out_size <= VGPU_INLINE_OUT);
		assert_true(o->payload_min <= o->payload_max);
		assert_true(body + o->payload_max + o->reply_max <= VGPU_BLOCK_SIZE);
		if (o->flags & VGPU_OP_WORK)
			assert_false(o->flags & (VGPU_OP_SYNC | VGPU_OP_HELPER));
		else
			assert_false(o->flags & (VGPU_OP_GATED | VGPU_OP_UNIT));
	}
	assert_true(seen > 30);
	assert_null(vgpu_op_info[0].name); /* a zeroed slot is never a call */
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_call_fits) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
