/* SPDX-License-Identifier: Apache-2.0 */
/* A sample as JSON: what is absent has no key. */
#ifndef VGPU_NVML_JSON_H
#define VGPU_NVML_JSON_H
#include <jansson.h>
#include "nvml/health.h"

/* An array, one object for each GPU; its values as of values.def, in base units. A new reference. */
json_t *gpus_json(const struct gpu_sample *s);
/* What is wrong, appended to an array of {what, text}. */
void gpus_problems(const struct gpu_sample *s, json_t *problems);
#endif
