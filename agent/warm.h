/* Interpreters kept ready, and the spares they have forked. */
#pragma once

#include "agent.h"
#include "control.h"

enum { BACKOFF_FIRST_US = 500000 }; /* before an interpreter that ended is started again */

enum warm_strategy {
  WARM_FORK,       /* one interpreter that forks a spare for each execution */
  WARM_PRESTARTED, /* each spare is a program of its own, waiting to be told its code */
};

/* One interpreter the host asked for. */
struct warm {
  struct garbage garbage;
  struct agent *agent;
  struct link order;
  char *name;
  char **argv; /* owned, in one block */
  char **env;
  char **command; /* how the argv it stands for begins, before the source; empty: with argv[0] */
  char **fixed;   /* beginnings of the variables it reads only when it starts; empty: Python's */
  const char *cwd;
  bool fixed_cwd; /* it cannot change its directory */
  enum warm_strategy strategy;
  unsigned wanted;
  pid_t pid; /* 0: not running */
  bool proven; /* it has made a spare since it was started */
  struct watch control;
  struct link spares;
  unsigned spare_count;
  uint64_t retry_us;   /* when to start it again */
  uint64_t backoff_us;
  uint64_t refill_us;  /* not before: a program that has just taken a spare is to have the CPU */
};

/* A single-use child of a warm interpreter, waiting under its own supervisor. */
struct spare {
  struct garbage garbage;
  struct agent *agent;
  struct warm *warm;
  struct link order;
  struct watch control; /* to its supervisor */
  pid_t supervisor;     /* 0 until it is known */
  bool ready;           /* it has said so */
  pid_t main;
  int stdio[3];         /* our ends */
  uint64_t asked_us;
};

/* A ready spare that does exactly what a cold start of `start` would; NULL if there is none.  The caller
   takes its descriptors and gives it to spare_discard. */
struct spare *warm_take(struct agent *agent, const struct start *start);
void spare_discard(struct spare *spare);

struct warm *warm_find(struct agent *agent, const char *name);
void warm_forget(struct warm *warm);
void warm_interpreter_ready(struct watch *watch, uint32_t events);

/* A program that took a spare has ended: there is time to make another. */
void warms_program_ended(struct agent *agent);

/* warm_suits.c: whether a spare of `warm` does exactly what a cold start would. */
bool warm_suits(const struct warm *warm, const struct start *start);

/* warm_request.c */
void warm_answer(struct connection *connection, const struct frame *frame);
void warms_due(struct agent *agent, uint64_t now);
uint64_t warms_next_due(const struct agent *agent);
void warms_reaped(struct agent *agent, pid_t pid);
size_t warms_known(const struct agent *agent, pid_t *pids, size_t capacity);
/* Whether a spare is being made: its supervisor is our child already, and has not said so yet. */
bool warms_expected(const struct agent *agent);
void warms_end(struct agent *agent);
