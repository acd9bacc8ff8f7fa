/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a certificate's validity, and nothing else of X.509. */
#ifndef DOCTOR_X509_H
#define DOCTOR_X509_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* notAfter of the first certificate in a PEM text, seconds since 1970; false if there is none. */
bool pem_not_after(const char *pem, size_t len, int64_t *t);

#endif
