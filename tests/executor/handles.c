/* SPDX-License-Identifier: Apache-2.0 */
/* If these fail, a stale or forged handle reaches the driver. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "executor/handles.h"

static void stale_and_forged(void **state)
{
	struct handles *h = calloc(1, sizeof(*h));
	struct obj *a, *b;
	uint32_t old;

	handles_init(h);
	a = obj_add(h, OBJ_STREAM, 7, (void *)1);
	old = obj_handle(a);
	assert_ptr_equal(obj_get(h, OBJ_STREAM, old, 7), a);
	assert_ptr_equal(obj_get(h, OBJ_STREAM, old, 0), a);
	assert_null(obj_get(h, OBJ_STREAM, old, 8)); /* another context's */
	assert_null(obj_get(h, OBJ_EVENT, old, 7));  /* another kind's number */
	assert_null(obj_get(h, OBJ_EVENT, 0, 7));
	assert_ptr_equal(obj_get(h, OBJ_STREAM, 0, 7), &h->legacy);
	assert_null(obj_get(h, OBJ_STREAM, old + 1, 7));
	assert_null(obj_get(h, OBJ_STREAM, 0xffffffff, 7));
	obj_remove(h, OBJ_STREAM, a);
	assert_null(obj_get(h, OBJ_STREAM, old, 7));
	obj_remove(h, OBJ_STREAM, a); /* twice does no harm */
	for (int i = 0; i < 600; i++) {
		b = obj_add(h, OBJ_STREAM, 7, (void *)2);
		assert_non_null(b);
		assert_int_not_equal(obj_handle(b), old);
		assert_null(obj_get(h, OBJ_STREAM, old, 7));
		obj_remove(h, OBJ_STREAM, b);
	}
	handles_free(h);
	free(h);
}

/* Two threads told to destroy the same object: one does, and its slot is not free before it is done. */
static void destroyed_once(void **state)
{
	struct handles *h = calloc(1, sizeof(*h));
	struct obj *a;
	uint32_t handle;

	handles_init(h);
	a = obj_add_with(h, OBJ_FUNC, 7, (void *)1, 3, 5, malloc(8));
	handle = obj_handle(a);
	assert_int_equal(a->parent, 3);
	assert_int_equal(a->bytes, 5);
	assert_false(obj_claim(a, handle + 1));
	assert_true(obj_claim(a, handle));
	assert_false(obj_claim(a, handle));
	assert_null(obj_get(h, OBJ_FUNC, handle, 7));
	assert_non_null(a->data); /* for who found it before */
	for (int i = 0; i < 1000; i++)
		assert_ptr_not_equal(obj_add(h, OBJ_FUNC, 7, NULL), a);
	obj_release(h, OBJ_FUNC, a, handle);
	assert_null(a->data);
	assert_false(obj_claim(&h->legacy, 0));
	handles_free(h);
	free(h);
}

static void the_table_ends(void **state)
{
	struct handles *h = calloc(1, sizeof(*h));

	handles_init(h);
	for (unsigned i = 0; i < OBJ_MAX; i++)
		assert_non_null(obj_add(h, OBJ_EVENT, 1, NULL));
	assert_null(obj_add(h, OBJ_EVENT, 1, NULL));
	handles_free(h);
	free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(stale_and_forged), cmocka_unit_test(destroyed_once), cmocka_unit_test(the_table_ends) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
