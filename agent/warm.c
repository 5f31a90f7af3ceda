#include "warm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "program.h"
#include "warm_native.h"
#include "supervisor.h"

enum {
  PATIENCE_US = 10000000,     /* for a spare to report, before the interpreter counts as hung */
  PRESTART_PATIENCE_US = 60000000,
  BACKOFF_LAST_US = 60000000,
  REFILL_PAUSE_US = 10000,
  UNMADE_PAUSE_US = 200000,
};

struct warm *warm_find(struct agent *agent, const char *name) {
  list_each(at, next, &agent->warms) {
    struct warm *warm = container_of(at, struct warm, order);
    if (strcmp(warm->name, name) == 0) {
      return warm;
    }
  }
  return NULL;
}

static bool make_spare(struct warm *warm, uint64_t now);

void spare_discard(struct spare *spare) {
  for (int i = 0; i < 3; i++) {
    close_owned(&spare->stdio[i]);
  }
  watch_close(&spare->agent->loop, &spare->control); /* its supervisor ends it */
  list_remove(&spare->order);
  spare->warm->spare_count--;
  loop_discard(&spare->agent->loop, &spare->garbage);
}

/* What it says while it waits (a warning of a new version's) would become a program's output. */
static bool is_silent(const struct spare *spare) {
  int said[2] = {0, 0};
  return ioctl(spare->stdio[1], FIONREAD, &said[0]) == 0 && ioctl(spare->stdio[2], FIONREAD, &said[1]) == 0 &&
         said[0] == 0 && said[1] == 0;
}

/* None is ready: one that is being made, begun now if need be. */
static struct spare *coming(struct warm *warm) {
  if (warm->control.fd < 0 || warm->pid == 0 || !warm->proven) {
    return NULL; /* one that only starts would delay it */
  }
  list_each(at, next, &warm->spares) {
    struct spare *spare = container_of(at, struct spare, order);
    if (!spare->ready) {
      return spare;
    }
  }
  return make_spare(warm, now_us()) ? container_of(warm->spares.previous, struct spare, order) : NULL;
}

struct spare *warm_take(struct agent *agent, const struct start *start) {
  struct warm *warm = start->warm ? warm_find(agent, start->warm) : NULL;
  if (warm == NULL || !warm_suits(warm, start)) {
    return NULL;
  }
  struct spare *taken = NULL;
  bool another = false;
  list_each(at, next, &warm->spares) {
    struct spare *spare = container_of(at, struct spare, order);
    bool usable = spare->supervisor != 0 && is_silent(spare);
    another |= taken != NULL && usable;
    taken = taken == NULL && usable ? spare : taken;
  }
  warm->refill_us = another || warm->strategy == WARM_PRESTARTED ? now_us() + REFILL_PAUSE_US : 0;
  return taken != NULL || warm->strategy != WARM_FORK ? taken : coming(warm);
}

void warms_program_ended(struct agent *agent) {
  list_each(at, next, &agent->warms) {
    struct warm *warm = container_of(at, struct warm, order);
    if (warm->strategy == WARM_PRESTARTED) {
      warm->refill_us = 0;
    }
  }
}

static void stop_interpreter(struct warm *warm) {
  watch_close(&warm->agent->loop, &warm->control);
  list_each(at, next, &warm->spares) {
    spare_discard(container_of(at, struct spare, order));
  }
  if (warm->pid != 0) {
    kill(warm->pid, SIGKILL);
  }
  warm->retry_us = now_us() + warm->backoff_us;
  warm->backoff_us = warm->backoff_us * 2 < BACKOFF_LAST_US ? warm->backoff_us * 2 : BACKOFF_LAST_US;
}

/* The supervisor of a spare reports once, then is silent until the spare is used: anything else is its end. */
static void spare_ready(struct watch *watch, uint32_t events) {
  (void)events;
  struct spare *spare = container_of(watch, struct spare, control);
  struct report report;
  pid_t peer = 0;
  ssize_t got = control_receive(watch->fd, &report, sizeof report, NULL, &peer);
  if (got < 0 && errno == EAGAIN) {
    return;
  }
  bool expected = got == sizeof report && report.kind == REPORT_READY && !spare->ready &&
                  (spare->supervisor == 0 ? is_our_child(peer) : peer == spare->supervisor);
  if (!expected) {
    if (spare->warm->strategy == WARM_PRESTARTED && !spare->ready) {
      stop_interpreter(spare->warm); /* it cannot become ready: not at once again */
    } else {
      spare_discard(spare);
    }
    return;
  }
  spare->supervisor = peer;
  spare->ready = spare->warm->proven = true;
  spare->main = report.pid;
  spare->warm->backoff_us = BACKOFF_FIRST_US;
}

