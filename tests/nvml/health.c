/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML that fails and lies: every function with every error, at the first call and at every call, and every function
 * with outputs full of nonsense. What is then shown of a GPU is what was shown before or nothing; never another number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "fake.h"
#include "nvml/history.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const functions[] = {
#define F(name) #name,
#include "nvml/functions.def"
#undef F
};
#define FUNCTIONS (sizeof(functions) / sizeof(*functions))

/* nvmlReturn_t's, and numbers it does not have. */
static const int errors[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 27, 999, 12345};

static struct gpu_sample base;

static void printable(const char *s, size_t size)
{
	assert_non_null(memchr(s, 0, size));
	for (; *s; s++)
		assert_true(isprint((unsigned char)*s));
}

/* A counter may grow, and nobody can tell a large one from a lie. */
static bool counter(unsigned v)
{
	const char *end = strstr(gpu_values[v].key, "_total");

	return end && !end[6];
}

static void believable(const struct gpu *g, const struct gpu *was, const char *fault)
{
	assert_true(gpu_plausible(g));
	printable(g->name, sizeof(g->name));
	printable(g->uuid, sizeof(g->uuid));
	printable(g->bus_id, sizeof(g->bus_id));
	for (unsigned v = 0; v < GPU_VALUES; v++)
		if (g->value[v] != -1 && g->value[v] != was->value[v] && v != GPU_LOST && v != GPU_LINKS && v != GPU_LINKS_UP &&
		    v != GPU_MIG_DEVICES && !counter(v))
			fail_msg("%s: %s is %lld, was %lld", fault, gpu_values[v].key, (long long)g->value[v], (long long)was->value[v]);
	if (g->peers != -1 && g->peers != was->peers)
		fail_msg("%s: peers are %#llx, were %#llx", fault, (unsigned long long)g->peers, (unsigned long long)was->peers);
	for (unsigned i = 0; i < g->instances; i++) {
		printable(g->instance[i].uuid, NV_TEXT);
		assert_true(g->instance[i].memory <= was->value[GPU_MEMORY]);
	}
	for (unsigned i = 0; i < g->processes; i++)
		assert_in_range(g->process[i].pid, 1, INT32_MAX);
}

/* Two reads with the fault, one without. False: nothing changed. */
static bool try_fault(const char *fault)
{
	struct gpu_reader *r = gpu_reader_new();
	const struct gpu_sample *s;
	bool changed = false;

	assert_non_null(r);
	fake_nvml_fault(fault);
	for (int i = 0; i < 2; i++) {
		s = gpu_read(r);
		assert_true(s->gpus <= NV_GPUS_MAX);
		printable(s->driver, sizeof(s->driver));
		for (unsigned k = 0; k < s->gpus; k++) {
			believable(&s->gpu[k], &base.gpu[k < base.gpus ? k : 0], fault);
			changed |= k >= base.gpus || memcmp(&s->gpu[k], &base.gpu[k], sizeof(s->gpu[k])) != 0;
		}
		changed |= s->rc || s->gpus != base.gpus || strcmp(s->driver, base.driver) != 0;
	}
	fake_nvml_fault(NULL);
	s = gpu_read(r);
	assert_int_equal(s->rc, 0);
	for (unsigned k = 0; k < base.gpus; k++)
		assert_int_equal(s->gpu[k].value[GPU_TEMPERATURE], base.gpu[k].value[GPU_TEMPERATURE]);
	gpu_reader_free(r);
	return changed;
}

static int take_base(void **state)
{
	struct gpu_reader *r = gpu_reader_new();

	fake_nvml_fault(NULL);
	assert_non_null(r);
	memcpy(&base, gpu_read(r), sizeof(base));
	gpu_reader_free(r);
	return base.rc;
}

static void test_values(void **state)
{
	assert_int_equal(base.gpus, 2);
	assert_string_equal(base.gpu[0].name, "NVIDIA H200");
	assert_true(base.gpu[0].value[GPU_TEMPERATURE] > 0);
	assert_int_equal(base.gpu[0].value[GPU_LOST], 0);
	assert_int_equal(base.gpu[0].value[GPU_ENERGY], -1); /* the capture does not say */
	assert_string_not_equal(base.gpu[0].bus_id, base.gpu[1].bus_id);
}

/* Those gpu_read() calls; without one of them something must be missing. */
static bool used(const char *fn)
{
	struct gpu_reader *r = gpu_reader_new();
	bool yes;

	fake_nvml_fault(NULL);
	gpu_read(r);
	yes = fake_nvml_calls(fn) > 0;
	gpu_reader_free(r);
	return yes;
}

