/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers as their runtimes' state files describe them (Docker, containerd, CRI-O, Podman). The files
 * carry environments with tokens, so the evidence is a digest of them, one line each:
 * "ID privileged=0|1 gpu=0|1 dev=0|1", dev: the host's /dev is mounted inside.
 */
#ifndef DOCTOR_CONTAINERS_H
#define DOCTOR_CONTAINERS_H

#include "evidence.h"

#include <jansson.h>

struct container {
	char id[16];
	bool privileged, gpu, dev;
};

/* Empty when no runtime keeps state here; cut when a directory or a file could not be read. */
const struct ev_item *containers_digest(struct ev *ev);
/* The next line of a digest's text; false at the end or where it is no such line. */
bool container_next(const char **text, struct container *c);

/* From a parsed file: Docker's hostconfig.json, or an OCI runtime configuration. */
void container_docker(const json_t *o, struct container *c);
void container_oci(const json_t *o, struct container *c);

#endif
