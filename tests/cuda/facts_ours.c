/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/cuda.h"
#include "facts.h"

const struct fact ours[] = { FACTS };
const unsigned nours = sizeof(ours) / sizeof(ours[0]);
