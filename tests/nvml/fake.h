/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A libnvidia-ml.so.1 whose numbers are those of a capture of real nvidia-smi output, and which fails on demand. What
 * the capture does not say is NVML_ERROR_NOT_SUPPORTED. Its GPUs are the one of the capture, as often as wanted, on
 * following buses, the last digit of its UUID counted up. Environment:
 *   FAKE_NVML_CAPTURE=FILE   needed
 *   FAKE_NVML_GPUS=N         1
 *   FAKE_NVML_LINKED="0-2 1-3"  NVLink joins these GPUs, no others; without it, NVML does not tell
 *   FAKE_NVML=FAULT          from the start
 *   FAKE_NVML_CONTROL=FILE   a FAULT to take from there, looked for at every DeviceGetCount_v2
 * FAULT: "FUNCTION:NTH:HOW"; function without "nvml", NTH call of it from now on, 0: every one; HOW: error=N, lie=BYTE
 * (its outputs are full of it, texts without an end; 7f: the blank values about 2^63), hang, crash, gone (count is 0),
 * gone=I (all but GPU I are counted, and those behind it move up), lost=I (it is counted, and has no handle), xid=N (one
 * event, of GPU 0).
 */
#ifndef TESTS_NVML_FAKE_H
#define TESTS_NVML_FAKE_H

/* For a program that has it loaded. fault NULL: none. */
void fake_nvml_fault(const char *fault);
/* How often the function was called since the last fake_nvml_fault(). */
unsigned fake_nvml_calls(const char *function);
#endif
