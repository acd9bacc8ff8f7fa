/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a device fit to be used? A probe, a process of its own that no guest has spoken to, says so: when vgpud
 * starts, before a device comes (back) into service, and when an executor reports that the driver called the
 * device broken. That report alone proves nothing, for an executor runs what a guest sent it.
 *
 *   UP       serves
 *   DRAINED  an administrator took it out, or a killed executor does not end: nothing new starts; what runs goes
 *            on, unless it was to be ended
 *   LOST     a probe failed: what ran on it has been ended. Until undrain-device, which probes again
 *
 * One that vgpud.conf no longer names is none of these ("removed"): it stays until no VM is on it any more.
 */
#include "vgpud/broker/broker.h"
#include "base/log.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HUNG "the driver hangs: "
#define CHECK_AGAIN_NS 10000000000ull /* checks asked for by executors: one in so long */

const char *device_state_name(const struct device *d)
{
	static const char *const names[] = {[DEVICE_UP] = "up", [DEVICE_DRAINED] = "drained", [DEVICE_LOST] = "lost"};

	return d->absent ? "removed" : device_awaited(d) ? "probing" : names[d->state];
}

bool device_awaited(const struct device *d)
{
	return d->state == DEVICE_UP && !d->answered && !d->absent;
}

bool device_serves(const struct device *d)
{
	return d->state == DEVICE_UP && d->known && !d->absent;
}

int device_probe(struct device *d, uint32_t what)
{
	if (d->probe)
		return 0;
	d->probe_text[0] = 0;
	d->probe_ok = false;
	d->probe_since = now_ns();
	d->probe = exec_start(d, what);
	return d->probe ? 0 : -ENOMEM;
}

/* What is on it ends, whether it runs or is about to. */
void device_end_all(struct device *d)
{
	struct broker *b = d->broker;
	struct ipc_id kill = {d->spare ? d->spare->id : 0};

	if (d->spare) {
		d->spare->prepared = false;
		to_keeper(b, IPC_KILL, &kill, sizeof(kill));
	}
	list_for_each(n, &b->conns) {
		struct bconn *c = list_entry(n, struct bconn, node);

		for (unsigned i = 0; c->vm->device == d && c->made && i < c->n_channels; i++)
			channel_fail(&c->channel[i], VGPU_ERR_DEVICE_LOST);
	}
}

/* One that has not worked for us yet, a driver that is being replaced perhaps, may work for what was started before: that is
 * not ended, and nothing is stored, so the next start looks again. */
void device_lost(struct device *d, const char *why)
{
	bool serving = d->broker->ready || d->broker->serving;

	d->state = DEVICE_LOST;
	d->losses++;
	snprintf(d->reason, sizeof(d->reason), "%s", why);
	if (serving)
		log_error("device %s is out of service, %u VMs are on it: %s; vgpu-admin undrain-device %s when it is "
			  "repaired", d->name, device_vms(d), d->reason, d->name);
	else
		log_warning("device %s is out of service: %s", d->name, d->reason);
	event_add(d->broker, "device-lost", d->name, "%s", d->reason);
	if (!d->known)
		return;
	device_end_all(d);
	state_device(d);
}

/* What runs on it may still get through, so it goes on. */
void device_hangs(struct device *d, int32_t pid)
{
	if (d->state != DEVICE_UP)
		return;
	d->state = DEVICE_DRAINED;
	snprintf(d->reason, sizeof(d->reason), HUNG "executor %d was killed and does not end", pid);
	log_error("device %s: nothing new starts on it: %s; vgpu-admin undrain-device %s when it is repaired", d->name,
		  d->reason, d->name);
	event_add(d->broker, "device-drained", d->name, "%s", d->reason);
	state_device(d);
}

void device_hung(struct device *d)
{
	unsigned hung = 0;

	list_for_each(it, &d->broker->execs) {
		const struct bexec *x = list_entry(it, struct bexec, node);

		hung += x->device == d && x->hung;
	}
	if (d->state != DEVICE_DRAINED || hung > 1 || strncmp(d->reason, HUNG, strlen(HUNG)))
		return;
	d->state = DEVICE_UP;
	d->reason[0] = 0;
	state_device(d);
	device_suspect(d, "an executor that hung has ended");
}

void device_suspect(struct device *d, const char *why)
{
	uint64_t now = now_ns();

	if (d->state != DEVICE_UP)
		return;
	d->suspect_again = d->probe || now - d->suspected_at < CHECK_AGAIN_NS;
	if (d->suspect_again && why != d->suspicion)
		snprintf(d->suspicion, sizeof(d->suspicion), "%s", why);
	if (d->suspect_again)
		return;
	d->suspected_at = now;
	log_warning("device %s: %s: checking it", d->name, why);
	event_add(d->broker, "device-suspect", d->name, "%s", why);
	device_probe(d, IPC_CHECK);
}

static void probe_over(struct device *d, const char *why)
{
	struct broker *b = d->broker;
	bool first = !d->answered;

	d->probe = NULL;
	d->answered = true;
	if (first && d->state == DEVICE_UP)
		d->reason[0] = 0;
	if (!d->wanted && d->state == DEVICE_UP && !d->probe_ok)
		device_lost(d, why);
	else if (!d->wanted && b->ready && d->probe_ok && d->state == DEVICE_UP)
		log_info("device %s works", d->name);
	if (d->wanted) {
		cleanup_err struct vgpu_err *e = device_decided(d, d->probe_ok ? NULL : why);

		control_device(d, e);
	} else if (!b->ready) {
		devices_settle(b);
	} else if (first) {
		conns_let_in(b);
	}
}

bool probe_ended(struct bexec *x, const char *why)
{
	struct device *d = x->device;

	if (x != d->probe)
		return false;
	probe_over(d, d->probe_text[0] ? d->probe_text : why);
	return true;
}

/* Killed, a process that hangs within the driver may stay all the same. */
void device_watch(struct device *d, uint64_t now)
{
	struct ipc_id kill = {d->probe ? d->probe->id : 0};
	uint64_t limit = d->broker->cfg.probe_timeout_ns;
	char why[80];

	/* An executor says it once, so what it said too early for a check must not be lost. */
	if (d->suspect_again && !d->probe && now - d->suspected_at >= CHECK_AGAIN_NS)
		device_suspect(d, d->suspicion);
	if (!d->probe || now - d->probe_since < limit)
		return;
	to_keeper(d->broker, IPC_KILL, &kill, sizeof(kill));
	d->probe_ok = false;
	snprintf(why, sizeof(why), "the driver does not answer within %llu s", (unsigned long long)(limit / 1000000000));
	probe_over(d, why);
}
