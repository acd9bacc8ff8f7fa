/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's copy of the state: what is written is read again, by this version and by others; what is mangled, cut off
 * or another layout's is refused whole, and a broker killed while it writes leaves the former copy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vgpud/broker/copy.h"

/* As the first version wrote it; every later one goes on reading it. */
#define FIRST \
	"pool name=default concurrent=0\n" \
	"pool name=fast%20ones concurrent=1\n" \
	"device name=gpu-0 pool=default uuid=GPU-1 pci=0000:01:00.0 peers= reason=%0ano%20power%25%c3%a9 numa_node=1 state=2\n" \
	"vm id=7 name=a quarantined=1 pool=default device=gpu-0 next= why=asked%20for priority=4 weight=33 quota=1048576 " \
	"job_timeout_ns=5000000000 hard_timeout_ns=0 bar_size=268435456 uid=4294967295 cap=44 reservation=20 " \
	"max_launches_per_second=1000 max_bytes_per_second=0 queue_depth=3 numa_node=4294967295 fault_limit=4 fault_window_ns=0\n"

static struct {
	struct copy_pool pool[8];
	struct copy_device device[8];
	struct copy_vm vm[8];
	unsigned pools, devices, vms;
} got;

static struct vgpu_err *on_pool(void *arg, const struct copy_pool *p)
{
	got.pool[got.pools++ % 8] = *p;
	return NULL;
}

static struct vgpu_err *on_device(void *arg, const struct copy_device *d)
{
	got.device[got.devices++ % 8] = *d;
	return NULL;
}

static struct vgpu_err *on_vm(void *arg, const struct copy_vm *vm)
{
	got.vm[got.vms++ % 8] = *vm;
	return NULL;
}

static struct vgpu_err *read_copy(const char *text, unsigned *unknown)
{
	struct copy_reader r = {.pool = on_pool, .device = on_device, .vm = on_vm};
	struct vgpu_err *e;

	memset(&got, 0, sizeof(got));
	e = copy_read(text, &r);
	if (unknown)
		*unknown = r.unknown;
	return e;
}

static void test_first_version(void **state)
{
	unsigned unknown;

	assert_null(read_copy(FIRST, &unknown));
	assert_int_equal(unknown, 0);
	assert_int_equal(got.pools * 100 + got.devices * 10 + got.vms, 211);
	assert_string_equal(got.pool[1].name, "fast ones");
	assert_int_equal(got.pool[1].concurrent, 1);
	assert_string_equal(got.device[0].reason, "\nno power%\xc3\xa9");
	assert_int_equal(got.device[0].state, DEVICE_LOST);
	assert_int_equal(got.vm[0].set.id, 7);
	assert_string_equal(got.vm[0].why, "asked for");
	assert_int_equal(got.vm[0].set.priority * 1000 + got.vm[0].set.weight, 4033);
	assert_int_equal(got.vm[0].set.job_timeout_ns, 5000000000);
	assert_int_equal(got.vm[0].set.fault_limit, 4);
	assert_true(got.vm[0].quarantined);
}

static void write_got(struct buf *out)
{
	buf_init(out, COPY_MAX);
	for (unsigned i = 0; i < got.pools; i++)
		assert_int_equal(copy_put_pool(out, &got.pool[i]), 0);
	for (unsigned i = 0; i < got.devices; i++)
		assert_int_equal(copy_put_device(out, &got.device[i]), 0);
	for (unsigned i = 0; i < got.vms; i++)
		assert_int_equal(copy_put_vm(out, &got.vm[i]), 0);
}

static void test_round(void **state)
{
	struct buf out;

	struct copy_device d;
	struct buf again;

	assert_null(read_copy(FIRST, NULL));
	got.device[0].layout = VGPU_LAYOUT_VERSION;
	got.device[0].info = (struct vgpu_device_info){.name = "a GPU", .total_mem = 1ull << 40, .attr = {-1, 2, 3}};
	d = got.device[0];
	write_got(&out);
	assert_null(read_copy(out.data, NULL));
	assert_memory_equal(&got.device[0].info, &d.info, sizeof(d.info));
	assert_int_equal(got.device[0].layout, VGPU_LAYOUT_VERSION);
	write_got(&again);
	assert_string_equal(out.data, again.data);
	buf_free(&out);
	buf_free(&again);
}

/* The first text with the first `what` replaced. */
static const char *with(const char *what, const char *by)
{
	static char out[4096];
	const char *text = FIRST, *at = strstr(text, what);

	assert_non_null(at);
	snprintf(out, sizeof(out), "%.*s%s%s", (int)(at - text), text, by, at + strlen(what));
	return out;
}

/* A newer one's: what is not known is left out and counted. An older one's: what is not there has its initial value. */
static void test_other_versions(void **state)
{
	unsigned unknown;

	assert_null(read_copy(with("weight=33", "weight=33 colour=red shade=5"), &unknown));
	assert_int_equal(unknown, 2);
	assert_int_equal(got.vm[0].set.weight, 33);
	assert_null(read_copy(with("vm id=7", "lease number=1\nvm id=7"), &unknown));
	assert_int_equal(unknown, 1);
	assert_int_equal(got.vms, 1);
	assert_null(read_copy("vm id=3 name=b\n", &unknown));
	assert_int_equal(got.vm[0].set.weight, 50);
	assert_int_equal(got.vm[0].set.uid, UINT32_MAX);
	assert_null(read_copy("", &unknown));
	assert_null(read_copy("device name=d layout=1 info=00ff\n", &unknown)); /* a smaller struct */
	assert_int_equal(got.device[0].info.name[1], 0);
}

