/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes out of evidence what nobody else may see. Secrets (passwords, boot loader hashes, private
 * keys, tokens) never leave, in bundles or reports; identity (MAC addresses, serial numbers, UUIDs,
 * the host's name) stays out of bundles. Replacements keep the text's form, so that it parses the
 * same and gives the same verdicts.
 */
#ifndef DOCTOR_REDACT_H
#define DOCTOR_REDACT_H

#include "evidence.h"

enum redact_what { REDACT_SECRETS = 1, REDACT_IDENTITY = 2 };

struct redact {
	unsigned what; /* enum redact_what */
	char host[128]; /* the name to hide; "" none */
	unsigned secrets, identities; /* how many were replaced */
};

/* Returns the cleaned copy (caller frees, NUL-terminated), its length in *out. Any bytes. */
char *redact_bytes(struct redact *r, const char *in, size_t len, size_t *out);
/* Cleans a NUL-terminated text in place if the result fits, as it does for quotes: longer is cut. */
void redact_in_place(char *s, size_t size);
/* Cleans one item for a bundle, by its kind. */
void redact_item(struct redact *r, struct ev_item *it);

#endif
