/* SPDX-License-Identifier: Apache-2.0 */
#include <ffnvcodec/dynlink_cuda.h>
#include "facts.h"

const struct fact ffmpegs[] = { FACTS };
