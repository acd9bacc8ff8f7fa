/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doctor's leaves one by one: parsers, redaction, rules, the engine's precedence. A failure here
 * names the module that is wrong; the host tests only show that something is.
 */
#include "acpi.h"
#include "check.h"
#include "cmdline.h"
#include "compare.h"
#include "domain.h"
#include "klog.h"
#include "modprobe.h"
#include "nvml.h"
#include "numset.h"
#include "pci.h"
#include "redact.h"
#include "sandbox.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void exit_status_has_precedence(void **state)
{
	size_t c[STATUSES] = {0};

	(void)state;
	c[ST_PASS] = c[ST_INFO] = c[ST_NA] = c[ST_SKIPPED] = 9;
	assert_int_equal(status_exit(c), 0);
	c[ST_WARN] = 1;
	assert_int_equal(status_exit(c), 1);
	c[ST_UNKNOWN] = 1;
	assert_int_equal(status_exit(c), 3);
	c[ST_FAIL] = 1;
	assert_int_equal(status_exit(c), 2);
	memset(c, 0, sizeof(c));
	c[ST_ERROR] = 1;
	assert_int_equal(status_exit(c), 3);
}

static void every_check_is_complete(void **state)
{
	(void)state;
	assert_true(check_count() >= 140);
	for (size_t g = 0; g < check_ngroups; g++)
		for (size_t i = 0; i < check_groups[g]->n; i++) {
			const struct check *c = &check_groups[g]->check[i];
			size_t n = strlen(check_groups[g]->prefix);

			assert_int_equal(strlen(c->severity), MODES);
			assert_int_equal(strspn(c->severity, "CHMLI-"), MODES);
			assert_true(c->impact >= 1 && c->impact <= 5 && c->likelihood >= 1 && c->likelihood <= 5);
			assert_true(!strncmp(c->id, check_groups[g]->prefix, n) && strlen(c->id) == n + 4 && c->id[n] == '-');
			assert_true(*c->title && *c->rationale && *c->evidence && *c->remedy && c->run && *c->row);
			assert_ptr_equal(check_find(c->id), c); /* no id twice */
			assert_ptr_equal(check_group_of(c), check_groups[g]);
		}
}

static void commandline_splits_as_the_kernel_does(void **state)
{
	struct cmdline c;

	(void)state;
	cmdline_parse(&c, "a=1 vfio-pci.ids=10de:2335 \"b=x y\" d=\"p q\" a=2 pci=noaer,config_acs=11@0000:01:00.0 -- a=3 iommu=off");
	assert_string_equal(cmdline_get(&c, "a"), "2");
	assert_string_equal(cmdline_get(&c, "vfio_pci.ids"), "10de:2335");
	assert_string_equal(cmdline_get(&c, "d"), "p q");
	assert_null(cmdline_get(&c, "iommu"));
	assert_true(cmdline_has_item(&c, "pci", "noaer"));
	assert_false(cmdline_has_item(&c, "pci", "noae"));
	assert_int_equal(strncmp(cmdline_item_value(&c, "pci", "config_acs"), "11@", 3), 0);
	cmdline_free(&c);
}

static void grub_variables_join(void **state)
{
	char *s = grub_default_cmdline("# GRUB_CMDLINE_LINUX=no\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"a \\\nb\"\n"
				       "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX c\"\nGRUB_CMDLINE_LINUX+=' d'\n");

	(void)state;
	assert_string_equal(s, "a b c d quiet");
	free(s);
	assert_null(grub_default_cmdline("GRUB_DEFAULT=0\n"));
}

static void modprobe_lines(void **state)
{
	static const struct ev_item src = {.path = (char *)"/etc/modprobe.d/x.conf"};
	struct modconf m = {0};
	size_t n;
	const char *v;

	(void)state;
	modconf_parse(&m, &src, "#blacklist a\n  blacklist nvidia-drm\noptions vfio-pci ids=1:2 \\\n disable_vga=1 ids=3:4\nalias pci:x nouveau\n", false);
	assert_int_equal(m.n, 3);
	assert_non_null(modconf_find(&m, MOD_BLACKLIST, "nvidia_drm", NULL));
	v = mod_option(modconf_find(&m, MOD_OPTIONS, "vfio_pci", NULL)->rest, "ids", &n);
	assert_int_equal(n, 3);
	assert_memory_equal(v, "3:4", 3);
	assert_int_equal(modconf_find(&m, MOD_ALIAS, "nouveau", NULL)->line, 5);
	modconf_free(&m);
}

static void number_sets(void **state)
{
	struct numset s, t;

	(void)state;
	assert_true(numset_parse(&s, "0-3,^2,8"));
	assert_int_equal(numset_count(&s), 4);
	assert_false(numset_has(&s, 2));
	assert_true(numset_parse(&t, "3"));
	assert_true(numset_subset(&t, &s) && numset_meets(&s, &t) && !numset_subset(&s, &t));
	assert_false(numset_parse(&s, "3-1") || numset_parse(&s, "a") || numset_parse(&s, "1,,2") || numset_parse(&s, "4096"));
}

