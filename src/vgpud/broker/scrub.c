/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/broker/scrub.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

void scrub_init(struct scrub *s)
{
	*s = (struct scrub){0};
	list_init(&s->jobs);
}

void scrub_add(struct scrub *s, struct scrub_job *j)
{
	list_add_tail(&s->jobs, &j->node);
}

void scrub_drop(struct scrub_job *j)
{
	list_del(&j->node);
}

static struct scrub_job *whose_turn(const struct scrub *s)
{
	list_for_each(n, &s->jobs) {
		struct scrub_job *j = list_entry(n, struct scrub_job, node);

		if (j->owner != s->last)
			return j;
	}
	return list_entry(s->jobs.next, struct scrub_job, node);
}

/* To the next data; behind the last of it to the end, or to the beginning if there is memory that is no data. */
static void skip_hole(struct scrub_job *j)
{
	off_t data = lseek(j->fd, (off_t)j->at, SEEK_DATA);
	struct stat st;

	if (data >= 0 && (uint64_t)data < j->end) {
		j->at = (uint64_t)data;
		return;
	}
	j->skip_holes = false;
	j->at = fstat(j->fd, &st) || st.st_blocks ? 0 : j->end;
}

static int punch(struct scrub *s, struct scrub_job *j)
{
	uint64_t len;

	if (j->skip_holes)
		skip_hole(j);
	len = j->end - j->at < SCRUB_PIECE ? j->end - j->at : SCRUB_PIECE;
	if (!len)
		return 0;
	while (fallocate(j->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)j->at, (off_t)len))
		if (errno != EINTR) {
			s->failures++;
			return -errno;
		}
	j->at += len;
	s->bytes += len;
	return 0;
}

bool scrub_step(struct scrub *s)
{
	struct scrub_job *j;
	bool more = true;
	int rc = 0;

	if (list_empty(&s->jobs))
		return false;
	j = whose_turn(s);
	s->last = j->owner;
	list_del(&j->node);
	if (j->at < j->end)
		rc = punch(s, j);
	else
		more = j->next(j);
	if (rc || !more)
		j->done(j, rc);
	else
		list_add_tail(&s->jobs, &j->node);
	return !list_empty(&s->jobs);
}
