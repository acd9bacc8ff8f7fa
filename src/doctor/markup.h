/* SPDX-License-Identifier: Apache-2.0 */
/* Text of an audited host inside XML or HTML: it may be anything and must stay text. */
#ifndef DOCTOR_MARKUP_H
#define DOCTOR_MARKUP_H

#include <stdio.h>

/* Escapes & < > " '; what is no printable UTF-8 becomes '?'. */
void put_escaped(FILE *f, const char *s);

#endif