static void resources_of_a_gpu(void **state)
{
	struct pci_bar bar[6];

	(void)state;
	assert_true(pci_resources("0x0000000000000000 0x0000003fffffffff 0x000000002014220c\n0x0 0x0 0x0\n0x1000 0x1fff 0x200\n0x0 0x0 0x0\n"
				  "0x0 0x0 0x0\n0x0 0x0 0x0\n0x0 0x0 0x0\n", bar));
	assert_int_equal(bar[0].size, 256ull << 30);
	assert_true(bar[0].flags & PCI_RES_UNSET);
	assert_int_equal(bar[1].size, 0);
	assert_int_equal(bar[2].size, 4096);
	assert_false(pci_resources("0x0 0x0\n", bar));
	assert_false(pci_resources("0x2000 0x1000 0x200\n", bar));
}

static void a_loop_of_capabilities_ends(void **state)
{
	uint8_t c[4096] = {0xde, 0x10, 0x35, 0x23, 6, 4, 0x10, 0};
	struct pci_config out;

	(void)state;
	c[0x34] = 0x40;
	c[0x40] = 0x10; /* PCI Express that points to itself */
	c[0x41] = 0x40;
	c[0x100] = 0x0d; /* ACS that points to itself */
	c[0x102] = 0x01;
	c[0x103] = 0x10;
	c[0x104] = 0x1f;
	assert_true(pci_decode(&out, c, sizeof(c)));
	assert_int_equal(out.acs, 0x100);
	assert_int_equal(out.acs_cap, 0x1f);
	assert_true(pci_decode(&out, c, 64) && !out.caps && !out.ext);
	assert_false(pci_decode(&out, c, 63));
	memset(c, 0xff, sizeof(c));
	assert_false(pci_decode(&out, c, sizeof(c)));
}

