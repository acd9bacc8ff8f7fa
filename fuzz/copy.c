/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper's copy of the state, of any content: as a descriptor's bytes, and as text whose head is right. What is read
 * is within bounds, and written again and read again it is the same.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vgpud/broker/copy.h"
#include "fuzz.h"

static void check_text(const char *s, size_t room)
{
	MUST(memchr(s, 0, room));
}

static struct vgpu_err *on_pool(void *arg, const struct copy_pool *p)
{
	check_text(p->name, sizeof(p->name));
	MUST(p->name[0] && p->concurrent <= 1);
	MUST(!copy_put_pool(arg, p));
	return NULL;
}

static struct vgpu_err *on_device(void *arg, const struct copy_device *d)
{
	check_text(d->name, sizeof(d->name));
	check_text(d->pool, sizeof(d->pool));
	check_text(d->uuid, sizeof(d->uuid));
	check_text(d->pci, sizeof(d->pci));
	check_text(d->peers, sizeof(d->peers));
	check_text(d->reason, sizeof(d->reason));
	MUST(d->name[0] && d->state <= DEVICE_LOST && d->numa_node <= UINT32_MAX);
	MUST(!copy_put_device(arg, d));
	return NULL;
}

static struct vgpu_err *on_vm(void *arg, const struct copy_vm *vm)
{
	check_text(vm->set.name, sizeof(vm->set.name));
	check_text(vm->pool, sizeof(vm->pool));
	check_text(vm->device, sizeof(vm->device));
	check_text(vm->next, sizeof(vm->next));
	check_text(vm->why, sizeof(vm->why));
	MUST(vm->set.name[0] && vm->set.id >= 1 && vm->set.id <= INT32_MAX && vm->quarantined <= 1);
	for (const struct setting *k = vm_setting; k->key; k++)
		MUST(setting_fits(k, setting_get(k, &vm->set)) || setting_get(k, &vm->set) == k->initial);
	MUST(!copy_put_vm(arg, vm));
	return NULL;
}

/* false: refused. text: written to; out: what was understood of it. */
static bool read_text(char *text, struct buf *out)
{
	struct copy_reader r = {.pool = on_pool, .device = on_device, .vm = on_vm, .arg = out};
	struct vgpu_err *e = copy_read(text, &r);

	MUST(!e || e->text[0]);
	free(e);
	return !e;
}

static void try_text(const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1);
	struct buf once, twice;

	memcpy(text, data, len);
	text[len] = 0;
	buf_init(&once, COPY_MAX);
	buf_init(&twice, COPY_MAX);
	if (read_text(text, &once) && once.len) {
		char *again = strdup(once.data);

		MUST(read_text(again, &twice));
		MUST(once.len == twice.len && !memcmp(once.data, twice.data, once.len));
		free(again);
	}
	buf_free(&once);
	buf_free(&twice);
	free(text);
}

static void try_descriptor(const uint8_t *data, size_t len)
{
	struct buf ours = {.max = COPY_MAX}, found = {.max = COPY_MAX};
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct copy_head h;
	enum copy_found f;

	MUST(pwrite(fd, data, len, 0) == (ssize_t)len);
	f = copy_find(fd, &found, &h);
	MUST((f == COPY_NONE) == !len);
	MUST(f != COPY_FOUND || (found.len == h.length && h.vms <= VMS_MAX));
	buf_free(&found);
	MUST(!buf_put(&ours, "pool name=p\n", 12));
	MUST(!copy_store(fd, &ours, 0, false));
	MUST(copy_find(fd, &found, &h) == COPY_FOUND && found.len == 12);
	buf_free(&found);
	buf_free(&ours);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	try_text(data, len);
	try_descriptor(data, len);
	return 0;
}
