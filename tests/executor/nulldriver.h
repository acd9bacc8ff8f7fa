/* SPDX-License-Identifier: Apache-2.0 */
/* For a program that holds the pretended driver within itself. */
#ifndef VGPU_TESTS_NULLDRIVER_H
#define VGPU_TESTS_NULLDRIVER_H
#include <stdint.h>

extern uint64_t nulldriver_busy_max;	/* ns: no kernel keeps a stream longer; UINT64_MAX at first */
extern void (*nulldriver_called)(void); /* before each copy and launch reads what it was given; NULL at first */
/* As after loading: no memory, no fault. Nothing may be running. */
void nulldriver_reset(void);
#endif