/* Every rule compiles, its hint stands in the sample, and the sample is explained by that rule. */
static void log_rules(void **state)
{
	static const struct {
		const char *line, *rule;
	} sample[] = {
		{"4,1,2,-;vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param \"allow_unsafe_interrupts\"", "no-ir"},
		{"[    1.2] Warning: PCIe ACS overrides enabled; This may allow non-IOMMU protected peer-to-peer DMA", "acs-override-on"},
		{"Nov 22 06:00:00 host kernel: vfio-pci 0000:10:00.0: not ready 65535ms after FLR; giving up", "vfio-flr"},
		{"NVRM: Xid (PCI:0000:12:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.", "xid-busoff"},
		{"NVRM: Xid (PCI:0000:12:00): 31, pid=7, name=x, Ch 0", "xid"},
		{"DMAR: [DMA Write NO_PASID] Request device [81:00.0] fault addr 0x7f [fault reason 0x05]", "dmar-fault"},
		{"AMD-Vi: Event logged [IO_PAGE_FAULT device=01:00.0 domain=0x000a address=0x0 flags=0x0]", "amdvi-fault"},
		{"arm-smmu-v3 arm-smmu-v3.0.auto: event 0x10 received:", "smmu-fault"},
		{"DMAR: Device is ineligible for IOMMU domain attach due to platform RMRR requirement. Contact your platform vendor.", "rmrr"},
		{"vfio 0000:10:00.0: group 20 is not viable", "not-viable"},
		{"pci 0000:10:00.0: BAR 1 [mem size 0x4000000000 64bit pref]: failed to assign", "bar-space"},
		{"NVRM: API mismatch: the client has the version", "api-mismatch"},
		{"nvidia-nvswitch0: SXid (PCI:0000:c2:00.0): 20034, Fatal", "sxid"},
		{"nvidia: unknown parameter 'NVreg_EnableFIPSMode' ignored", "nvidia-unknown-param"},
		{"qemu-system-x86_64: -device vfio-pci,host=10:00.0: VFIO_MAP_DMA failed: Cannot allocate memory", "dma-oom"},
		{"qemu-system-x86_64: vfio_dma_map(0x5, 0x380000000000, 0x40000000, 0x7) = -22 (Invalid argument)", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(sample) / sizeof(*sample); i++) {
		struct klog k = {0};

		klog_scan(&k, NULL, sample[i].line);
		if (sample[i].rule) {
			assert_int_equal(k.n, 1);
			assert_string_equal(k.hit[0].rule->name, sample[i].rule);
		}
		klog_free(&k);
	}
	for (size_t i = 0; i < klog_nrules; i++) {
		regex_t re;

		assert_int_equal(regcomp(&re, klog_rules[i].regex, REG_EXTENDED), 0);
		assert_true(re.re_nsub <= 4);
		assert_true(!klog_rules[i].check || check_find(klog_rules[i].check));
		regfree(&re);
	}
}

static void clean_is(const char *in, const char *want)
{
	struct redact r = {.what = REDACT_SECRETS | REDACT_IDENTITY, .host = "gpu07"};
	size_t n;
	char *out = redact_bytes(&r, in, strlen(in), &n);

	assert_string_equal(out, want);
	free(out);
}

static void redaction(void **state)
{
	(void)state;
	clean_is("<graphics passwd='x1' port='5900'/>", "<graphics passwd='(REDACTED)' port='5900'/>");
	clean_is("password_pbkdf2 root grub.pbkdf2.sha512.10000.ABC.DEF\n", "password_pbkdf2 root (REDACTED)\n");
	clean_is("a\n-----BEGIN EC PRIVATE KEY-----\nsecret\n-----END EC PRIVATE KEY-----\nb\n", "a\nREDACTED PRIVATE KEY\n\n\nb\n");
	clean_is("mac 52:54:00:12:34:56 bus 0000:10:00.0", "mac 00:00:00:00:00:00 bus 0000:10:00.0");
	clean_is("root=UUID=0fc63daf-8483-4772-8e79-3d69d8477de4", "root=UUID=00000000-0000-0000-0000-000000000000");
	clean_is("on gpu07 but not gpu071", "on HOST but not gpu071");
	clean_is("https://bob:hunter2@example.org/x", "https://bob:(REDACTED)@example.org/x");
	clean_is("intel_iommu=on pci=noaer", "intel_iommu=on pci=noaer");
}

static void nvml_answers(void **state)
{
	struct nvml n = {0};
	static const char good[] = "{\"init\":0,\"driver\":\"570.1\",\"gpus\":[{\"bus_id\":\"00000000:1B:00.0\",\"mig\":1},{\"bus_id\":\"00010000:01:00.0\"}]}";

	(void)state;
	assert_true(nvml_parse(&n, good, strlen(good)));
	assert_int_equal(n.n, 2);
	assert_int_equal(nvml_find(&n, "0000:1b:00.0")->mig, 1);
	assert_int_equal(nvml_find(&n, "10000:01:00.0")->mig, -1);
	assert_false(nvml_parse(&n, "{\"init\":9,\"gpus\":[]}", 20));
	assert_false(nvml_parse(&n, "", 0));
}

static void domain_units_and_dtd(void **state)
{
	struct domain *d = malloc(sizeof(*d));
	static const char xml[] = "<domain><name>a</name><memory unit='GB'>1</memory><vcpu>2</vcpu></domain>";
	static const char bomb[] = "<!DOCTYPE d [<!ENTITY a 'x'>]><domain><name>&a;</name></domain>";

	(void)state;
	assert_true(domain_parse(d, xml, strlen(xml)));
	assert_int_equal(d->memory_kib, 976562);
	assert_false(domain_parse(d, bomb, strlen(bomb)));
	assert_false(domain_parse(d, "<network/>", 10));
	free(d);
}

/* In a child: what the sandbox must stop is tried for real; its exit status says what got through. */
static void sandbox_stops_writing(void **state)
{
	int status = -1;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		char path[64], *argv[] = {(char *)"false", NULL};
		const char *alone;
		int through = 0;

		snprintf(path, sizeof(path), "/tmp/doctor-unit-%d", (int)getpid());
		alone = sandbox_read_only(-1);
		dprintf(1, "sandbox: %s\n", alone ? alone : "landlock and seccomp");
		/* seccomp must be there; landlock may be missing from the kernel, and is then said to be. */
		through |= alone && !strstr(alone, "seccomp alone") ? 64 : 0;
		through |= open("/proc/self/status", O_RDONLY) < 0 ? 1 : 0; /* reading must go on */
#ifndef DOCTOR_COVERAGE
		through |= open(path, O_WRONLY | O_CREAT, 0600) >= 0 ? 2 : 0;
		through |= open("/dev/null", O_RDWR) >= 0 ? 2 : 0;
#endif
		through |= mkdir(path, 0700) == 0 ? 4 : 0;
		through |= socket(AF_INET, SOCK_STREAM, 0) >= 0 ? 8 : 0;
		through |= unlink(path) == 0 || rename(path, "/tmp/x") == 0 || symlink("a", path) == 0 ? 16 : 0;
		through |= chmod("/tmp", 01777) == 0 ? 32 : 0;
		execv("/bin/false", argv); /* would exit with 1 */
		syscall(SYS_exit_group, through); /* before _exit a sanitizer makes calls that are stopped here */
	}
	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exit_status_has_precedence),
		cmocka_unit_test(every_check_is_complete),
		cmocka_unit_test(commandline_splits_as_the_kernel_does),
		cmocka_unit_test(grub_variables_join),
		cmocka_unit_test(modprobe_lines),
		cmocka_unit_test(number_sets),
		cmocka_unit_test(resources_of_a_gpu),
		cmocka_unit_test(a_loop_of_capabilities_ends),
		cmocka_unit_test(log_rules),
		cmocka_unit_test(redaction),
		cmocka_unit_test(nvml_answers),
		cmocka_unit_test(domain_units_and_dtd),
		cmocka_unit_test(sandbox_stops_writing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
