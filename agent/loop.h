/* One epoll over everything the agent waits for. */
#pragma once

#include <stdint.h>

#include "list.h"

/* A descriptor somebody waits for.  -1 when it is none.  `events` 0: held but not waited for. */
struct watch {
  int fd;
  uint32_t events;
  void (*ready)(struct watch *watch, uint32_t events);
};

/* Memory that may still be named by an event of this turn: freed at its end. */
struct garbage {
  struct garbage *next;
};

struct loop {
  int epoll;
  struct garbage *garbage;
};

/* 0 or -1 with errno. */
int loop_open(struct loop *loop);

/* Wait at most `timeout_ms` (-1 without end) and call whoever is ready. */
void loop_turn(struct loop *loop, int timeout_ms);

/* Start or change waiting; false when the kernel has no memory for it. */
bool watch_for(struct loop *loop, struct watch *watch, uint32_t events);

/* Stop waiting and close. */
void watch_close(struct loop *loop, struct watch *watch);

/* Free at the end of the turn; `garbage` is a member at offset 0 of what was allocated. */
void loop_discard(struct loop *loop, struct garbage *garbage);
