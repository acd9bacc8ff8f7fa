/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Returned memory is emptied in pieces between the broker's events. Breaks if an event can wait for more than
 * one piece, if a VM that returns much keeps another's channel from coming back, if a channel is FREE while a
 * byte of it or of its extents is not zero, or if one is handed out whose memory could not be zeroed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "vgpud/broker/broker.h"
#include "wire/geometry.h"

/* ---- what channel.c asks of its neighbours ---- */

void irq_raise(int fd)
{
}

void to_keeper(struct broker *b, uint16_t type, const void *p, size_t size)
{
}

bool device_awaited(const struct device *d)
{
	return false;
}

int exec_spawn(struct channel *ch)
{
	return -ENOMEM;
}

void exec_watch(struct bexec *x, uint64_t now)
{
}

bool vm_take_token(struct vm *vm, uint64_t now)
{
	return false;
}

/* ---- memory ---- */

static uint8_t *make_memory(uint64_t size, int *fd)
{
	uint8_t *p;

	*fd = memfd_create("test", MFD_CLOEXEC);
	assert_true(*fd >= 0);
	assert_int_equal(ftruncate(*fd, (off_t)size), 0);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static bool all_are(const uint8_t *p, uint64_t len, uint8_t value)
{
	return p[0] == value && !memcmp(p, p + 1, len - 1);
}

/* ---- the loop ---- */

#define MUCH (64ull << 20)

struct turns {
	struct loop loop;
	struct scrub scrub;
	struct scrub_job job;
	uint64_t events, seen, most; /* most: bytes between two events */
	int rc;
	bool over;
};

static bool work(void *arg)
{
	return scrub_step(&((struct turns *)arg)->scrub);
}

/* Level-triggered and never read: there is always one more. */
static void on_event(struct loop_io *io, uint32_t events)
{
	struct turns *t = io->arg;
	uint64_t since = t->scrub.bytes - t->seen;

	t->events++;
	t->seen = t->scrub.bytes;
	if (since > t->most)
		t->most = since;
	t->loop.stop = t->over;
}

static bool no_next(struct scrub_job *j)
{
	return false;
}

static void over(struct scrub_job *j, int rc)
{
	struct turns *t = list_entry(j, struct turns, job);

	t->rc = rc;
	t->over = true;
}

static void test_events_wait_for_one_piece(void **state)
{
	struct turns t = {0};
	struct loop_io io;
	int fd, efd = eventfd(1, 0);
	uint8_t *p = make_memory(MUCH, &fd);

	memset(p, 0xa5, MUCH);
	assert_int_equal(loop_init(&t.loop), 0);
	scrub_init(&t.scrub);
	t.loop.work = work;
	t.loop.work_arg = &t;
	t.job = (struct scrub_job){.fd = fd, .end = MUCH, .next = no_next, .done = over};
	scrub_add(&t.scrub, &t.job);
	assert_int_equal(loop_add(&t.loop, &io, efd, EPOLLIN, on_event, &t), 0);
	assert_int_equal(loop_run(&t.loop), 0);
	assert_int_equal(t.rc, 0);
	assert_int_equal(t.most, SCRUB_PIECE);
	assert_true(t.events >= MUCH / SCRUB_PIECE);
	assert_true(all_are(p, MUCH, 0));
	loop_del(&t.loop, &io);
	loop_fini(&t.loop);
	munmap(p, MUCH);
	close(fd);
	close(efd);
}

/* ---- what was never touched ---- */

static unsigned empty_all(int fd, uint64_t size, int *rc)
{
	struct turns t = {.rc = 1};
	unsigned steps = 0;

	scrub_init(&t.scrub);
	t.job = (struct scrub_job){.fd = fd, .end = size, .skip_holes = true, .next = no_next, .done = over};
	scrub_add(&t.scrub, &t.job);
	for (bool more = true; more; steps++)
		more = scrub_step(&t.scrub);
	*rc = t.rc;
	return steps;
}

static blkcnt_t allocated(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_blocks;
}

/* Breaks if a program that touched little keeps the broker from the next one's start for long. */
static void test_holes_are_skipped(void **state)
{
	const uint64_t size = 1ull << 30, touched[] = {0, 5 << 20, size - 4096};
	int fd, rc;
	uint8_t *p = make_memory(size, &fd);

	for (unsigned i = 0; i < 3; i++)
		p[touched[i]] = 1;
	assert_in_range(empty_all(fd, size, &rc), 1, 8);
	assert_int_equal(rc, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(p[touched[i]], 0);
	munmap(p, size);
	close(fd);
}

/* Breaks if memory that holds no data, reserved by whoever has the memfd, stays allocated. */
static void test_reserved_memory_is_given_back(void **state)
{
	const uint64_t size = 64ull << 20;
	int fd, rc;
	uint8_t *p = make_memory(size, &fd);

	p[size / 2] = 1;
	assert_int_equal(fallocate(fd, 0, 0, 8 << 20), 0);
	assert_true(allocated(fd) > 0);
	assert_true(empty_all(fd, size, &rc) > (8u << 20) / SCRUB_PIECE);
	assert_int_equal(rc, 0);
	assert_int_equal(allocated(fd), 0);
	munmap(p, size);
	close(fd);
}

/* ---- taking turns ---- */

struct counted {
	struct scrub_job job;
	bool over;
};

static void counted_over(struct scrub_job *j, int rc)
{
	list_entry(j, struct counted, job)->over = true;
}

static void test_owners_take_turns(void **state)
{
	enum { FLOOD = 32 };
	struct counted flood[FLOOD] = {0}, one = {0};
	const uint64_t size = 1 << 20;
	unsigned turns = 0;
	struct scrub s;
	int fd;
	uint8_t *p = make_memory(size, &fd);

	scrub_init(&s);
	for (int i = 0; i < FLOOD; i++) {
		flood[i].job = (struct scrub_job){.owner = flood, .fd = fd, .end = size, .next = no_next,
						  .done = counted_over};
		scrub_add(&s, &flood[i].job);
	}
	one.job = (struct scrub_job){.owner = &one, .fd = fd, .end = size, .next = no_next, .done = counted_over};
	scrub_add(&s, &one.job);
	for (; !one.over; turns++)
		assert_true(scrub_step(&s));
	assert_true(turns <= 2 * (size / SCRUB_PIECE + 1));
	while (scrub_step(&s))
		;
	for (int i = 0; i < FLOOD; i++)
		assert_true(flood[i].over);
	munmap(p, size);
	close(fd);
}

/* ---- a channel ---- */

#define CHANNEL 3u

struct setup {
	struct broker broker;
	struct vm vm;
	struct bconn *conn;
	struct channel *ch;
	uint8_t *bar;
};

static void set_up(struct setup *s, bool read_only)
{
	char path[40];
	int fd;

	memset(s, 0, sizeof(*s));
	scrub_init(&s->broker.scrub);
	s->conn = calloc(1, sizeof(*s->conn));
	assert_non_null(s->conn);
	s->bar = make_memory(VGPU_BAR_MIN, &fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	s->conn->memfd = read_only ? open(path, O_RDONLY) : dup(fd);
	close(fd);
	strcpy(s->vm.set.name, "test");
	s->broker.ready = true;
	s->conn->broker = &s->broker;
	s->conn->vm = &s->vm;
	s->conn->made = true;
	s->conn->bar_size = VGPU_BAR_MIN;
	s->conn->n_channels = VGPU_CHANNELS_MAX;
	s->conn->header = (void *)s->bar;
	s->conn->wish = (void *)(s->bar + VGPU_WISH_OFF);
	s->ch = &s->conn->channel[CHANNEL];
	*s->ch = (struct channel){.conn = s->conn, .index = CHANNEL, .state = CH_RUN, .generation = 7};
	((struct vgpu_wish *)s->conn->wish)->wanted[CHANNEL] = 7;
}

static void tear_down(struct setup *s)
{
	munmap(s->bar, VGPU_BAR_MIN);
	close(s->conn->memfd);
	free(s->ch->extents);
	free(s->conn);
}

static uint8_t *extent(struct setup *s, unsigned i)
{
	return s->bar + VGPU_EXTENT_OFF + (uint64_t)i * VGPU_EXTENT_SIZE;
}

static uint8_t *channel_memory(struct setup *s)
{
	return s->bar + VGPU_CHANNEL_OFF + (uint64_t)CHANNEL * VGPU_CHANNEL_STRIDE;
}

static uint32_t shown(struct setup *s)
{
	return s->conn->header->channel[CHANNEL].state;
}

static void close_it(struct setup *s)
{
	((struct vgpu_wish *)s->conn->wish)->wanted[CHANNEL] = 0;
	channel_look(s->ch);
	assert_int_equal(s->ch->state, CH_KILLING);
	channel_event(s->ch, CH_EXIT);
	assert_int_equal(s->ch->state, CH_SCRUBBING);
}

static void test_free_means_zero(void **state)
{
	enum { OWN_A = 0, OWN_B = 17, GIVEN_BACK = 5, OTHERS = 6 };
	struct vgpu_wish *wish;
	unsigned steps = 1;
	struct setup s;

	set_up(&s, false);
	wish = (void *)s.conn->wish;
	wish->owner[OWN_A] = wish->owner[OWN_B] = CHANNEL + 1;
	wish->owner[OTHERS] = CHANNEL + 2;
	s.ch->extents = calloc(1, VGPU_EXTENTS_MAX / 8); /* mapped once, and handed to nobody since */
	s.ch->extents[GIVEN_BACK / 8] |= 1 << GIVEN_BACK % 8;
	s.ch->extents[OTHERS / 8] |= 1 << OTHERS % 8; /* mapped once, another's by now */
	memset(channel_memory(&s), 0xa5, VGPU_CHANNEL_STRIDE);
	for (unsigned i = 0; i < 20; i++)
		memset(extent(&s, i), 0xa5, VGPU_EXTENT_SIZE);
	close_it(&s);
	for (; s.ch->state == CH_SCRUBBING; steps++) {
		assert_int_not_equal(shown(&s), VGPU_CH_FREE);
		scrub_step(&s.broker.scrub);
	}
	assert_int_equal(s.ch->state, CH_FREE);
	assert_int_equal(shown(&s), VGPU_CH_FREE);
	assert_true(steps >= (VGPU_CHANNEL_STRIDE + 3 * VGPU_EXTENT_SIZE) / SCRUB_PIECE);
	assert_true(all_are(channel_memory(&s), VGPU_CHANNEL_STRIDE, 0));
	for (unsigned i = 0; i < 20; i++)
		assert_true(all_are(extent(&s, i), VGPU_EXTENT_SIZE,
				    i == OWN_A || i == OWN_B || i == GIVEN_BACK ? 0 : 0xa5));
	assert_null(s.ch->extents);
	assert_int_equal(s.vm.retired, 0);
	tear_down(&s);
}

static void test_not_zeroed_is_not_free(void **state)
{
	struct vgpu_wish *wish;
	struct setup s;

	set_up(&s, true); /* fallocate() fails */
	wish = (void *)s.conn->wish;
	close_it(&s);
	while (scrub_step(&s.broker.scrub))
		;
	assert_int_equal(s.ch->state, CH_RETIRED);
	assert_int_equal(shown(&s), VGPU_CH_DEAD);
	assert_int_equal(s.vm.retired, 1);
	assert_int_equal(s.broker.scrub.failures, 1);
	wish->wanted[CHANNEL] = 8; /* whoever wants it all the same is told */
	channel_look(s.ch);
	assert_int_equal(s.ch->state, CH_RETIRED);
	assert_int_equal(s.conn->header->channel[CHANNEL].generation, 8);
	assert_int_equal(s.conn->header->channel[CHANNEL].error, VGPU_ERR_SPAWN);
	tear_down(&s);
}

/* A new broker does not know how far the earlier one had come. */
static void test_adopted_is_zeroed(void **state)
{
	struct setup s;

	set_up(&s, false);
	((struct vgpu_wish *)s.conn->wish)->wanted[CHANNEL] = 0;
	s.ch->state = CH_FREE;
	memset(channel_memory(&s), 0xa5, VGPU_CHANNEL_STRIDE);
	channel_adopt(s.ch);
	assert_int_equal(s.ch->state, CH_SCRUBBING);
	while (scrub_step(&s.broker.scrub))
		;
	assert_int_equal(s.ch->state, CH_FREE);
	assert_true(all_are(channel_memory(&s), VGPU_CHANNEL_STRIDE, 0));
	tear_down(&s);
}

/* Wanted before the earlier broker died: served if it never ran, dead if it ended unseen. */
static void test_adopted_wish(void **state)
{
	struct setup s;

	set_up(&s, false);
	s.ch->state = CH_FREE;
	channel_adopt(s.ch); /* generation 7 ran, and is wanted */
	assert_int_equal(s.ch->state, CH_DEAD);
	assert_int_equal(s.ch->error, VGPU_ERR_EXECUTOR_CRASHED);
	tear_down(&s);

	set_up(&s, false);
	s.ch->state = CH_FREE;
	s.ch->generation = 6;
	channel_adopt(s.ch);
	while (scrub_step(&s.broker.scrub))
		;
	assert_int_equal(s.ch->state, CH_QUEUED);
	assert_int_equal(s.ch->generation, 7);
	tear_down(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events_wait_for_one_piece), cmocka_unit_test(test_holes_are_skipped),
		cmocka_unit_test(test_reserved_memory_is_given_back),
		cmocka_unit_test(test_owners_take_turns),
		cmocka_unit_test(test_free_means_zero),		  cmocka_unit_test(test_not_zeroed_is_not_free),
		cmocka_unit_test(test_adopted_is_zeroed),	  cmocka_unit_test(test_adopted_wish),
	};

	return cmocka_run_group_tests_name("scrub", tests, NULL, NULL);
}
