/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOFTCUDA_LEAF_H
#define SOFTCUDA_LEAF_H
#include "softcuda/ptx.h"
uint16_t leaf_f64_to_f16(double d, enum ptx_round r);
uint16_t leaf_f64_to_bf16(double d, enum ptx_round r);
#endif
