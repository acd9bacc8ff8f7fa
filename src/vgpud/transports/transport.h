/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transport hands {memfd, eventfds} to a peer and does nothing else; the peer's socket then only says,
 * by its end of file, that the peer is gone.
 */
#ifndef VGPUD_TRANSPORT_H
#define VGPUD_TRANSPORT_H
#include <stdint.h>

struct transport_memory {
	int memfd;
	uint64_t bar_size;
	unsigned vectors;
	const int *bells; /* eventfds the peer writes, vectors of them */
	const int *irqs;  /* eventfds the peer waits on */
};

/* The whole of the ivshmem server protocol, sent without waiting: a fresh socket has the room. 0 or -errno. */
int ivshmem_handover(int sock, const struct transport_memory *mem);
/* mem NULL: a refusal with status and text. 0 or -errno. */
int unix_handover(int sock, const struct transport_memory *mem, uint32_t status, const char *text);
#endif