/* The answer is the same with and without: what it says is not in this capture, or nothing is made of it. */
static bool answers_nothing(const char *fn)
{
	static const struct {
		const char *fn;
		int value; /* -1: never */
	} of[] = {{"Shutdown", -1}, {"EventSetWait_v2", -1}, {"DeviceGetNvLinkState", GPU_LINKS},
		  {"DeviceGetRemappedRows", GPU_ROWS_CORRECTED}, {"DeviceGetUtilizationRates", GPU_UTILIZATION}};

	for (size_t i = 0; i < sizeof(of) / sizeof(*of); i++)
		if (!strcmp(fn, of[i].fn))
			return of[i].value < 0 || base.gpu[0].value[of[i].value] < 0;
	return false;
}

static void test_errors(void **state)
{
	unsigned faults = 0, asked = 0;

	for (size_t f = 0; f < FUNCTIONS; f++) {
		bool is_used = used(functions[f]);

		asked += is_used;
		for (size_t e = 0; e < sizeof(errors) / sizeof(*errors); e++)
			for (unsigned nth = 0; nth < (errors[e] == 15 || errors[e] == 999 ? 2 : 1); nth++) {
				char fault[96];

				snprintf(fault, sizeof(fault), "%s:%u:error=%d", functions[f], nth, errors[e]);
				if (nth == 0 && errors[e] == 999 && is_used && !answers_nothing(functions[f])) {
					if (!try_fault(fault))
						fail_msg("%s changes nothing", fault);
				} else if (nth != 1 || strcmp(functions[f], "Init_v2")) {
					try_fault(fault);
				}
				faults++;
			}
	}
	print_message("%u faults, %u functions asked\n", faults, asked);
	assert_true(asked > 25);
}

static void test_lies(void **state)
{
	static const char *const bytes[] = {"ff", "7f", "41", "80"};

	for (size_t f = 0; f < FUNCTIONS; f++)
		for (size_t b = 0; b < sizeof(bytes) / sizeof(*bytes); b++) {
			char fault[96];

			snprintf(fault, sizeof(fault), "%s:0:lie=%s", functions[f], bytes[b]);
			try_fault(fault);
		}
}

/* Who is joined to whom; one who is not asked, or does not say, is not "joined to nobody". */
static void test_peers(void **state)
{
	struct gpu_reader *r = gpu_reader_new();
	const struct gpu_sample *s;

	assert_int_equal(base.gpu[0].peers, 1 << 1);
	assert_int_equal(base.gpu[1].peers, 1 << 0);
	s = gpu_read(r);
	s = gpu_read(r);
	assert_int_equal(fake_nvml_calls("DeviceGetP2PStatus"), 1); /* one pair, once */
	assert_int_equal(s->gpu[1].peers, 1 << 0);
	gpu_reader_free(r);
	fake_nvml_fault("DeviceGetP2PStatus:0:error=3");
	r = gpu_reader_new();
	assert_int_equal(gpu_read(r)->gpu[0].peers, -1);
	gpu_reader_free(r);
	fake_nvml_fault(NULL);
}

static void test_vanishing(void **state)
{
	struct gpu_reader *r = gpu_reader_new();
	const struct gpu_sample *s = gpu_read(r);

	assert_int_equal(s->gpus, 2);
	fake_nvml_fault("DeviceGetCount_v2:0:gone");
	s = gpu_read(r);
	assert_int_equal(s->gpus, 2);
	assert_int_equal(s->gpu[1].value[GPU_LOST], 1);
	assert_int_equal(s->gpu[1].value[GPU_TEMPERATURE], -1);
	assert_string_equal(s->gpu[1].name, "NVIDIA H200");
	assert_non_null(strstr(gpu_problem(&s->gpu[1], 0), "answers no more"));
	fake_nvml_fault("DeviceGetPowerUsage:0:error=15");
	s = gpu_read(r);
	assert_int_equal(s->gpu[0].value[GPU_LOST], 1);
	gpu_reader_free(r);
}

