#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "control.h"
#include "frame.h"
#include "tree.h"
#include "workspace.h"

enum { END_PAUSE_MS = 5, OOM_SCORE_OF_SUPERVISOR = 100, PRESTART_PATIENCE_MS = 10000 };

struct supervisor {
  int control;
  int children; /* signalfd for SIGCHLD */
  pid_t main;   /* 0 once ended */
  bool ending;  /* nothing may live any longer */
  unsigned round;
  bool building;
  uint64_t spent_us; /* CPU time of a spare before it was used */
  struct report end; /* of the main process, not said yet; `kind` 0 without one */
  const struct start *start;
  struct stdio stdio;
};

static void report(const struct supervisor *self, const struct report *message) {
  control_send(self->control, message, sizeof *message, NULL, 0);
}

static _Noreturn void fail(const struct supervisor *self, enum stage stage, int error) {
  report(self, &(struct report){.kind = REPORT_FAILED, .stage = stage, .error = error});
  _exit(0);
}

/* Keep `control` at 3 and the three of the program above it; whatever else the agent had open is not ours. */
static void keep_only_ours(struct supervisor *self) {
  int high[4] = {fcntl(self->control, F_DUPFD_CLOEXEC, 64)};
  for (int i = 0; i < 3; i++) {
    high[i + 1] = fcntl(self->stdio.fds[i], F_DUPFD_CLOEXEC, 64);
  }
  self->control = dup3(high[0], 3, O_CLOEXEC);
  for (int i = 0; i < 3; i++) {
    self->stdio.fds[i] = dup3(high[i + 1], 4 + i, O_CLOEXEC);
  }
  close_from(7);
}

static void close_stdio(struct supervisor *self) {
  for (int i = 0; i < 3; i++) {
    close_owned(&self->stdio.fds[i]);
  }
}

/* A session of its own, deaf to every signal that can be blocked, a reaper, closed to ptrace. */
static void set_apart(struct supervisor *self, bool reaper) {
  setsid();
  if (reaper) {
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  }
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  prctl(PR_SET_NAME, "vmpool-super", 0, 0, 0);
  set_oom_score(OOM_SCORE_OF_SUPERVISOR);
  set_signal_mask(EVERY_SIGNAL);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  self->children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
}

static pid_t spawn(const struct supervisor *self, char *const *argv) {
  pid_t pid = fork();
  if (pid == 0) {
    program_run(self->start, argv, &self->stdio);
  }
  return pid;
}

static void spawn_main(struct supervisor *self, char *const *argv) {
  pid_t pid = spawn(self, argv);
  if (pid < 0) {
    int error = errno;
    workspace_remove(self->start);
    fail(self, STAGE_SPAWN, error);
  }
  self->main = pid;
  report(self, &(struct report){.kind = REPORT_STARTED, .pid = pid});
}

static uint64_t microseconds(const struct timeval *time) {
  return (uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_usec;
}

static bool succeeded(int status) {
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* CPU time of another process so far. */
static uint64_t spent_by(pid_t pid) {
  clockid_t clock;
  struct timespec spent;
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &spent) != 0) {
    return 0;
  }
  return (uint64_t)spent.tv_sec * 1000000 + (uint64_t)spent.tv_nsec / 1000;
}

static void main_ended(struct supervisor *self, int status, const struct rusage *use) {
  uint64_t user = microseconds(&use->ru_utime), system = microseconds(&use->ru_stime);
  uint64_t from_user = self->spent_us < user ? self->spent_us : user;
  uint64_t from_system = self->spent_us - from_user < system ? self->spent_us - from_user : system;
  self->main = 0;
  if (self->building && succeeded(status) && !self->ending) {
    self->building = false;
    spawn_main(self, self->start->argv);
    return;
  }
  close_stdio(self);
  self->ending |= !self->start->background;
  self->end = (struct report){
    .kind = REPORT_MAIN_ENDED,
    .status = status,
    .build_failed = self->building,
    .user_us = user - from_user,
    .system_us = system - from_system,
    .max_rss_bytes = (uint64_t)use->ru_maxrss * 1024,
  };
}

static void report_end(struct supervisor *self, bool tree_gone) {
  if (self->end.kind != 0) {
    self->end.tree_gone = tree_gone;
    report(self, &self->end);
    self->end.kind = 0;
  } else if (tree_gone) {
    report(self, &(struct report){.kind = REPORT_TREE_GONE});
  }
}

/* Reap whatever has ended; false once there is no child left. */
static bool reap(struct supervisor *self) {
  for (;;) {
    int status;
    struct rusage use;
    pid_t pid = wait4(-1, &status, WNOHANG, &use);
    if (pid == 0) {
      return true;
    }
    if (pid < 0) {
      return errno != ECHILD;
    }
    if (pid == self->main) {
      main_ended(self, status, &use);
    }
  }
}