/* Pipes for its standard descriptors and a pair for its supervisor, whose far ends go to the interpreter. */
static bool connect_spare(struct spare *spare, int theirs[CONTROL_FDS_MAX]) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    return false;
  }
  spare->control.fd = pair[0];
  theirs[0] = pair[1];
  int on = 1;
  fcntl(pair[0], F_SETFL, O_NONBLOCK);
  if (setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) {
    return false;
  }
  for (int i = 0; i < 3; i++) {
    int both[2];
    if (pipe2(both, O_CLOEXEC) != 0) {
      return false;
    }
    int ours = i == 0 ? 1 : 0;
    spare->stdio[i] = both[ours];
    theirs[i + 1] = both[1 - ours];
    fcntl(both[ours], F_SETFL, O_NONBLOCK);
  }
  return watch_for(&spare->agent->loop, &spare->control, EPOLLIN);
}

/* Fork the supervisor of a program that is to wait for its code.  The child never returns. */
static bool prestart(struct spare *spare, const int theirs[CONTROL_FDS_MAX]) {
  const struct warm *warm = spare->warm;
  spare->supervisor = fork();
  if (spare->supervisor == 0) {
    if (chdir(warm->agent->home) != 0) {
      _exit(0);
    }
    const struct stdio stdio = {.fds = {theirs[1], theirs[2], theirs[3]}};
    supervisor_run_prestarted(theirs[0], &(struct prestart){warm->argv, warm->env, warm->fixed_cwd}, &stdio,
                              !warm->agent->adopts);
  }
  spare->supervisor = spare->supervisor > 0 ? spare->supervisor : 0;
  return spare->supervisor != 0;
}

static bool make_spare(struct warm *warm, uint64_t now) {
  struct spare *spare = calloc(1, sizeof *spare);
  if (spare == NULL) {
    return false;
  }
  *spare = (struct spare){.agent = warm->agent, .warm = warm, .stdio = {-1, -1, -1}, .asked_us = now};
  spare->control = (struct watch){.fd = -1, .ready = spare_ready};
  list_append(&warm->spares, &spare->order);
  warm->spare_count++;
  int theirs[CONTROL_FDS_MAX] = {-1, -1, -1, -1};
  bool asked = connect_spare(spare, theirs) &&
               (warm->strategy == WARM_PRESTARTED
                  ? prestart(spare, theirs)
                  : control_send(warm->control.fd, "S", 1, theirs, CONTROL_FDS_MAX) == 0);
  for (int i = 0; i < CONTROL_FDS_MAX; i++) {
    close_owned(&theirs[i]);
  }
  if (!asked) {
    spare_discard(spare);
  }
  return asked;
}

/* The interpreter never says anything: readable means that it ended. */
void warm_interpreter_ready(struct watch *watch, uint32_t events) {
  (void)events;
  stop_interpreter(container_of(watch, struct warm, control));
}

/* The environment, and that the dynamic linker is to look up every symbol at once: else each spare does it anew.
   The interpreter takes the variable out again before anybody sees it. */
static char *const *with_symbols_bound(char *const *env) {
  size_t count = 0;
  while (env[count] != NULL) {
    count++;
  }
  char **bound = calloc(count + 2, sizeof *bound);
  if (bound == NULL) {
    return env;
  }
  memcpy(bound, env, count * sizeof *bound);
  bound[count] = (char *)(uintptr_t) "LD_BIND_NOW=1";
  return bound;
}

/* Role: the warm interpreter, until it executes itself.  Parent: the agent.  Ends: when the agent closes the
   control socket.  Its streams are pipes that lead nowhere, like those its spares will have. */
static _Noreturn void run_interpreter(const struct warm *warm, int control) {
  int in[2], out[2];
  if (chdir(warm->agent->home) != 0 || pipe(in) != 0 || pipe(out) != 0) {
    _exit(EXIT_NOT_EXECUTABLE);
  }
  int high[4] = {fcntl(control, F_DUPFD, 64), fcntl(warm->agent->executable, F_DUPFD, 64), fcntl(out[1], F_DUPFD, 64),
                 fcntl(warm_native_open(), F_DUPFD, 64)};
  dup2(in[0], 0);
  dup2(high[2], 1);
  dup2(high[2], 2);
  dup2(high[0], 3);
  dup2(high[1], 4);
  dup2(high[3], 5);
  close_from(6);
  program_execute(warm->argv, with_symbols_bound(warm->env));
}

