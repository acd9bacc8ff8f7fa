/* SPDX-License-Identifier: Apache-2.0 */
/* What the auditor brings along (site lists, logs) and what package managers and container runtimes keep.
 * If these fail, a good host is blamed or a bad one is not. */
#include "containers.h"
#include "klog.h"
#include "rpmdb.h"
#include "site.h"
#include "yaml_json.h"

#include <nettle/base64.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void versions_compare_by_number(void **state)
{
	(void)state;
	assert_true(version_compare("1.17.9-1", "1.17.10") < 0);
	assert_true(version_compare("570.172.08", "570.172.8") == 0);
	assert_true(version_compare("1:10.0.2+ds-2", "10.0.2") == 0);
	assert_true(version_compare("2", "1.99") > 0);
	assert_true(version_compare("1.17", "1.17.1") < 0);
}

static bool concerned(const char *fixed, const char *version)
{
	json_t *a = json_pack("{s:o}", "fixed", json_loads(fixed, 0, NULL));
	bool r = advisory_concerns(a, version);

	json_decref(a);
	return r;
}

static void advisories_go_by_branch(void **state)
{
	(void)state;
	assert_true(concerned("[\"535.261.03\", \"570.172.08\"]", "535.183.01"));
	assert_false(concerned("[\"535.261.03\", \"570.172.08\"]", "535.261.03"));
	assert_true(concerned("[\"535.261.03\", \"570.172.08\"]", "550.90.07")); /* no fix in its branch */
	assert_false(concerned("[\"535.261.03\", \"570.172.08\"]", "580.65.06"));
	assert_false(concerned("[]", "1.0"));
}

static struct site *site_of(struct ev *ev, struct site *s, const char *text)
{
	memset(s, 0, sizeof(*s));
	ev_put(ev, EV_READ, SITE_FILE, 0, text, strlen(text));
	ev_put(ev, EV_DERIVED, "signature:" SITE_FILE, 0, "none", 4);
	site_collect(s, ev);
	return s;
}

static void a_misspelt_expectation_is_refused(void **state)
{
	static const char *const bad[] = {"firmwares: []\n", "firmware: {}\n", "firmware: [{bord: X}]\n", "gpus: [x]\n", "minima: []\n",
					  "- a\n", "minima: {gpus: {a: b}}\n", "gpus: [{address: a, address: b}]\n", "a: [\n", ""};
	struct site s;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct ev *ev = ev_closed();

		site_of(ev, &s, bad[i]);
		if (s.doc || !*s.problem)
			fail_msg("taken: %s", bad[i]);
		site_free(&s);
		ev_free(ev);
	}
}

static void a_site_list_is_text(void **state)
{
	struct ev *ev = ev_closed();
	struct site s;

	(void)state;
	site_of(ev, &s, "firmware:\n- {board: X, version: 2.10}\nminima: {gpus: 8, memory_gib: -1}\n");
	assert_non_null(s.doc);
	assert_string_equal(site_text(json_array_get(json_object_get(s.doc, "firmware"), 0), "version"), "2.10");
	assert_int_equal(site_number(json_object_get(s.doc, "minima"), "gpus", 2), 8);
	assert_int_equal(site_number(json_object_get(s.doc, "minima"), "memory_gib", 64), 64);
	assert_int_equal(s.signature, SIGNATURE_NONE);
	site_free(&s);
	ev_free(ev);
}

/* Ten aliases of ten aliases, eight deep, would be a hundred million values. */
static void yaml_aliases_stay_small(void **state)
{
	char text[1024] = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n", error[160];

	(void)state;
	for (int i = 1; i < 7; i++) {
		size_t n = strlen(text);

		n += (size_t)sprintf(text + n, "a%d: &a%d [", i, i);
		for (int k = 0; k < 10; k++)
			n += (size_t)sprintf(text + n, "*a%d%s", i - 1, k < 9 ? "," : "]\n");
	}
	assert_null(yaml_to_json(text, strlen(text), error, sizeof(error)));
	assert_non_null(strstr(error, "too long"));
	assert_null(yaml_to_json("&a [*a]", 7, error, sizeof(error)));
}

/* RFC 8032, 7.1, test 1: the empty message. */
static void signatures(void **state)
{
	static const char pub[] = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
	static const char sig[] = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
	char text[2][256];

	(void)state;
	for (int t = 0; t < 2; t++) {
		const char *hex = t ? sig : pub;
		uint8_t raw[128] = "Ed12345678";
		size_t n = strlen(hex) / 2;

		for (size_t i = 0; i < n; i++)
			raw[10 + i] = (uint8_t)strtoul((char[]){hex[2 * i], hex[2 * i + 1], 0}, NULL, 16);
		strcpy(text[t], "untrusted comment: test\n");
		base64_encode_raw(text[t] + 24, 10 + n, raw);
		strcpy(text[t] + 24 + BASE64_ENCODE_RAW_LENGTH(10 + n), "\n");
	}
	assert_true(signify_verify(text[0], text[1], "", 0));
	assert_false(signify_verify(text[0], text[1], "x", 1));
	text[1][40] = text[1][40] == 'A' ? 'B' : 'A';
	assert_false(signify_verify(text[0], text[1], "", 0));
	assert_false(signify_verify("", text[1], "", 0));
	assert_false(signify_verify(text[0], "untrusted comment: x\n", "", 0));
}

