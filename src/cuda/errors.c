// SPDX-License-Identifier: Apache-2.0
#include "cuda/errors.h"
#include <stddef.h>

static const struct entry {
	int number;
	const char *name, *text;
} table[] = {
	{ 0, "CUDA_SUCCESS", "no error" },
#define E(name, number, text) { number, "CUDA_ERROR_" #name, text },
#include "cuda/errors.def"
#undef E
};

static const struct entry *find(int error)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		if (table[i].number == error)
			return &table[i];
	}
	return NULL;
}

const char *cuda_error_name(int error)
{
	const struct entry *e = find(error);
	return e ? e->name : NULL;
}

const char *cuda_error_text(int error)
{
	const struct entry *e = find(error);
	return e ? e->text : NULL;
}

const char *cuda_error_label(int error)
{
	const char *name = cuda_error_name(error);
	return name ? name : "unknown CUDA error";
}