static void start_interpreter(struct warm *warm) {
  int pair[2] = {-1, -1};
  warm->retry_us = 0;
  warm->proven = false;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    stop_interpreter(warm);
    return;
  }
  cleanup_fd int theirs = pair[1];
  warm->control.fd = pair[0];
  fcntl(pair[0], F_SETFL, O_NONBLOCK);
  pid_t pid = watch_for(&warm->agent->loop, &warm->control, EPOLLIN) ? fork() : -1;
  if (pid == 0) {
    run_interpreter(warm, theirs);
  }
  warm->pid = pid > 0 ? pid : 0;
  if (pid < 0) {
    stop_interpreter(warm);
  }
}

static uint64_t patience(const struct warm *warm) {
  return warm->strategy == WARM_PRESTARTED ? PRESTART_PATIENCE_US : PATIENCE_US;
}

/* Whether a spare could be made now, or is only waited for. */
static bool can_make(const struct warm *warm, uint64_t now) {
  bool able = warm->strategy == WARM_PRESTARTED ? warm->retry_us <= now : warm->control.fd >= 0;
  return able && warm->refill_us <= now;
}

static bool is_hung(const struct warm *warm, uint64_t now) {
  list_each(at, next, &warm->spares) {
    const struct spare *spare = container_of(at, struct spare, order);
    if (!spare->ready && spare->asked_us + patience(warm) <= now) {
      return true;
    }
  }
  return false;
}

void warm_forget(struct warm *warm) {
  stop_interpreter(warm);
  list_remove(&warm->order);
  free(warm->name);
  free(warm->argv);
  loop_discard(&warm->agent->loop, &warm->garbage);
}

void warms_due(struct agent *agent, uint64_t now) {
  list_each(at, next, &agent->warms) {
    struct warm *warm = container_of(at, struct warm, order);
    bool forks = warm->strategy == WARM_FORK;
    if (is_hung(warm, now)) {
      stop_interpreter(warm);
    }
    if (forks && warm->control.fd < 0 && warm->pid == 0 && warm->retry_us <= now) {
      start_interpreter(warm);
    }
    while (warm->spare_count < warm->wanted && can_make(warm, now)) {
      if (!make_spare(warm, now)) { /* no process or descriptor is to be had */
        warm->refill_us = now + UNMADE_PAUSE_US;
      }
    }
  }
}

uint64_t warms_next_due(const struct agent *agent) {
  uint64_t due = 0;
  list_each(at, next, &agent->warms) {
    const struct warm *warm = container_of(at, struct warm, order);
    bool short_of = warm->spare_count < warm->wanted;
    uint64_t wanted = 0;
    if (warm->strategy == WARM_PRESTARTED && short_of) {
      wanted = warm->refill_us > warm->retry_us ? warm->refill_us : warm->retry_us;
    } else if (warm->strategy == WARM_FORK && warm->control.fd < 0 && warm->pid == 0) {
      wanted = warm->retry_us;
    } else if (warm->control.fd >= 0 && short_of) {
      wanted = warm->refill_us;
    }
    list_each(one, following, &warm->spares) {
      const struct spare *spare = container_of(one, struct spare, order);
      if (!spare->ready && (wanted == 0 || spare->asked_us + patience(warm) < wanted)) {
        wanted = spare->asked_us + patience(warm);
      }
    }
    due = due == 0 || (wanted != 0 && wanted < due) ? wanted : due;
  }
  return due;
}

void warms_reaped(struct agent *agent, pid_t pid) {
  list_each(at, next, &agent->warms) {
    struct warm *warm = container_of(at, struct warm, order);
    if (warm->pid == pid) {
      warm->pid = 0;
    }
  }
}

size_t warms_known(const struct agent *agent, pid_t *pids, size_t capacity) {
  size_t count = 0;
  list_each(at, next, &agent->warms) {
    const struct warm *warm = container_of(at, struct warm, order);
    if (warm->pid != 0 && count < capacity) {
      pids[count++] = warm->pid;
    }
    list_each(one, following, &warm->spares) {
      pid_t supervisor = container_of(one, struct spare, order)->supervisor;
      if (supervisor != 0 && count < capacity) {
        pids[count++] = supervisor;
      }
    }
  }
  return count;
}

bool warms_expected(const struct agent *agent) {
  if (executions_expect_supervisor(agent)) {
    return true;
  }
  list_each(at, next, &agent->warms) {
    list_each(one, following, &container_of(at, struct warm, order)->spares) {
      if (container_of(one, struct spare, order)->supervisor == 0) {
        return true;
      }
    }
  }
  return false;
}

void warms_end(struct agent *agent) {
  list_each(at, next, &agent->warms) {
    warm_forget(container_of(at, struct warm, order));
  }
}
