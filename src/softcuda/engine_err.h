/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The results the engine returns: the driver API's own numbers (CUresult), so that drv_*.c passes
 * them through. The engine does not include cuda.h: it knows nothing of the driver API.
 */
#ifndef SOFTCUDA_ENGINE_ERR_H
#define SOFTCUDA_ENGINE_ERR_H

enum sc_result {
	SC_OK = 0,
	SC_INVALID_VALUE = 1,
	SC_OUT_OF_MEMORY = 2,
	SC_INVALID_PTX = 218,
	SC_UNSUPPORTED_PTX_VERSION = 222,
	SC_NOT_FOUND = 500,
	SC_ILLEGAL_ADDRESS = 700,
	SC_OUT_OF_RESOURCES = 701,
	SC_LAUNCH_TIMEOUT = 702,
	SC_ASSERT = 710,
	SC_ALREADY_REGISTERED = 712,
	SC_NOT_REGISTERED = 713,
	SC_ILLEGAL_INSTRUCTION = 715,
	SC_MISALIGNED_ADDRESS = 716,
	SC_INVALID_ADDRESS_SPACE = 717,
	SC_INVALID_PC = 718,
	SC_LAUNCH_FAILED = 719,
	SC_NOT_SUPPORTED = 801,
};
#endif
