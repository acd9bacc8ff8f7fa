/* SPDX-License-Identifier: Apache-2.0 */
/* Placement as a table: devices, a request, which is chosen and what decided. A wrong rule sends VMs to a device
 * where they do not fit, or crowds one while another idles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "vgpud/broker/placement.h"

#define G (1ull << 30)
#define ANY PLACE_NODE_NONE
#define OK .in_service = true
#define DEVICES 4

static const struct place_case {
	const char *what;
	struct place_device d[DEVICES]; /* those with a name */
	struct place_request r;
	int chosen;
	const char *why; /* part of the reason */
} cases[] = {
	{"one device, empty", {{"a", OK, .memory = 4 * G, .node = ANY}}, {.quota = G, .node = ANY}, 0, "only one"},
	{"all that is left", {{"a", OK, .memory = 4 * G, .reserved = 3 * G}}, {.node = ANY}, 0, "only one"},
	{"nothing is left", {{"a", OK, .memory = 4 * G, .reserved = 4 * G}}, {.node = ANY}, -1, "a: 0 B left"},
	{"a byte too much", {{"a", OK, .memory = 4 * G, .reserved = 3 * G}}, {.quota = G + 1, .node = ANY}, -1, "1 GiB left"},
	{"exactly", {{"a", OK, .memory = 4 * G, .reserved = 3 * G}}, {.quota = G, .node = ANY}, 0, "only one"},
	{"its context counts", {{"a", OK, .memory = 4 * G, .reserved = 3 * G}}, {.quota = G, .overhead = 1, .node = ANY}, -1, "left"},
	{"overfull is not huge", {{"a", OK, .memory = G, .reserved = 2 * G}}, {.quota = G, .node = ANY}, -1, "0 B left"},
	{"out of service", {{"a", .memory = 4 * G}, {"b", OK, .memory = 2 * G, .shares = 900}}, {.quota = G, .node = ANY}, 1, "only one"},
	{"all out of service", {{"a", .memory = G}, {"b", .memory = G}}, {.node = ANY}, -1, "a: out of service, b: out of service"},
	{"reservations", {{"a", OK, .memory = 4 * G, .reservations = 60}}, {.quota = G, .reservation = 41, .node = ANY}, -1, "60 %"},
	{"reservations to 100", {{"a", OK, .memory = 4 * G, .reservations = 60}}, {.quota = G, .reservation = 40, .node = ANY}, 0, "only"},
	{"time on the other one", {{"a", OK, .memory = 4 * G, .reservations = 60}, {"b", OK, .memory = 4 * G, .shares = 9}},
	 {.quota = G, .reservation = 50, .node = ANY}, 1, "only one of 2"},
	{"shares", {{"a", OK, .memory = 4 * G, .shares = 200}, {"b", OK, .memory = 4 * G, .shares = 100}}, {.quota = G, .node = ANY}, 1,
	 "of 2 where it fits: the smallest sum of shares"},
	{"a GPU, however busy", {{"a", OK, .cpu = true, .memory = 9 * G}, {"b", OK, .memory = 2 * G, .shares = 4000}},
	 {.quota = G, .node = ANY}, 1, "GPU"},
	{"softcuda, if no GPU has room", {{"a", OK, .cpu = true, .memory = 9 * G}, {"b", OK, .memory = G}}, {.quota = 2 * G, .node = ANY}, 0, "only"},
	{"its node, however busy", {{"a", OK, .memory = 4 * G, .node = 0}, {"b", OK, .memory = 4 * G, .node = 1, .shares = 400}},
	 {.quota = G, .node = 1}, 1, "NUMA"},
	{"another node rather than none", {{"a", OK, .memory = 4 * G, .node = 0}, {"b", OK, .memory = G / 2, .node = 1}},
	 {.quota = G, .node = 1}, 0, "only"},
	{"no node asked", {{"a", OK, .memory = 4 * G, .node = 0, .shares = 1}, {"b", OK, .memory = 4 * G, .node = 1}}, {.quota = G, .node = ANY}, 1,
	 "shares"},
	{"best fit", {{"a", OK, .memory = 8 * G}, {"b", OK, .memory = 2 * G}, {"c", OK, .memory = 4 * G}}, {.quota = G, .node = ANY}, 1,
	 "of 3 where it fits: the least memory"},
	{"linked pairs stay whole", {{"a", OK, .memory = 4 * G, .idle_peers = 1}, {"b", OK, .memory = 4 * G}}, {.quota = G, .node = ANY}, 1, "NVLink"},
	{"alike", {{"a", OK, .memory = 4 * G}, {"b", OK, .memory = 4 * G}, {"c", OK, .memory = 4 * G}}, {.quota = G, .node = ANY}, 0, "alike"},
	{"no device at all", {{0}}, {.quota = G, .node = ANY}, -1, ""},
};

static void test_table(void **state)
{
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct place_case *c = &cases[i];
		char why[PLACE_WHY_LEN];
		unsigned n = 0;
		int chosen;

		while (n < DEVICES && c->d[n].name)
			n++;
		chosen = place_choose(c->d, n, &c->r, why);
		if (chosen != c->chosen || !strstr(why, c->why))
			fail_msg("%s: device %d (%s), not %d (%s)", c->what, chosen, why, c->chosen, c->why);
	}
}

/* More devices than the reason has room for. */
static void test_long_reason(void **state)
{
	struct place_device d[64];
	char why[PLACE_WHY_LEN];

	for (unsigned i = 0; i < 64; i++)
		d[i] = (struct place_device){.name = "a-rather-long-name-of-a-device"};
	assert_int_equal(place_choose(d, 64, &(struct place_request){.quota = 1}, why), -1);
	assert_int_equal(strlen(why), PLACE_WHY_LEN - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_long_reason)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
