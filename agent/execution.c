/* The life of an execution: started, run, finished, released. */
#include "execution.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "warm.h"
#include "workspace.h"

/* A short program's start, output and end go to the host as one piece: each costs it a wake-up. */
enum { STARTED_HOLD_US = 3000 };

struct link *execution_bucket(struct agent *agent, uint64_t id) {
  return &agent->buckets[(id * 0x9e3779b97f4a7c15ULL >> 32) % EXECUTION_BUCKETS];
}

struct execution *execution_find(struct agent *agent, uint64_t id) {
  struct link *bucket = execution_bucket(agent, id);
  list_each(at, next, bucket) {
    struct execution *execution = container_of(at, struct execution, bucket);
    if (execution->id == id) {
      return execution;
    }
  }
  return NULL;
}

void execution_attach_to(struct execution *execution, struct connection *connection) {
  list_remove(&execution->attached);
  list_append(connection_attached(connection), &execution->attached);
  execution->connection = connection;
  execution->exited_sent = false;
  connection_wake(connection);
}

void executions_detach(struct connection *connection) {
  list_each(at, next, connection_attached(connection)) {
    struct execution *execution = container_of(at, struct execution, attached);
    list_remove(at);
    execution->connection = NULL;
  }
}

void execution_reply_started(struct execution *execution, bool already) {
  struct bytes *out = connection_out(execution->connection);
  size_t begun = message_begin(out, MESSAGE_STARTED, execution->id);
  message_u64(out, STARTED_PID, (uint64_t)execution->main);
  message_u64(out, STARTED_ALREADY, already);
  message_u64(out, STARTED_WARM, execution->warm);
  message_end(out, begun);
  if (already || execution->background || execution->inlet.reports) {
    connection_wake(execution->connection); /* the host waits for it */
  } else {
    connection_wake_within(execution->connection, STARTED_HOLD_US);
  }
}

static void leave_list(struct execution *execution) {
  list_remove(&execution->order);
  if (execution->state == STATE_FINISHED) {
    execution->agent->finished_count--;
  } else if (execution->state != STATE_LINGERING) {
    execution->agent->running_count--;
  }
}

void execution_supervised_by(struct execution *execution, pid_t supervisor) {
  execution->supervisor = supervisor;
  execution->spare_due_us = 0;
  orphans_note_start(execution);
  list_append(&execution->agent->supervised, &execution->supervised);
}

void execution_destroy(struct execution *execution) {
  struct agent *agent = execution->agent;
  leave_list(execution);
  list_remove(&execution->bucket);
  list_remove(&execution->supervised);
  list_remove(&execution->attached);
  outlets_close(execution);
  inlet_close(execution);
  watch_close(&agent->loop, &execution->control);
  close_owned(&execution->request);
  free((void *)(uintptr_t)execution->files.source_path);
  free((void *)(uintptr_t)execution->files.scratch);
  loop_discard(&agent->loop, &execution->garbage);
}

void execution_fail(struct execution *execution, const char *reason, const char *message, int error) {
  if (execution->connection != NULL) {
    connection_reply_failed(execution->connection, execution->id, reason, message, error);
  }
  execution_destroy(execution);
}

void execution_forget(struct execution *execution) {
  if (execution->tree_gone) {
    execution_destroy(execution);
    return;
  }
  leave_list(execution);
  list_remove(&execution->bucket);
  list_remove(&execution->attached);
  execution->connection = NULL;
  execution->state = STATE_LINGERING;
  list_append(&execution->agent->lingering, &execution->order);
}

static void finish(struct execution *execution) {
  struct agent *agent = execution->agent;
  leave_list(execution);
  execution->state = STATE_FINISHED;
  list_append(&agent->finished, &execution->order);
  agent->finished_count++;
  inlet_close(execution);
  if (execution->released) {
    execution_forget(execution);
    return;
  }
  if (execution->connection != NULL) {
    connection_wake(execution->connection);
  }
  if (agent->finished_count > FINISHED_MAX) {
    execution_forget(container_of(agent->finished.next, struct execution, order));
  }
}

/* An execution whose descendants may go on has ended for the host when its main process has and what that
   wrote is read; what the descendants write is dropped. */
