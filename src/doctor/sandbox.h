/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After this a process can read files and write to the descriptors it has, and nothing else: no
 * write, create, rename or device control below /, no network, no new program. Landlock bounds the
 * paths, seccomp the system calls; kernels without landlock get seccomp alone.
 */
#ifndef DOCTOR_SANDBOX_H
#define DOCTOR_SANDBOX_H

/* NULL when both are in force, else what is missing and why (a static text). writable_dir: a
 * directory in which files may still be made, written and removed; -1 for none. */
const char *sandbox_read_only(int writable_dir);

#endif
