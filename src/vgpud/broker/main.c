/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-broker: started by vgpud's keeper only. */
#include "vgpud/broker/broker.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static void on_period(struct loop_io *io, uint32_t events)
{
	struct broker *b = io->arg;
	uint64_t now = now_ns(), n;

	if (read(io->fd, &n, sizeof(n)) < 0)
		return; /* set anew meanwhile */
	loop_timer_set(io, now + PERIOD_NS);
	state_period(b, now);
	devices_settle(b);
	list_for_each(it, &b->devices) {
		device_watch(list_entry(it, struct device, node), now);
		spare_step(list_entry(it, struct device, node), now);
	}
	if (b->ready)
		devices_leave(b);
	devices_step(b, now); /* the timeline goes on for a holder nobody disturbs */
	list_for_each(it, &b->conns) {
		struct bconn *c = list_entry(it, struct bconn, node);

		if (!c->made || !b->ready)
			continue;
		if (!c->gone)
			conn_show_header(c); /* a guest that has overwritten it finds it again after a restart */
		for (unsigned i = 0; i < c->n_channels; i++)
			channel_period(&c->channel[i], now);
	}
}

static struct vgpu_err *read_config(struct broker *b)
{
	ssize_t n = pread(IPC_BFD_CONFIG, &b->cfg, sizeof(b->cfg), 0);

	close(IPC_BFD_CONFIG);
	if (n != (ssize_t)sizeof(b->cfg))
		return err_new("this program is started by vgpud, not by hand");
	log_set_level(b->cfg.log_level);
	return NULL;
}

static bool on_turn(void *arg)
{
	return scrub_step(&((struct broker *)arg)->scrub);
}

static struct vgpu_err *start_loop(struct broker *b)
{
	int rc = loop_init(&b->loop);

	if (!rc)
		rc = loop_timer_init(&b->loop, &b->period_io, on_period, b);
	if (!rc)
		rc = devices_init(b);
	if (!rc)
		rc = conns_init(b);
	if (!rc)
		rc = limits_init(b);
	if (!rc)
		rc = control_init(b);
	if (!rc)
		rc = irq_init();
	if (rc)
		return err_sys(-rc, "event loop");
	b->loop.work = on_turn;
	b->loop.work_arg = b;
	loop_timer_set(&b->period_io, now_ns() + PERIOD_NS);
	return keeper_link_start(b);
}

static struct vgpu_err *start(struct broker *b)
{
	struct vgpu_err *e = broker_jail_identity(&b->cfg);

	if (!e)
		e = state_open(b);
	if (!e)
		e = broker_jail_close();
	return e;
}

int main(void)
{
	static struct broker b = {.next_vm = 1, .state_lock = -1};
	cleanup_err struct vgpu_err *e = NULL;

	log_init("vgpu-broker", LOG_L_INFO);
	prctl(PR_SET_NAME, "vgpu-broker"); /* run by descriptor, it would be called by its number */
	signal(SIGPIPE, SIG_IGN);
	list_init(&b.devices);
	list_init(&b.pools);
	list_init(&b.vms);
	list_init(&b.conns);
	list_init(&b.execs);
	list_init(&b.clients);
	list_init(&b.early);
	scrub_init(&b.scrub);
	e = read_config(&b);
	if (!e)
		e = start_loop(&b);
	if (e) {
		log_error("%s", e->text);
		return 1;
	}
	e = start(&b);
	if (e)
		broker_ready(&b, e->text); /* the keeper prints it and ends */
	loop_run(&b.loop);
	return e ? 1 : 0;
}