static void obey(struct supervisor *self) {
  struct order order;
  ssize_t got = control_receive(self->control, &order, sizeof order, NULL, NULL);
  if (got == 0 || (got < 0 && errno != EAGAIN)) {
    self->ending = true; /* the agent is gone, and with it whoever could want this to go on */
    close_owned(&self->control);
    return;
  }
  if (got != sizeof order) {
    return;
  }
  if (order.kind == ORDER_END) {
    self->ending = true;
  } else if (order.kind == ORDER_SIGNAL && order.tree) {
    tree_signal(getpid(), order.signal);
  } else if (order.kind == ORDER_SIGNAL && self->main > 0) {
    kill(self->main, order.signal);
  }
}

static void supervise(struct supervisor *self) {
  struct pollfd waited[] = {{.events = POLLIN}, {.fd = self->children, .events = POLLIN}};
  while (reap(self)) {
    report_end(self, false);
    if (self->ending) {
      tree_end_step(getpid(), NULL, self->round++);
    }
    waited[0].fd = self->control;
    poll(waited, 2, self->ending ? END_PAUSE_MS : -1);
    struct signalfd_siginfo ignored[16];
    if (waited[1].revents != 0) {
      (void)!read(self->children, ignored, sizeof ignored);
    }
    if (waited[0].fd >= 0 && waited[0].revents != 0) {
      obey(self);
    }
  }
  workspace_remove(self->start);
  report_end(self, true);
  _exit(0);
}

void supervisor_run(int control, const struct start *start, const struct stdio *stdio, bool reaper) {
  struct supervisor self = {.control = control, .start = start, .stdio = *stdio};
  keep_only_ours(&self);
  set_apart(&self, reaper);
  uint32_t stage;
  umask(022);
  if (workspace_make(start, &stage) != 0) {
    fail(&self, stage, errno);
  }
  if (chdir(start->cwd ? start->cwd : ".") != 0) {
    int error = errno;
    workspace_remove(start);
    fail(&self, STAGE_CWD, error);
  }
  self.building = start->build[0] != NULL;
  spawn_main(&self, self.building ? start->build : start->argv);
  supervise(&self);
  _exit(0);
}

/* Lower the spare's limits; its own process could not be lower than the warm interpreter's before. */
static void limit_spare(const struct supervisor *self) {
  struct limit limits[LIMITS_MAX + 2];
  size_t count = program_limits(self->start, limits);
  for (size_t i = 0; i < count; i++) {
    struct rlimit now;
    int resource = (int)limits[i].resource;
    if (prlimit(self->main, resource, NULL, &now) != 0) {
      continue;
    }
    rlim_t hard = limits[i].hard < now.rlim_max ? limits[i].hard : now.rlim_max;
    struct rlimit wanted = {.rlim_cur = limits[i].soft < hard ? limits[i].soft : hard, .rlim_max = hard};
    prlimit(self->main, resource, &wanted, NULL);
  }
}

static void append_word(struct bytes *job, const char *word) {
  bytes_append(job, word, strlen(word) + 1);
}

/* What warm_python.py reads: umask, whether stdin is empty, directory, count of arguments, arguments,
   environment; each ended by a zero byte. */
static bool send_job(const struct start *start, int pipe, const char *directory) {
  struct bytes job = {0};
  char number[32];
  snprintf(number, sizeof number, "%u", start->umask);
  append_word(&job, number);
  append_word(&job, start->stdin_open || start->stdin_data != NULL ? "0" : "1");
  append_word(&job, directory);
  size_t count = 0;
  while (start->argv[count] != NULL) {
    count++;
  }
  snprintf(number, sizeof number, "%zu", count);
  append_word(&job, number);
  for (char **word = start->argv; *word != NULL; word++) {
    append_word(&job, *word);
  }
  for (char **word = start->env; *word != NULL; word++) {
    append_word(&job, *word);
  }
  bool sent = !job.failed && write_all(pipe, job.data, job.size) == 0;
  bytes_free(&job);
  return sent;
}

static _Noreturn void fail_warm(const struct supervisor *self, enum stage stage, int error) {
  kill(self->main, SIGKILL);
  fail(self, stage, error);
}

static _Noreturn void leave_unused(const struct supervisor *self) {
  kill(self->main, SIGKILL);
  _exit(0);
}

static bool said_ready(int job) {
  char word;
  return read_some(job, &word, 1) == 1;
}

static void set_oom_score_of(pid_t pid, int score) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)pid);
  cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd >= 0) {
    dprintf(fd, "%d\n", score);
  }
}

/* Wait, with the spare, for an order; ends the process when it was not needed.  `job` is where a prestarted
   program says that it is ready, -1 if it is. */
