/* The agent's whole state, and the parts' views of one another. */
#pragma once

#include <signal.h>

#include "base.h"
#include "frame.h"
#include "list.h"
#include "loop.h"
#include "start.h"
#include "stream.h"

enum {
  CONNECTIONS_MAX = 64,
  RUNNING_MAX = 256,
  FINISHED_MAX = 4096,
  EXECUTION_BUCKETS = 1024,
};

struct connection;
struct execution;
struct warm;
struct network;
struct transfer;
struct changes;

struct agent {
  struct loop loop;
  struct watch listener;
  struct watch signals;
  struct link connections; /* oldest first */
  size_t connection_count;
  struct link buckets[EXECUTION_BUCKETS];
  struct link running; /* executions whose tree may still live */
  size_t running_count;
  struct link finished; /* oldest first */
  size_t finished_count;
  struct link lingering;  /* released background executions whose descendants go on */
  struct link supervised; /* executions whose supervisor is not reaped yet */
  struct chunk_pool chunks;
  struct link warms;
  struct network *network; /* NULL before it is first needed */
  size_t watching; /* connections that changes are told over */
  const char *home;
  uint64_t boot_id;
  uint64_t started_us;
  int executable; /* of this very program, to be executed anew as a supervisor */
  bool is_init;
  bool adopts; /* orphans come to us, not to their supervisor: there are no subreapers */
  bool strays; /* children of a lost supervisor may be left, or orphans of an execution */
  unsigned strays_round;
  uint64_t strays_due_us;
  bool stopping;
  uint64_t stopping_kill_us;
};

/* connection.c */
bool listener_ready_to_serve(struct agent *agent, int fd);
void connections_flush(struct agent *agent, uint64_t now);
struct bytes *connection_out(struct connection *connection);
struct agent *connection_agent(struct connection *connection);
struct link *connection_attached(struct connection *connection);
void connection_wake(struct connection *connection);
/* The same at the latest in `us` microseconds, together with what comes until then. */
void connection_wake_within(struct connection *connection, uint64_t us);
uint64_t connections_next_due(const struct agent *agent);
/* Whether more may be queued that can wait elsewhere; those that do, to be told when there is. */
bool connection_has_room(const struct connection *connection);
struct link *connection_starved(struct connection *connection);
/* Whether it carries what may send at any time: executions, network channels. */
bool connection_is_used(const struct connection *connection);
struct transfer *connection_transfer(struct connection *connection);
/* What changes are told over it; ended with the connection, or before. */
void connection_set_changes(struct connection *connection, struct changes *changes);
void connection_end_changes(struct connection *connection);
/* Let more be on its way out, as far as the system allows. */
void connection_widen(struct connection *connection, int bytes);
void connection_greet(struct connection *connection);
void connection_reply_failed(struct connection *connection, uint64_t channel, const char *reason, const char *message,
                             int error);

/* requests.c: answer one frame; false closes the connection. */
bool request_answer(struct connection *connection, const struct frame *frame);

/* files.c */
void files_read(struct connection *connection, const struct frame *frame);
void files_write(struct connection *connection, const struct frame *frame);
const char *reason_of(int error);

/* directories.c */
void files_stat(struct connection *connection, const struct frame *frame);
void files_list(struct connection *connection, const struct frame *frame);
void files_make(struct connection *connection, const struct frame *frame);
void files_change(struct connection *connection, const struct frame *frame);
void files_move(struct connection *connection, const struct frame *frame);
void files_remove(struct connection *connection, const struct frame *frame);

/* execution.c */
void execution_start(struct connection *connection, const struct frame *frame);
void execution_attach(struct connection *connection, const struct frame *frame);
void execution_acknowledge(struct agent *agent, const struct frame *frame);
void execution_release(struct agent *agent, uint64_t id);
bool execution_signal(struct agent *agent, uint64_t id, int signal, bool tree);
bool execution_input(struct connection *connection, const struct frame *frame);
void execution_close_input(struct agent *agent, uint64_t id);
void execution_resize(struct connection *connection, const struct frame *frame);
void executions_list(struct connection *connection, uint64_t channel);
bool execution_emit(struct link *attached, struct bytes *out);
void executions_detach(struct connection *connection);
void executions_due(struct agent *agent, uint64_t now);
uint64_t executions_next_due(const struct agent *agent);
void executions_end_all(struct agent *agent, int signal);

void executions_supervisor_reaped(struct agent *agent, pid_t pid);
size_t executions_supervisors(const struct agent *agent, pid_t *pids, size_t capacity);
/* Whether one waits for a spare whose supervisor is not known yet. */
bool executions_expect_supervisor(const struct agent *agent);
void executions_orphans_gone(struct agent *agent);

/* orphans.c */
struct process;
/* Whether a child of the agent that is nobody's we know has to be left alone (struct spared). */
bool orphan_lives(const struct process *orphan, void *agent);
/* Before and after a look at all orphans. */
void orphans_forget_survivors(struct agent *agent);
bool orphans_awaited(const struct agent *agent);

/* children.c */
bool children_open(struct agent *agent);
void children_due(struct agent *agent, uint64_t now);
void children_lost(struct agent *agent);
bool is_our_child(pid_t pid);
void agent_stop(struct agent *agent, uint64_t grace_us);
