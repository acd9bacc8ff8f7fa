/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every piece of evidence of a host, damaged in turn: denied, truncated, garbage. A finding of the
 * sound host may become unknown, but must never turn into a clean result; a clean result built on the
 * damaged piece must not stay clean. If this fails, the doctor calls a host safe that it could not see.
 *
 * usage: faults HOSTDIR [all]    all: every piece of every host (minutes); else a sample
 */
#include "tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum kind { DENIED, TRUNCATED, GARBAGE, KINDS };
static const char *const kind_name[KINDS] = {"denied", "truncated", "garbage"};

static bool clean(enum status s)
{
	return s == ST_PASS || s == ST_NA || s == ST_INFO || s == ST_SKIPPED;
}

static bool kernel_file(const struct ev_item *it)
{
	return !strncmp(it->path, "/sys/", 5) || !strncmp(it->path, "/proc/", 6);
}

/* False: this kind of damage means nothing here. */
static bool damage(struct ev_item *it, enum kind k)
{
	uint32_t x = 12345;
	size_t half = it->len / 2;

	if (it->err)
		return false;
	if (k == DENIED || it->op == EV_LIST) {
		it->err = k == DENIED ? EACCES : EIO;
		ev_set_data(it, NULL, 0);
		ev_classify(it);
		return true;
	}
	if (it->op == EV_STAT || it->len < 2)
		return false;
	if (k == TRUNCATED) {
		if (it->op == EV_LINK)
			return false; /* readlink gives all or nothing */
		while (half && it->data[half - 1] == '\n') /* a cut between lines cannot be told */
			half--;
		it->len = half;
		it->data[half] = 0;
		it->cut = !kernel_file(it);
	} else {
		for (size_t i = 0; i < it->len; i++)
			it->data[i] = (char)(0x80 | (x = x * 1664525u + 1013904223u) >> 24);
	}
	ev_classify(it);
	return true;
}

static struct ev *copy_of(const struct ev *from, const struct ev_item *victim, enum kind k)
{
	struct ev *ev = ev_closed();

	for (const struct ev_item *it = ev_first(from); it; it = it->newer) {
		struct ev_item *c = ev_put(ev, it->op, it->path, it->err, it->data, it->len);

		c->cut = it->cut;
		c->mode = it->mode;
		c->uid = it->uid;
		c->gid = it->gid;
		c->mtime = it->mtime;
		c->size = it->size;
		ev_classify(c);
		if (it == victim && !damage(c, k)) {
			ev_free(ev);
			return NULL;
		}
	}
	return ev;
}

/* What the faulted run says of a check as a whole: is anything of it not clean? */
static bool any_unclean(const struct audit *a, const struct check *c)
{
	for (size_t i = 0; i < a->nresult; i++)
		if (a->result[i].check == c && !clean(a->result[i].status))
			return true;
	return false;
}

static const struct result *same(const struct audit *a, const struct result *r)
{
	for (size_t i = 0; i < a->nresult; i++)
		if (a->result[i].check == r->check && !strcmp(a->result[i].subject, r->subject))
			return &a->result[i];
	return NULL;
}

static bool built_on(const struct result *r, const struct ev_item *it)
{
	for (size_t i = 0; i < r->nref; i++)
		if (r->ref[i].item == it)
			return true;
	return false;
}

/* Proven twice: the kernel log says the same as the interrupt table. */
static bool other_proof(const struct check *c, const struct ev_item *victim)
{
	return !strcmp(c->id, "IOMMU-008") && !strcmp(victim->path, "/proc/interrupts");
}

static int compare(const char *host, const struct audit *sound, const struct audit *hurt, const struct ev_item *victim, enum kind k)
{
	int bad = 0;

	for (size_t i = 0; i < sound->nresult; i++) {
		const struct result *r = &sound->result[i], *now = same(hurt, r);

		if ((r->status == ST_FAIL || r->status == ST_WARN) && !any_unclean(hurt, r->check)) {
			printf("%s: %s %s %s: finding of %s lost (%s)\n", host, kind_name[k], ev_op_name[victim->op], victim->path,
			       r->check->id, r->message);
			bad++;
		}
		if (r->status == ST_PASS && built_on(r, victim) && now && now->status == ST_PASS &&
		    !other_proof(r->check, victim)) {
			printf("%s: %s %s %s: %s %s still passes\n", host, kind_name[k], ev_op_name[victim->op], victim->path, r->check->id,
			       r->subject);
			bad++;
		}
	}
	return bad;
}

static int one_host(const char *dir, const char *name, const char *mode, unsigned stride, size_t *runs)
{
	char path[4096];
	struct run sound, hurt;
	struct ev *ev, *broken;
	unsigned n = 0;
	int bad = 0;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	ev = ev_open(path);
	if (!ev) {
		printf("%s: %s\n", path, strerror(errno));
		return 1;
	}
	run_audit(&sound, ev, mode, NULL);
	for (const struct ev_item *it = ev_first(ev); it; it = it->newer) {
		if (it->err || n++ % stride)
			continue;
		for (int k = 0; k < KINDS; k++) {
			broken = copy_of(ev, it, (enum kind)k);
			if (!broken)
				continue;
			run_audit(&hurt, broken, mode, NULL);
			bad += compare(name, &sound.audit, &hurt.audit, it, (enum kind)k);
			run_free(&hurt);
			ev_free(broken);
			++*runs;
		}
	}
	run_free(&sound);
	ev_free(ev);
	return bad;
}

int main(int argc, char **argv)
{
	bool all = argc > 2 && !strcmp(argv[2], "all");
	json_t *hosts = load_hosts(argv[1]), *h;
	const char *name;
	size_t runs = 0, n = 0;
	int bad = 0;

	json_object_foreach(hosts, name, h) {
		const char *mode = json_string_value(json_object_get(h, "mode"));

		if (argc > 3 && strcmp(argv[3], name))
			continue;
		bad += one_host(argv[1], name, mode, all ? 1 : 13, &runs);
		n++;
	}
	printf("%zu faulted audits of %zu hosts, %d violations\n", runs, n, bad);
	json_decref(hosts);
	return bad != 0 || !runs;
}