static void journal_as_json(void **state)
{
	struct klog k = {0};
	unsigned n = klog_scan(&k, NULL, "{\"_TRANSPORT\":\"kernel\",\"MESSAGE\":\"AMD-Vi: Unknown option - 'on'\"}\n"
					 "{\"MESSAGE\":[68,77,65,82,58,32,73,79,77,77,85,32,101,110,97,98,108,101,100,0]}\n"
					 "{\"MESSAGE\":null}\n{not json\n"
					 "Nov 22 10:00:00 h kernel: DMAR: IOMMU enabled\n");

	(void)state;
	assert_int_equal(n, 5);
	assert_int_equal(k.n, 3);
	assert_string_equal(k.hit[0].rule->name, "amd-unknown-option");
	assert_string_equal(k.hit[0].match[0], "on");
	assert_string_equal(k.hit[1].rule->name, "iommu-intel-on");
	assert_int_equal(k.hit[2].line, 5);
	klog_free(&k);
}

static struct container parsed(const char *text, void (*parse)(const json_t *, struct container *))
{
	json_t *o = json_loads(text, 0, NULL);
	struct container c = {.id = ""};

	assert_non_null(o);
	parse(o, &c);
	json_decref(o);
	return c;
}

static void container_state(void **state)
{
	struct container c = parsed("{\"Privileged\":true,\"Devices\":[{\"PathOnHost\":\"/dev/nvidia0\"}]}", container_docker);

	(void)state;
	assert_true(c.privileged && c.gpu && !c.dev);
	c = parsed("{\"Binds\":[\"/dev:/hostdev:ro\"],\"DeviceRequests\":[]}", container_docker);
	assert_true(!c.privileged && !c.gpu && c.dev);
	c = parsed("{\"Binds\":[\"/devel:/x\"],\"DeviceRequests\":null}", container_docker);
	assert_true(!c.dev && !c.gpu);
	/* CAP_SYS_ADMIN alone, or every device alone, is not --privileged. */
	c = parsed("{\"process\":{\"capabilities\":{\"effective\":[\"CAP_SYS_ADMIN\"]},\"env\":[\"NVIDIA_VISIBLE_DEVICES=void\"]},"
		   "\"linux\":{\"resources\":{\"devices\":[{\"allow\":true},{\"allow\":false,\"type\":\"a\"}]}}}", container_oci);
	assert_true(!c.privileged && !c.gpu);
	c = parsed("{\"mounts\":[{\"source\":\"/dev\",\"destination\":\"/dev\"}]}", container_oci);
	assert_true(c.dev);
}

static void no_header(const struct rpm_header *h, void *arg)
{
	(void)h, (void)arg;
}

static bool all(const char *name, void *arg)
{
	(void)name, (void)arg;
	return true;
}

/* A header that points outside itself, and files that are no database. */
static void rpm_believes_nothing(void **state)
{
	static const uint8_t head[] = {0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 3, 232, 0, 0, 0, 6, 255, 255, 255, 255, 0, 0, 0, 1, 'a', 'b', 'c', 'd'};
	char path[] = "/tmp/doctor-rpm-XXXXXX";
	struct rpm_header h;
	int fd = mkstemp(path);

	(void)state;
	assert_true(rpm_header_parse(&h, head, sizeof(head)));
	assert_null(rpm_text(&h, RPM_NAME, 0));
	assert_null(rpm_text(&h, RPM_VERSION, 0));
	assert_int_equal(rpm_number(&h, RPM_NAME, 0, 7), 7);
	assert_false(rpm_header_parse(&h, head, sizeof(head) - 1));
	assert_true(fd >= 0 && !unlink(path));
	assert_true(rpmdb_sqlite(fd, all, no_header, NULL) != 0);
	assert_true(rpmdb_ndb(fd, all, no_header, NULL) != 0);
	assert_int_equal(write(fd, "SQLite format 3", 16), 16);
	assert_int_equal(ftruncate(fd, 1 << 16), 0);
	assert_true(rpmdb_sqlite(fd, all, no_header, NULL) != 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions_compare_by_number), cmocka_unit_test(advisories_go_by_branch),
		cmocka_unit_test(a_misspelt_expectation_is_refused), cmocka_unit_test(a_site_list_is_text),
		cmocka_unit_test(yaml_aliases_stay_small), cmocka_unit_test(signatures), cmocka_unit_test(journal_as_json),
		cmocka_unit_test(container_state), cmocka_unit_test(rpm_believes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
