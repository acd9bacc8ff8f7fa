/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of concatenated "newc" cpio archives, as an initramfs is: push bytes in pieces of any
 * size, get told of every entry. Between archives any number of zero bytes may lie. Nothing is
 * ever written to disk.
 */
#ifndef DOCTOR_CPIO_H
#define DOCTOR_CPIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPIO_NAME_MAX 4096u
#define CPIO_KEEP_MAX 65536u /* contents handed on are cut here */

struct cpio;

struct cpio_ops {
	/* True: the entry's contents are wanted. name has no leading "./" or '/'. */
	bool (*entry)(void *arg, const char *name, uint32_t mode, uint64_t size);
	void (*contents)(void *arg, const char *name, const char *data, size_t len);
};

struct cpio *cpio_new(const struct cpio_ops *ops, void *arg);
void cpio_free(struct cpio *c);
/* Takes what belongs to cpio archives; returns the bytes taken. Less than len: the rest, which
 * starts right behind an archive, is something else (a compressed archive). */
size_t cpio_push(struct cpio *c, const uint8_t *p, size_t len);
/* NULL, or what is wrong; then cpio_push takes everything and does nothing. */
const char *cpio_problem(const struct cpio *c);
/* True when the stream may end here: between archives. */
bool cpio_idle(const struct cpio *c);

#endif
