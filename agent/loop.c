#include "loop.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base.h"

enum { EVENTS_PER_TURN = 64 };

int loop_open(struct loop *loop) {
  *loop = (struct loop){.epoll = epoll_create1(EPOLL_CLOEXEC)};
  return loop->epoll < 0 ? -1 : 0;
}

void loop_turn(struct loop *loop, int timeout_ms) {
  struct epoll_event events[EVENTS_PER_TURN];
  int count = epoll_wait(loop->epoll, events, EVENTS_PER_TURN, timeout_ms);
  for (int i = 0; i < count; i++) {
    struct watch *watch = events[i].data.ptr;
    if (watch->fd >= 0 && watch->events != 0) {
      watch->ready(watch, events[i].events);
    }
  }
  while (loop->garbage != NULL) {
    struct garbage *next = loop->garbage->next;
    free(loop->garbage);
    loop->garbage = next;
  }
}

bool watch_for(struct loop *loop, struct watch *watch, uint32_t events) {
  if (events == watch->events) {
    return true;
  }
  int verb = events == 0 ? EPOLL_CTL_DEL : watch->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  struct epoll_event event = {.events = events, .data.ptr = watch};
  if (epoll_ctl(loop->epoll, verb, watch->fd, &event) != 0) {
    return false;
  }
  watch->events = events;
  return true;
}

void watch_close(struct loop *loop, struct watch *watch) {
  if (watch->fd >= 0) {
    watch_for(loop, watch, 0);
    watch->events = 0;
    close_owned(&watch->fd);
  }
}

void loop_discard(struct loop *loop, struct garbage *garbage) {
  garbage->next = loop->garbage;
  loop->garbage = garbage;
}
