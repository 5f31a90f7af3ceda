/* Linux drops SIGKILL and SIGSTOP that a process of a PID namespace sends to its process 1; gVisor delivers
 * them, and with process 1 the VM ends.  The programs have the agent's user, so no permission is in the way:
 * a filter does what Linux would have done.  `kill(-1)` never means process 1, its process group has no
 * other member, and every other signal the agent blocks.  A descriptor's signal (F_SETOWN, F_SETSIG) is the
 * one other way: it cannot be one of the two either.  Descriptors of processes (pidfd_send_signal) cannot be
 * told apart here; gVisor has none, and Linux needs no guard.
 *
 * Limits and scheduling are anybody's of the same user too, on Linux as well, whether process 1 is dumpable or
 * not: without open files or CPU time it would serve nobody any more.  Whoever names it is refused. */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "filter.h"

/* A call that sends SIGKILL or SIGSTOP (argument `signal`) to process 1 where argument `where` is `value`. */
struct way {
  uint32_t number;
  unsigned where, value, signal;
  int answer; /* an error, or 0: as if done */
};

static const struct way WAYS[] = {
  {SYS_kill, 0, 1, 1, 0},
  {SYS_tkill, 0, 1, 1, 0},
  {SYS_tgkill, 1, 1, 2, 0},
  {SYS_rt_sigqueueinfo, 0, 1, 1, 0},
  {SYS_rt_tgsigqueueinfo, 1, 1, 2, 0},
  {SYS_fcntl, 1, F_SETSIG, 2, EINVAL},
};

/* Calls that change, or show, the process their first argument names. */
static const uint32_t CHANGES[] = {
  SYS_prlimit64, SYS_sched_setscheduler, SYS_sched_setparam, SYS_sched_setattr, SYS_sched_setaffinity,
};

enum {
  WAY_COUNT = sizeof WAYS / sizeof *WAYS,
  PER_WAY = 8,
  CHANGE_COUNT = sizeof CHANGES / sizeof *CHANGES,
  PER_CHANGE = 5,
};

/* The low half; both machines are little-endian. */
static struct instruction load_argument(unsigned index) {
  return (struct instruction){LOAD, 0, 0, (uint32_t)(offsetof(struct call, arguments) + index * sizeof(uint64_t))};
}

int guard_apply(void) {
  const struct instruction load_number = {LOAD, 0, 0, offsetof(struct call, number)};
  struct instruction all[1 + WAY_COUNT * PER_WAY + CHANGE_COUNT * PER_CHANGE + 1];
  struct instruction *at = all;
  *at++ = load_number;
  for (size_t i = 0; i < WAY_COUNT; i++) {
    const struct way *way = &WAYS[i];
    *at++ = (struct instruction){JUMP_EQUAL, 0, PER_WAY - 1, way->number};
    *at++ = load_argument(way->where);
    *at++ = (struct instruction){JUMP_EQUAL, 0, 4, way->value};
    *at++ = load_argument(way->signal);
    *at++ = (struct instruction){JUMP_EQUAL, 1, 0, SIGKILL};
    *at++ = (struct instruction){JUMP_EQUAL, 0, 1, SIGSTOP};
    *at++ = (struct instruction){RETURN, 0, 0, REFUSE(way->answer)};
    *at++ = load_number;
  }
  for (size_t i = 0; i < CHANGE_COUNT; i++) {
    *at++ = (struct instruction){JUMP_EQUAL, 0, PER_CHANGE - 1, CHANGES[i]};
    *at++ = load_argument(0);
    *at++ = (struct instruction){JUMP_EQUAL, 0, 1, 1};
    *at++ = (struct instruction){RETURN, 0, 0, REFUSE(EPERM)};
    *at++ = load_number;
  }
  *at++ = (struct instruction){RETURN, 0, 0, ALLOW};
  struct program program = {.length = (uint16_t)(at - all), .instructions = all};
  return prctl(PR_SET_SECCOMP, FILTER_MODE, &program, 0, 0);
}
