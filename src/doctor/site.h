/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the site expects of the host: /etc/vgpu-doctor/site.yaml there, or what --site gives instead.
 *
 *   firmware:    [{board, version, oldest}]        a board's wanted version, or the oldest date that will do
 *   gpus:        [{address, id, subsystem, serial, uuid, part, vbios, inforom}]     the inventory
 *   minima:      {memory_gib, processors, gpus, disk_gb}
 *   advisories:  [{name, product, fixed: [versions]}]     products: nvidia-driver, or a package's name
 *
 * The list may be signed as signify(1) signs (site.yaml.sig, key site.pub). Unknown keys are refused:
 * a misspelt expectation would be none.
 */
#ifndef DOCTOR_SITE_H
#define DOCTOR_SITE_H

#include "evidence.h"

#include <jansson.h>

#define SITE_FILE      "/etc/vgpu-doctor/site.yaml"
#define SITE_SIGNATURE SITE_FILE ".sig"
#define SITE_KEY       "/etc/vgpu-doctor/site.pub"

enum signature { SIGNATURE_NONE, SIGNATURE_GOOD, SIGNATURE_BAD, SIGNATURE_UNKNOWN };

struct site {
	const struct ev_item *src;
	const struct ev_item *signed_item; /* derived: what came of checking the signature */
	enum signature signature;
	json_t *doc;	   /* NULL: no list, or not usable */
	char problem[160]; /* why an existing list cannot be used; "" */
};

void site_collect(struct site *s, struct ev *ev);
void site_free(struct site *s);
/* Gives the list, its signature and the key from files of the auditor's. 0 or an errno. key may be NULL. */
int site_preload(struct ev *ev, const char *path, const char *key);

/* o's text under key; "" when it has none. */
const char *site_text(const json_t *o, const char *key);
/* o's number under key, or otherwise. */
long long site_number(const json_t *o, const char *key, long long otherwise);
/* Does the advisory concern this version? Of several fixed versions the one of the same branch (first
 * number) counts, and where a branch has none, the highest. */
bool advisory_concerns(const json_t *advisory, const char *version);
/* As strcmp, by the numbers in dotted versions; an epoch ("1:") and what follows '-', '+' or '~' do not count. */
int version_compare(const char *a, const char *b);

/* As signify(1): both files' texts, the message's bytes. False also for texts that are none. */
bool signify_verify(const char *key, const char *signature, const void *message, size_t len);

#endif
