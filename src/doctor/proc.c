/* SPDX-License-Identifier: Apache-2.0 */
#include "proc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FDS_MAX 4096u

/* The kernel cuts comm at 15 characters. */
static const char *const holders[] = {"qemu", "cloud-hyperviso", "crosvm", "firecracker", "nvidia-", "nv-hostengine",
				      "nv-fabricmanage", "dcgm", "Xorg", "Xwayland", "gnome-shell", "vgpu-executor"};

static bool starts(const char *s, const char *head)
{
	return !strncmp(s, head, strlen(head));
}

static void take_status(struct proc *p, struct ev *ev)
{
	const char *s;

	p->status = ev_getf(ev, EV_READ, "/proc/%u/status", p->pid);
	p->uid = -1;
	if (!p->status->text)
		return;
	s = strstr(p->status->data, "\nUid:");
	if (s)
		sscanf(s, "\nUid: %d", &p->uid);
	s = strstr(p->status->data, "Cpus_allowed_list:");
	if (s) {
		char list[1024];

		p->cpus_known = sscanf(s, "Cpus_allowed_list: %1023s", list) == 1 && numset_parse(&p->cpus, list);
	}
}

static void take_limits(struct proc *p, struct ev *ev)
{
	const char *s;
	char soft[32];

	p->limits = ev_getf(ev, EV_READ, "/proc/%u/limits", p->pid);
	s = p->limits->text ? strstr(p->limits->data, "Max locked memory") : NULL;
	if (s && sscanf(s, "Max locked memory %31s", soft) == 1)
		p->memlock = starts(soft, "unlimited") ? UINT64_MAX : strtoull(soft, NULL, 10);
}

static void take_fds(struct proc *p, struct ev *ev)
{
	unsigned seen = 0;

	p->fds = ev_getf(ev, EV_LIST, "/proc/%u/fd", p->pid);
	p->fds_known = !p->fds->err;
	for (const char *n = ev_name(p->fds, NULL); n && seen < FDS_MAX; n = ev_name(p->fds, n), seen++) {
		const struct ev_item *l = ev_getf(ev, EV_LINK, "/proc/%u/fd/%s", p->pid, n);

		if (l->err && l->err != ENOENT) { /* what this one holds is hidden, even from root */
			p->fds = l;
			p->fds_known = false;
			break;
		}
		if (l->err)
			continue; /* closed meanwhile */
		if (starts(l->data, "/dev/nvidia"))
			p->nvidia = true;
		if (starts(l->data, "/dev/vfio/") && strcmp(l->data, "/dev/vfio/vfio") && p->nvfio < PROC_GROUPS &&
		    strlen(l->data + 10) < sizeof(p->vfio[0]))
			strcpy(p->vfio[p->nvfio++], l->data + 10);
	}
}

void procs_collect(struct procs *ps, struct ev *ev)
{
	ps->list = ev_get(ev, EV_LIST, "/proc");
	for (const char *n = ev_name(ps->list, NULL); n; n = ev_name(ps->list, n)) {
		const struct ev_item *comm;
		bool wanted = false;

		if (strspn(n, "0123456789") != strlen(n) || strlen(n) > 9)
			continue;
		comm = ev_getf(ev, EV_READ, "/proc/%s/comm", n);
		for (size_t i = 0; comm->line && i < sizeof(holders) / sizeof(*holders); i++)
			wanted |= starts(comm->line, holders[i]);
		if (!wanted || strlen(comm->line) >= sizeof(ps->p->comm))
			continue;
		if (!(ps->n & (ps->n + 1))) {
			ps->p = realloc(ps->p, (2 * ps->n + 2) * sizeof(*ps->p));
			if (!ps->p)
				abort();
		}
		struct proc *p = memset(&ps->p[ps->n++], 0, sizeof(*p));

		p->pid = (unsigned)strtoul(n, NULL, 10);
		p->comm_item = comm;
		strcpy(p->comm, comm->line);
		p->qemu = starts(p->comm, "qemu");
		take_status(p, ev);
		take_limits(p, ev);
		take_fds(p, ev);
		p->label = ev_getf(ev, EV_READ, "/proc/%u/attr/current", p->pid);
	}
}

void procs_free(struct procs *ps)
{
	free(ps->p);
}
