/* A doubly linked list through its members. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct link {
  struct link *next, *previous;
};

static inline void list_init(struct link *list) {
  list->next = list->previous = list;
}

static inline void list_append(struct link *list, struct link *item) {
  item->previous = list->previous;
  item->next = list;
  list->previous->next = item;
  list->previous = item;
}

/* Safe for an item that is in no list, if it was once initialised. */
static inline void list_remove(struct link *item) {
  item->previous->next = item->next;
  item->next->previous = item->previous;
  list_init(item);
}

/* `after` is read before the body runs, so that the body may remove `at`. */
#define list_each(at, after, list) \
  for (struct link *at = (list)->next, *after = at->next; at != (list); at = after, after = at->next)
