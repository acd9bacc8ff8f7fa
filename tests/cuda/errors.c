// SPDX-License-Identifier: Apache-2.0
/* Error names, and the loader's refusals: each one line that says what and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "cuda/errors.h"
#include "cuda/loader.h"

static void names(void **state)
{
	assert_string_equal(cuda_error_name(0), "CUDA_SUCCESS");
	assert_string_equal(cuda_error_name(700), "CUDA_ERROR_ILLEGAL_ADDRESS");
	assert_string_equal(cuda_error_text(1), "invalid argument");
	assert_null(cuda_error_name(-1));
	assert_null(cuda_error_text(12345));
	assert_string_equal(cuda_error_label(12345), "unknown CUDA error");
}

static void loader_refuses(void **state)
{
	struct cuda_driver d;
	char err[512];
	assert_int_equal(cuda_driver_open(&d, "/nonexistent/libcuda.so.1", err, sizeof err), -1);
	assert_non_null(strstr(err, "/nonexistent/libcuda.so.1"));
	assert_non_null(strstr(err, "VGPU_DRIVER"));
	assert_int_equal(cuda_driver_open(&d, "libm.so.6", err, sizeof err), -1);
	assert_non_null(strstr(err, "lacks cuInit"));
	assert_null(d.handle);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(names), cmocka_unit_test(loader_refuses) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