/* NVML counts those that are left: the first place is still the first GPU's, and says nothing of the other. */
static void test_one_vanishes(void **state)
{
	static const char *const faults[] = {"DeviceGetCount_v2:0:gone=0", "DeviceGetHandleByIndex_v2:0:lost=0"};

	for (size_t f = 0; f < sizeof(faults) / sizeof(*faults); f++) {
		struct gpu_reader *r = gpu_reader_new();
		const struct gpu_sample *s = gpu_read(r);

		fake_nvml_fault(faults[f]);
		s = gpu_read(r);
		assert_int_equal(s->gpus, 2);
		assert_string_equal(s->gpu[0].uuid, base.gpu[0].uuid);
		assert_string_equal(s->gpu[0].bus_id, base.gpu[0].bus_id);
		assert_int_equal(s->gpu[0].value[GPU_LOST], 1);
		assert_int_equal(s->gpu[0].value[GPU_TEMPERATURE], -1);
		assert_string_equal(s->gpu[1].uuid, base.gpu[1].uuid);
		assert_string_equal(s->gpu[1].bus_id, base.gpu[1].bus_id);
		assert_int_equal(s->gpu[1].value[GPU_LOST], 0);
		assert_int_equal(s->gpu[1].value[GPU_TEMPERATURE], base.gpu[1].value[GPU_TEMPERATURE]);
		gpu_reader_free(r);
		r = gpu_reader_new(); /* that never saw it */
		s = gpu_read(r);
		assert_int_equal(s->gpus, f ? 2 : 1);
		assert_string_equal(s->gpu[s->gpus - 1].uuid, base.gpu[1].uuid); /* where NVML has it: vgpu-admin's index */
		assert_int_equal(s->gpu[s->gpus - 1].value[GPU_LOST], 0);
		fake_nvml_fault(NULL);
		s = gpu_read(r);
		assert_int_equal(s->gpus, 2);
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(s->gpu[i].value[GPU_LOST], 0);
		assert_string_not_equal(s->gpu[0].uuid, s->gpu[1].uuid);
		gpu_reader_free(r);
	}
}

/* A UUID that is not told for a while makes no other GPU. */
static void test_nameless(void **state)
{
	struct gpu_reader *r = gpu_reader_new();
	const struct gpu_sample *s;

	fake_nvml_fault("DeviceGetUUID:0:error=999");
	s = gpu_read(r);
	assert_int_equal(s->gpus, 2);
	assert_string_equal(s->gpu[1].uuid, "");
	fake_nvml_fault(NULL);
	s = gpu_read(r);
	fake_nvml_fault("DeviceGetUUID:0:lie=41");
	s = gpu_read(r);
	assert_int_equal(s->gpus, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_string_equal(s->gpu[i].uuid, base.gpu[i].uuid);
		assert_int_equal(s->gpu[i].value[GPU_LOST], 0);
	}
	gpu_reader_free(r);
	fake_nvml_fault(NULL);
}

static void test_xid(void **state)
{
	struct gpu_reader *r = gpu_reader_new();
	const struct gpu_sample *s = gpu_read(r);

	assert_int_equal(s->gpu[0].value[GPU_XIDS], 0);
	fake_nvml_fault("EventSetWait_v2:0:xid=79");
	s = gpu_read(r);
	assert_int_equal(s->gpu[0].value[GPU_XIDS], 1);
	assert_int_equal(s->gpu[0].value[GPU_LAST_XID], 79);
	assert_int_equal(s->gpu[1].value[GPU_XIDS], 0);
	assert_int_equal(s->gpus, 2);
	fake_nvml_fault("EventSetWait_v2:0:xid=31");
	s = gpu_read(r);
	assert_int_equal(s->gpu[0].value[GPU_XIDS], 2);
	assert_int_equal(s->gpu[0].value[GPU_HARDWARE_XIDS], 1);
	assert_int_equal(s->gpu[0].value[GPU_LAST_XID], 31);
	assert_int_equal(s->gpu[0].value[GPU_LAST_HARDWARE_XID], 79);
	fake_nvml_fault("DeviceGetCount_v2:0:gone=0"); /* what was counted is told of one that is gone, too */
	assert_int_equal(gpu_read(r)->gpu[0].value[GPU_XIDS], 2);
	gpu_reader_free(r);
	fake_nvml_fault("DeviceRegisterEvents:0:error=4");
	r = gpu_reader_new();
	assert_int_equal(gpu_read(r)->gpu[0].value[GPU_XIDS], -1); /* no permission: not zero, unknown */
	gpu_reader_free(r);
}

/* ---- over many samples ---- */

static struct gpu_history history;

/* What a new process says first, and then. */
static const struct gpu_sample *another_process(struct gpu_reader **r, int64_t now_ms)
{
	gpu_reader_free(*r);
	*r = gpu_reader_new();
	gpu_history_restart(&history);
	gpu_history_take(&history, gpu_read(*r), now_ms);
	return &history.s;
}

static const struct gpu_sample *again(struct gpu_reader *r, const char *fault, int64_t now_ms)
{
	fake_nvml_fault(fault);
	gpu_history_take(&history, gpu_read(r), now_ms);
	return &history.s;
}

