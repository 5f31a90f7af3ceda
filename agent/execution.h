/* One execution inside the agent.  Seen by execution.c, output.c, input.c and deadline.c only. */
#pragma once

#include "agent.h"
#include "control.h"

struct execution;

/* Reading end of the program's stdout or stderr. */
struct outlet {
  struct watch watch;
  struct stream stream;
  struct execution *execution;
};

/* Writing end of the program's stdin. */
struct inlet {
  struct watch watch;
  struct bytes waiting; /* received, not yet in the pipe */
  uint64_t received;    /* offset of the next byte the host should send */
  uint64_t acknowledged;
  bool open;            /* more may come from the host */
  bool broken;          /* the program has closed it: whatever comes is dropped */
  bool reports;         /* a stream: the host counts on STDIN_ACK */
};

enum state {
  STATE_STARTING, /* the supervisor was forked and has not said that anything runs */
  STATE_RUNNING,
  STATE_FINISHED, /* the host may know how it ended; kept until released */
  STATE_LINGERING, /* released, but descendants of a background execution go on */
};

struct execution {
  struct garbage garbage;
  struct agent *agent;
  uint64_t id;
  enum state state;
  struct link bucket;   /* by id */
  struct link order;    /* agent->running, finished or lingering */
  struct link supervised; /* agent->supervised while `supervisor` is not 0 */
  struct link attached; /* the connection that started or attached last */
  struct connection *connection;
  struct watch control; /* to the supervisor */
  pid_t supervisor;     /* 0 once reaped */
  pid_t main;           /* 0 once ended */
  struct outlet outlets[2];
  struct inlet inlet;
  bool background, warm, terminal;
  bool main_ended, tree_gone, lost;
  bool ending;    /* the supervisor was told to end everything */
  bool childless; /* the supervisor is done; orphans of it may be left with the agent (orphans.c) */
  bool survived;  /* the last look found processes that may be its orphans */
  pid_t sessions[2]; /* of the program and of its build */
  unsigned long long began_ticks; /* when the supervisor started; 0 where nobody asks */
  bool timed_out, cancelled, build_failed;
  bool discarding;  /* nobody will want the output any more */
  bool released;    /* forget it as soon as it has ended */
  bool exited_sent; /* to the attached connection */
  int status;
  uint64_t user_us, system_us, max_rss_bytes;
  uint64_t began_us, ended_us;
  uint64_t deadline_us; /* 0: none */
  uint64_t grace_us;
  uint64_t kill_us;     /* 0: not waiting to kill */
  uint64_t give_up_us;  /* 0: the supervisor was not told to end everything */
  uint64_t spare_due_us; /* 0, or until when the spare that is being made for it is waited for */
  struct order held;    /* what is to be said to the supervisor once it is known; `kind` 0 without one */
  int request; /* warm: the START payload until the spare has taken it, -1 else */
  uint32_t request_bytes;
  struct start files;   /* its paths only, for when the supervisor cannot remove them any more */
};

/* execution.c */
struct link *execution_bucket(struct agent *agent, uint64_t id);
void execution_attach_to(struct execution *execution, struct connection *connection);
void execution_reply_started(struct execution *execution, bool already);
void execution_control_ready(struct watch *watch, uint32_t events);
void execution_lost(struct execution *execution);
void execution_supervised_by(struct execution *execution, pid_t supervisor);
/* begin.c: give the spare's supervisor what is to be run. */
bool execution_send_start(struct execution *execution);
/* What was ordered while there was no supervisor. */
void execution_order_held(struct execution *execution);
struct execution *execution_find(struct agent *agent, uint64_t id);
void execution_fail(struct execution *execution, const char *reason, const char *message, int error);
void execution_destroy(struct execution *execution);
/* Something ended or was read: move on as far as that allows. */
void execution_advance(struct execution *execution);
/* Kill all of it, now. */
void execution_end(struct execution *execution);

/* Forget it, or leave its descendants alone where it was a background one. */
void execution_forget(struct execution *execution);
/* Strays were looked for and none is left that has to end. */
void execution_orphans_gone(struct execution *execution);
void execution_order(struct execution *execution, enum order_kind kind, int signal, bool tree);

/* orphans.c */
void orphans_note_start(struct execution *execution);
bool execution_is_over(const struct execution *execution);

/* begin.c */
bool execution_begin_cold(struct execution *execution);

/* output.c */
bool outlets_open(struct execution *execution, int ends[2]);
/* The same with pipes that are there already. */
bool outlets_adopt(struct execution *execution, int ends[2]);
/* One of them alone. */
bool outlet_adopt(struct execution *execution, int index, int end);
void outlets_pump(struct execution *execution);
void outlets_close(struct execution *execution);

/* terminal.c: one of the size `start` asks for; `*end` is the program's side of all three. */
bool terminal_open(struct execution *execution, const struct start *start, int *end);

/* input.c: `*end` is the program's side. */
bool inlet_open(struct execution *execution, const struct start *start, int *end);
bool inlet_adopt(struct execution *execution, const struct start *start, int end);
void inlet_close(struct execution *execution);
void inlet_report(struct execution *execution);
