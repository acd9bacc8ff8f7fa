/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A YAML text as a JSON value: mappings, lists, and every scalar as the text it is ("2.10" stays
 * "2.10"). Anchors may not be referred to twice and depth is bounded, so a short text stays small.
 */
#ifndef DOCTOR_YAML_JSON_H
#define DOCTOR_YAML_JSON_H

#include <jansson.h>

/* NULL with what is wrong, and in which line, in error. The caller drops the value. */
json_t *yaml_to_json(const char *text, size_t len, char *error, size_t size);

#endif