static void test_history_identity(void **state)
{
	struct gpu_reader *r = NULL;
	const struct gpu_sample *s;

	memset(&history, 0, sizeof(history));
	fake_nvml_fault(NULL);
	s = another_process(&r, 1000);
	assert_int_equal(s->gpus, 2);
	for (int listed = 0; listed < 2; listed++) {
		fake_nvml_fault(listed ? "DeviceGetHandleByIndex_v2:0:lost=0" : "DeviceGetCount_v2:0:gone=0");
		s = another_process(&r, 2000);
		assert_int_equal(s->gpus, 2);
		assert_string_equal(s->gpu[0].uuid, base.gpu[0].uuid);
		assert_int_equal(s->gpu[0].value[GPU_LOST], 1);
		assert_int_equal(s->gpu[0].value[GPU_POWER], -1);
		assert_string_equal(s->gpu[1].uuid, base.gpu[1].uuid);
		assert_int_equal(s->gpu[1].value[GPU_LOST], 0);
		assert_int_equal(s->gpu[1].value[GPU_POWER], base.gpu[1].value[GPU_POWER]);
		assert_true(gpu_plausible(&s->gpu[0]) && gpu_plausible(&s->gpu[1]));
		s = again(r, NULL, 3000);
		assert_int_equal(s->gpu[0].value[GPU_LOST], 0);
		assert_int_equal(s->gpus, 2);
	}
	gpu_reader_free(r);
}

/* A program's error is no trouble of the GPU; the hardware's is for a while, and both are counted for good. */
static void test_history_xid(void **state)
{
	struct gpu_reader *r = NULL;
	const struct gpu_sample *s;

	memset(&history, 0, sizeof(history));
	fake_nvml_fault(NULL);
	s = another_process(&r, 1000);
	assert_int_equal(s->gpu[0].value[GPU_XIDS], 0);
	s = again(r, "EventSetWait_v2:0:xid=31", 2000);
	assert_int_equal(s->gpu[0].value[GPU_XIDS], 1);
	assert_null(gpu_problem(&s->gpu[0], 0));
	s = again(r, "EventSetWait_v2:0:xid=79", 3000);
	assert_int_equal(s->gpu[0].value[GPU_RECENT_XID], 79);
	assert_non_null(strstr(gpu_problem(&s->gpu[0], 0), "Xid"));
	fake_nvml_fault(NULL);
	s = another_process(&r, 4000);
	assert_int_equal(s->gpu[0].value[GPU_XIDS], 2);
	assert_int_equal(s->gpu[0].value[GPU_HARDWARE_XIDS], 1);
	assert_int_equal(s->gpu[0].value[GPU_LAST_XID], 79);
	assert_non_null(gpu_problem(&s->gpu[0], 0));
	s = again(r, "EventSetWait_v2:0:xid=13", 5000);
	assert_int_equal(s->gpu[0].value[GPU_XIDS], 3);
	assert_int_equal(s->gpu[0].value[GPU_LAST_XID], 13);
	s = again(r, NULL, 3000 + GPU_XID_RECENT_MS);
	assert_null(gpu_problem(&s->gpu[0], 0));
	assert_int_equal(s->gpu[0].value[GPU_HARDWARE_XIDS], 1);
	assert_int_equal(s->gpu[1].value[GPU_XIDS], 0);
	gpu_reader_free(r);
}

static void test_history_links(void **state)
{
	struct gpu_sample s = {.gpus = 1};
	struct gpu *g = &s.gpu[0];

	memset(&history, 0, sizeof(history));
	*g = base.gpu[0];
	g->value[GPU_LINKS] = 18;
	for (int64_t up = 4; up >= 0; up -= 4) { /* that 14 are connected to nothing is nothing wrong */
		g->value[GPU_LINKS_UP] = up;
		gpu_history_take(&history, &s, 1000);
		if (up)
			assert_null(gpu_problem(&history.s.gpu[0], 0));
		else
			assert_non_null(strstr(gpu_problem(&history.s.gpu[0], 0), "NVLinks"));
	}
	g->value[GPU_LINKS_UP] = 4;
	gpu_history_take(&history, &s, 1000);
	assert_null(gpu_problem(&history.s.gpu[0], 0));
}

static void test_history_failures(void **state)
{
	struct gpu_sample s = {.failures = 5};

	memset(&history, 0, sizeof(history));
	gpu_history_take(&history, &s, 1000);
	gpu_history_take(&history, &s, 2000);
	gpu_history_restart(&history);
	s.failures = 7;
	gpu_history_take(&history, &s, 3000);
	assert_int_equal(history.s.failures, 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values), cmocka_unit_test(test_errors), cmocka_unit_test(test_lies),
		cmocka_unit_test(test_peers), cmocka_unit_test(test_vanishing), cmocka_unit_test(test_one_vanishes),
		cmocka_unit_test(test_nameless), cmocka_unit_test(test_xid), cmocka_unit_test(test_history_identity),
		cmocka_unit_test(test_history_xid), cmocka_unit_test(test_history_links), cmocka_unit_test(test_history_failures),
	};

	return cmocka_run_group_tests(tests, take_base, NULL);
}