static void refused(const char *text, const char *words)
{
	cleanup_err struct vgpu_err *e = read_copy(text, NULL);

	assert_non_null(e);
	if (!strstr(e->text, words))
		fail_msg("\"%s\" does not say \"%s\"", e->text, words);
}

static void test_refusals(void **state)
{
	static char many[(POOLS_MAX + 1) * 32];
	char longer[8 * IPC_NAME_LEN];

	refused(with("weight=33", "weight=101"), "weight");
	refused(with("weight=33", "weight=-1"), "weight");
	refused(with("weight=33", "weight="), "weight");
	refused(with("weight=33", "weight"), "weight");
	refused(with("weight=33", "weight=33x"), "weight");
	refused(with("weight=33", "weight=99999999999999999999"), "weight");
	refused(with("priority=4", "priority=3"), "priority");
	refused(with("quarantined=1", "quarantined=2"), "quarantined");
	refused(with("state=2", "state=3"), "state");
	refused(with("numa_node=1", "numa_node=4294967296"), "numa_node");
	refused(with("id=7", "id=0"), "id");
	refused(with("id=7", "id=2147483648"), "id");
	refused(with("name=a", "name="), "name");
	refused(with("name=a", "name=a%"), "name");
	refused(with("name=a", "name=a%0"), "name");
	refused(with("name=a", "name=a%00"), "name");
	refused(with("name=a", "name=a%zz"), "name");
	refused(with("name=default", "name="), "name");
	refused(with("name=gpu-0", "name="), "name");
	refused(with("\nvm", "\n\nvm"), "line");
	refused("vm id=7 name=a", "end");
	snprintf(longer, sizeof(longer), "vm id=7 name=%0*d\n", IPC_NAME_LEN, 0);
	refused(longer, "name");
	for (unsigned i = 0; i <= POOLS_MAX; i++)
		sprintf(many + strlen(many), "pool name=p%u\n", i);
	refused(many, "more than");
	refused("device name=d info=0\n", "info");
	refused("device name=d info=0g\n", "info");
}

/* ---- the descriptor ---- */

static int store(int fd, const char *text, bool unsaved)
{
	struct buf b;
	int rc;

	buf_init(&b, COPY_MAX);
	assert_int_equal(buf_put(&b, text, strlen(text)), 0);
	rc = copy_store(fd, &b, 1, unsaved);
	buf_free(&b);
	return rc;
}

static enum copy_found found(int fd, char *text, size_t n, struct copy_head *h)
{
	struct buf b;
	enum copy_found f;

	buf_init(&b, COPY_MAX);
	f = copy_find(fd, &b, h);
	snprintf(text, n, "%s", f == COPY_FOUND ? b.data : "");
	buf_free(&b);
	return f;
}

static void test_slots(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct copy_head h;
	char text[64];

	assert_int_equal(found(fd, text, sizeof(text), &h), COPY_NONE);
	for (unsigned i = 0; i < 5; i++) {
		char now[32];

		snprintf(now, sizeof(now), "pool name=p%u\n", i);
		assert_int_equal(store(fd, now, i == 3), 0);
		assert_int_equal(found(fd, text, sizeof(text), &h), COPY_FOUND);
		assert_string_equal(text, now);
		assert_int_equal(h.number, i + 1);
		assert_int_equal(h.unsaved, i == 3);
		assert_int_equal(h.vms, 1);
	}
	close(fd);
}

/* Any byte of the newest one changed: it is the former one that counts, and with both mangled none. */
static void test_mangled(void **state)
{
	static const char old[] = "pool name=old\n", new[] = "pool name=new\n";
	int fd = memfd_create("test", MFD_CLOEXEC);
	off_t slot = COPY_MAX + 4096; /* the second store's */
	struct copy_head h;
	char text[64];

	store(fd, old, false);
	store(fd, new, false);
	for (size_t i = 0; i < sizeof(h) + strlen(new); i++) {
		uint8_t was, other;

		assert_int_equal(pread(fd, &was, 1, slot + (off_t)i), 1);
		other = was ^ 0x41;
		assert_int_equal(pwrite(fd, &other, 1, slot + (off_t)i), 1);
		assert_int_equal(found(fd, text, sizeof(text), &h), COPY_FOUND);
		assert_string_equal(text, old);
		assert_int_equal(pwrite(fd, &was, 1, slot + (off_t)i), 1);
	}
	assert_int_equal(ftruncate(fd, slot + (off_t)sizeof(h) + 3), 0);
	assert_int_equal(found(fd, text, sizeof(text), &h), COPY_FOUND);
	assert_string_equal(text, old);
	assert_int_equal(ftruncate(fd, 5), 0);
	assert_int_equal(found(fd, text, sizeof(text), &h), COPY_REFUSED);
	close(fd);
}

/* What was there before this layout: three counts and raw structs. Refused, and in its place comes ours. */
static void test_other_layouts(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	uint64_t raw[64] = {2, 1, 1, 7};
	struct copy_head h = {.magic = "vgpustat", .version = COPY_VERSION + 1, .size = sizeof(h)};
	char text[64];

	assert_int_equal(pwrite(fd, raw, sizeof(raw), 0), sizeof(raw));
	assert_int_equal(found(fd, text, sizeof(text), &h), COPY_REFUSED);
	assert_int_equal(pwrite(fd, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(found(fd, text, sizeof(text), &h), COPY_REFUSED);
	assert_int_equal(store(fd, "pool name=new\n", false), 0);
	assert_int_equal(found(fd, text, sizeof(text), &h), COPY_FOUND);
	assert_string_equal(text, "pool name=new\n");
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_version), cmocka_unit_test(test_round), cmocka_unit_test(test_other_versions),
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_slots), cmocka_unit_test(test_mangled),
		cmocka_unit_test(test_other_layouts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