static void await_start(struct supervisor *self, struct start *start, int job) {
  struct order order;
  int payload = -1;
  struct pollfd waited[] = {
    {.fd = self->control, .events = POLLIN}, {.fd = self->children, .events = POLLIN}, {.fd = job, .events = POLLIN}};
  for (;;) {
    poll(waited, 3, -1);
    if (waited[0].revents != 0 || waited[1].revents != 0) {
      break;
    }
    if (waited[2].revents != 0) {
      if (!said_ready(job)) {
        leave_unused(self);
      }
      waited[2].fd = -1;
      set_oom_score_of(self->main, OOM_SCORE_OF_WAITING);
      report(self, &(struct report){.kind = REPORT_READY, .pid = self->main});
    }
  }
  ssize_t got = waited[0].revents == 0 ? 0 : control_receive(self->control, &order, sizeof order, &payload, NULL);
  if (got != sizeof order || order.kind != ORDER_START || payload < 0 ||
      order.payload_bytes > FRAME_MAX_PAYLOAD_BYTES) {
    leave_unused(self);
  }
  void *bytes = mmap(NULL, order.payload_bytes, PROT_READ, MAP_PRIVATE, payload, 0);
  const char *problem;
  if (bytes == MAP_FAILED || start_decode(bytes, order.payload_bytes, start, &problem) != START_OK) {
    fail_warm(self, STAGE_SPARE, ENOMEM);
  }
  close(payload);
  if (waited[2].fd >= 0) { /* used while it starts: still sooner than one that has not begun */
    poll(&waited[1], 2, PRESTART_PATIENCE_MS);
    if (waited[2].revents == 0 || !said_ready(job)) {
      fail_warm(self, STAGE_SPARE, ESRCH);
    }
  }
}

static bool is_in(pid_t pid, const char *directory) {
  char path[64];
  struct stat its, wanted;
  snprintf(path, sizeof path, "/proc/%d/cwd", (int)pid);
  return stat(path, &its) == 0 && stat(directory, &wanted) == 0 && its.st_dev == wanted.st_dev &&
         its.st_ino == wanted.st_ino;
}

/* What the waiting program needs of the order, and then what every supervisor does. */
static _Noreturn void run_waiting(struct supervisor *self, int job, bool has_limits, bool fixed_cwd) {
  const struct start *start = self->start;
  pid_t spare = self->main;
  uint32_t stage;
  char directory[PATH_MAX];
  if (waitpid(spare, NULL, WNOHANG) != 0) {
    fail(self, STAGE_SPARE, ESRCH);
  }
  umask(022);
  if (workspace_make(start, &stage) != 0) {
    fail_warm(self, stage, errno);
  }
  if (chdir(start->cwd ? start->cwd : ".") != 0 || getcwd(directory, sizeof directory) == NULL) {
    int error = errno;
    workspace_remove(start);
    fail_warm(self, STAGE_CWD, error);
  }
  if (has_limits) {
    set_oom_score_of(spare, OOM_SCORE_OF_PROGRAM);
  } else {
    limit_spare(self);
  }
  self->spent_us = spent_by(spare);
  kill(spare, SIGCONT);
  if ((fixed_cwd && !is_in(spare, directory)) || !send_job(start, job, directory)) {
    workspace_remove(start);
    fail_warm(self, STAGE_SPARE, ESRCH);
  }
  close(job);
  report(self, &(struct report){.kind = REPORT_STARTED, .pid = spare});
  supervise(self);
  _exit(0);
}

void supervisor_run_warm(int control, pid_t spare, int job) {
  struct start start;
  struct supervisor self = {.control = dup2(control, 3), .main = spare, .start = &start, .stdio.fds = {-1, -1, -1}};
  int pipe = dup2(job, 4);
  dup2(STDERR_FILENO, job); /* the last copy of the pipe's end is ours to close */
  close_from(5);
  fcntl(3, F_SETFD, FD_CLOEXEC);
  fcntl(4, F_SETFD, FD_CLOEXEC);
  set_apart(&self, true);
  report(&self, &(struct report){.kind = REPORT_READY, .pid = spare});
  await_start(&self, &start, -1);
  run_waiting(&self, pipe, false, false);
}

void supervisor_run_prestarted(int control, const struct prestart *prestart, const struct stdio *stdio, bool reaper) {
  struct start start = {.argv = prestart->argv, .env = prestart->env, .umask = 022};
  struct supervisor self = {.control = control, .start = &start, .stdio = *stdio};
  int pair[2];
  keep_only_ours(&self);
  set_apart(&self, reaper);
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    _exit(0);
  }
  self.stdio.job = pair[1];
  self.main = spawn(&self, start.argv);
  if (self.main < 0) {
    _exit(0);
  }
  close(pair[1]);
  close_stdio(&self);
  await_start(&self, &start, pair[0]);
  run_waiting(&self, pair[0], true, prestart->fixed_cwd);
}
