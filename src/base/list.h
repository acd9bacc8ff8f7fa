/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive doubly linked list: the node lies in the element, nothing is allocated, nothing can fail.
 * A node is on at most one list; list_del() leaves it unlinked (list_linked() false).
 */
#ifndef VGPU_BASE_LIST_H
#define VGPU_BASE_LIST_H
#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define list_entry(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline bool list_linked(const struct list *n)
{
	return n->next && n->next != n;
}

static inline void list_add_tail(struct list *head, struct list *n)
{
	n->prev = head->prev;
	n->next = head;
	head->prev->next = n;
	head->prev = n;
}

static inline void list_del(struct list *n)
{
	if (!n->next)
		return;
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

static inline unsigned list_count(const struct list *head)
{
	unsigned n = 0;

	for (const struct list *it = head->next; it != head; it = it->next)
		n++;
	return n;
}

/* Safe against list_del() of the current element. */
#define list_for_each(it, head)                                                                    \
	for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                  \
	     it = it##_next, it##_next = it->next)
#endif