static void settle(struct execution *execution) {
  outlets_pump(execution);
  for (int i = 0; i < 2; i++) {
    const struct watch *watch = &execution->outlets[i].watch;
    if (watch->fd >= 0 && watch->events == 0) {
      return; /* the window is full: there is more to be read */
    }
  }
  execution->discarding = true;
  finish(execution);
}

void execution_advance(struct execution *execution) {
  if (execution->state == STATE_LINGERING && execution->tree_gone) {
    execution_destroy(execution);
    return;
  }
  if (execution->state != STATE_RUNNING || !execution->main_ended) {
    return;
  }
  if (execution->tree_gone) {
    outlets_pump(execution);
    if (execution->outlets[0].watch.fd < 0 && execution->outlets[1].watch.fd < 0) {
      finish(execution);
    } else if (execution->childless) {
      settle(execution); /* a spared orphan holds the pipe */
    }
  } else if (execution->background) {
    settle(execution);
  }
}

void execution_order(struct execution *execution, enum order_kind kind, int signal, bool tree) {
  struct order order = {.kind = kind, .signal = signal, .tree = tree};
  if (execution->spare_due_us != 0) {
    execution->held = execution->held.kind == ORDER_END ? execution->held : order;
  } else if (execution->control.fd >= 0) {
    control_send(execution->control.fd, &order, sizeof order, NULL, 0);
  }
}

void execution_order_held(struct execution *execution) {
  struct order held = execution->held;
  execution->held.kind = 0;
  if (held.kind != 0) {
    execution_order(execution, held.kind, held.signal, held.tree);
  }
}

enum { GIVE_UP_US = 10000000 };

void execution_end(struct execution *execution) {
  execution_order(execution, ORDER_END, 0, true);
  execution->kill_us = 0;
  execution->ending = true;
  if (execution->childless) {
    children_lost(execution->agent);
  } else if (execution->give_up_us == 0) {
    execution->give_up_us = now_us() + GIVE_UP_US;
  }
}

static void main_ended(struct execution *execution, const struct report *report) {
  if (execution->warm) {
    warms_program_ended(execution->agent);
  }
  execution->main_ended = true;
  execution->main = 0;
  execution->ended_us = now_us();
  execution->deadline_us = 0;
  execution->status = report->status;
  execution->build_failed = report->build_failed != 0;
  execution->user_us = report->user_us;
  execution->system_us = report->system_us;
  execution->max_rss_bytes = report->max_rss_bytes;
  if (!execution->background && execution->give_up_us == 0) {
    execution->give_up_us = now_us() + GIVE_UP_US;
  }
}

/* The supervisor has gone without having said that nothing is left: somebody killed it. */
void execution_lost(struct execution *execution) {
  watch_close(&execution->agent->loop, &execution->control);
  if (execution->supervisor != 0) {
    kill(execution->supervisor, SIGKILL);
  }
  if (execution->state == STATE_STARTING && execution_begin_cold(execution)) {
    children_lost(execution->agent);
    return;
  }
  execution->lost = true;
  if (!execution->main_ended) {
    main_ended(execution, &(struct report){.status = SIGKILL});
    execution->cancelled = true;
  }
  if (execution->state == STATE_STARTING) {
    execution->state = STATE_RUNNING;
    if (execution->connection != NULL) {
      execution_reply_started(execution, false);
    }
  }
  children_lost(execution->agent);
}

void execution_orphans_gone(struct execution *execution) {
  bool waits = execution->lost || (execution->childless && (execution_is_over(execution) || !execution->survived));
  if (!waits || execution->tree_gone) {
    return;
  }
  bool untidy = execution->lost && !execution->childless;
  if (untidy && (execution->files.source_path != NULL || execution->files.scratch != NULL)) {
    pid_t remover = fork();
    if (remover == 0) {
      workspace_remove(&execution->files);
      _exit(0);
    }
  }
  execution->tree_gone = true;
  execution_advance(execution);
}

static void take_failed(struct execution *execution, const struct report *report) {
  if (report->stage == STAGE_SPARE && execution_begin_cold(execution)) {
    return;
  }
  switch (report->stage) {
    case STAGE_CWD:
      execution_fail(execution, reason_of(report->error), "the working directory cannot be entered", report->error);
      break;
    case STAGE_SOURCE:
      execution_fail(execution, reason_of(report->error), "the source file cannot be written", report->error);
      break;
    case STAGE_SCRATCH:
      execution_fail(execution, reason_of(report->error), "the scratch directory cannot be made", report->error);
      break;
    default:
      execution_fail(execution, "spawn_failed", "no process could be made", report->error);
  }
}

