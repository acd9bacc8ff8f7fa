/* SPDX-License-Identifier: Apache-2.0 */
/* Names and texts of CUresult, as cuGetErrorName and cuGetErrorString give them. Static strings. */
#ifndef VGPU_CUDA_ERRORS_H
#define VGPU_CUDA_ERRORS_H

const char *cuda_error_name(int error); /* "CUDA_ERROR_INVALID_VALUE"; NULL for an unknown number */
const char *cuda_error_text(int error); /* "invalid argument"; NULL for an unknown number */
/* For messages: never NULL. */
const char *cuda_error_label(int error);
#endif