static void take_started(struct execution *execution, const struct report *report) {
  close_owned(&execution->request);
  execution->main = report->pid;
  execution->sessions[1] = execution->sessions[0];
  execution->sessions[0] = report->pid;
  if (execution->state == STATE_STARTING) {
    execution->state = STATE_RUNNING;
    if (execution->connection != NULL) {
      execution_reply_started(execution, false);
      inlet_report(execution);
    }
  }
}

static void tree_gone(struct execution *execution) {
  execution->give_up_us = 0;
  watch_close(&execution->agent->loop, &execution->control);
  if (execution->agent->adopts) {
    execution->childless = true;
    children_lost(execution->agent);
  } else {
    execution->tree_gone = true;
  }
}

void execution_control_ready(struct watch *watch, uint32_t events) {
  (void)events;
  struct execution *execution = container_of(watch, struct execution, control);
  struct report report;
  pid_t peer = 0;
  ssize_t got = control_receive(watch->fd, &report, sizeof report, NULL, &peer);
  if (got < 0 && errno == EAGAIN) {
    return;
  }
  if (got != sizeof report) {
    execution_lost(execution);
    return;
  }
  switch (report.kind) {
    case REPORT_READY:
      if (execution->spare_due_us != 0 && is_our_child(peer)) {
        execution_supervised_by(execution, peer);
        if (!execution_send_start(execution)) {
          execution_lost(execution);
          return;
        }
        execution_order_held(execution);
      }
      break;
    case REPORT_STARTED:
      take_started(execution, &report);
      break;
    case REPORT_FAILED:
      take_failed(execution, &report);
      return;
    case REPORT_MAIN_ENDED:
      main_ended(execution, &report);
      if (report.tree_gone) {
        tree_gone(execution);
      }
      break;
    case REPORT_TREE_GONE:
      tree_gone(execution);
      break;
    default:
      break;
  }
  execution_advance(execution);
}

void execution_attach(struct connection *connection, const struct frame *frame) {
  struct execution *execution = execution_find(connection_agent(connection), frame->channel);
  uint64_t offsets[2] = {0, 0};
  struct cursor cursor = cursor_of(frame);
  struct field field;
  while (field_next(&cursor, &field) == FIELD_FOUND) {
    if (field.tag == ATTACH_STDOUT_OFFSET || field.tag == ATTACH_STDERR_OFFSET) {
      field_u64(&field, &offsets[field.tag - ATTACH_STDOUT_OFFSET]);
    }
  }
  if (execution == NULL) {
    connection_reply_failed(connection, frame->channel, "unknown_execution", "no such execution", ESRCH);
    return;
  }
  for (int i = 0; i < 2; i++) {
    const struct stream *stream = &execution->outlets[i].stream;
    if (offsets[i] < stream->base || offsets[i] > stream->end) {
      connection_reply_failed(connection, frame->channel, "gone", "output at this offset is not kept", ERANGE);
      return;
    }
  }
  for (int i = 0; i < 2; i++) {
    stream_rewind(&execution->outlets[i].stream, offsets[i]);
  }
  execution_attach_to(execution, connection);
  if (execution->state != STATE_STARTING) {
    execution_reply_started(execution, true);
    inlet_report(execution);
  }
}

void execution_release(struct agent *agent, uint64_t id) {
  struct execution *execution = execution_find(agent, id);
  if (execution == NULL) {
    return;
  }
  if (execution->state == STATE_FINISHED) {
    execution_forget(execution);
    return;
  }
  execution->released = execution->discarding = true;
  for (int i = 0; i < 2; i++) {
    stream_drop(&execution->outlets[i].stream, &agent->chunks);
  }
  outlets_pump(execution);
}

bool execution_signal(struct agent *agent, uint64_t id, int signal, bool tree) {
  struct execution *execution = execution_find(agent, id);
  if (execution == NULL) {
    return false;
  }
  if (!execution->main_ended && (signal == SIGKILL || signal == SIGTERM)) {
    execution->cancelled = true;
  }
  if (signal == SIGKILL && tree) {
    execution_end(execution);
  } else {
    execution_order(execution, ORDER_SIGNAL, signal, tree);
  }
  return true;
}
