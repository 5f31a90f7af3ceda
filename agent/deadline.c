/* What is done to all executions: deadlines, ends, lists. */
#include <signal.h>
#include <string.h>

#include "execution.h"

static void timed_out(struct execution *execution, uint64_t now) {
  execution->deadline_us = 0;
  execution->timed_out = true;
  if (execution->grace_us == 0) {
    execution_end(execution);
  } else {
    execution_order(execution, ORDER_SIGNAL, SIGTERM, true);
    execution->kill_us = now + execution->grace_us;
  }
}

static bool passed(uint64_t due, uint64_t now) {
  return due != 0 && due <= now;
}

void executions_due(struct agent *agent, uint64_t now) {
  list_each(at, next, &agent->running) {
    struct execution *execution = container_of(at, struct execution, order);
    if (passed(execution->deadline_us, now)) {
      timed_out(execution, now);
    }
    if (passed(execution->kill_us, now)) {
      execution_end(execution);
    }
    if (passed(execution->spare_due_us, now)) {
      execution_lost(execution); /* its spare does not come */
    }
    if (passed(execution->give_up_us, now)) {
      execution->give_up_us = 0;
      if (execution->supervisor != 0) {
        kill(execution->supervisor, SIGKILL); /* stuck: its children become ours, and end */
      }
    }
  }
}

static uint64_t earlier(uint64_t left, uint64_t right) {
  return left == 0 || (right != 0 && right < left) ? right : left;
}

uint64_t executions_next_due(const struct agent *agent) {
  uint64_t due = 0;
  list_each(at, next, &agent->running) {
    const struct execution *execution = container_of(at, struct execution, order);
    due = earlier(due, execution->deadline_us);
    due = earlier(due, execution->kill_us);
    due = earlier(due, execution->give_up_us);
    due = earlier(due, execution->spare_due_us);
  }
  return due;
}

void executions_end_all(struct agent *agent, int signal) {
  struct link *lists[] = {&agent->running, &agent->finished, &agent->lingering};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    list_each(at, next, lists[i]) {
      struct execution *execution = container_of(at, struct execution, order);
      execution->cancelled |= !execution->main_ended;
      if (signal == SIGKILL) {
        execution_end(execution);
      } else {
        execution_order(execution, ORDER_SIGNAL, signal, true);
      }
    }
  }
}

void executions_supervisor_reaped(struct agent *agent, pid_t pid) {
  list_each(at, next, &agent->supervised) {
    struct execution *execution = container_of(at, struct execution, supervised);
    if (execution->supervisor == pid) {
      execution->supervisor = 0;
      list_remove(at);
      return;
    }
  }
}

bool executions_expect_supervisor(const struct agent *agent) {
  list_each(at, next, &agent->running) {
    if (container_of(at, struct execution, order)->spare_due_us != 0) {
      return true;
    }
  }
  return false;
}

size_t executions_supervisors(const struct agent *agent, pid_t *pids, size_t capacity) {
  size_t count = 0;
  list_each(at, next, &agent->supervised) {
    const struct execution *execution = container_of(at, struct execution, supervised);
    if (!execution->lost && count < capacity) {
      pids[count++] = execution->supervisor;
    }
  }
  return count;
}

void executions_orphans_gone(struct agent *agent) {
  struct link *lists[] = {&agent->running, &agent->finished, &agent->lingering};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    list_each(at, next, lists[i]) {
      execution_orphans_gone(container_of(at, struct execution, order));
    }
  }
}

static void store_u64(uint8_t *bytes, uint64_t value) {
  for (int i = 0; i < 8; i++) {
    bytes[i] = (uint8_t)(value >> (8 * i));
  }
}

void executions_list(struct connection *connection, uint64_t channel) {
  struct agent *agent = connection_agent(connection);
  struct bytes *out = connection_out(connection);
  size_t begun = message_begin(out, MESSAGE_LISTED, channel);
  struct link *lists[] = {&agent->running, &agent->finished};
  for (size_t i = 0; i < 2; i++) {
    list_each(at, next, lists[i]) {
      const struct execution *execution = container_of(at, struct execution, order);
      uint8_t record[32];
      store_u64(record, execution->id);
      store_u64(record + 8, (uint64_t)execution->main);
      store_u64(record + 16, execution->state == STATE_FINISHED ? 2 : 1);
      store_u64(record + 24, execution->began_us - agent->started_us);
      message_bytes(out, LISTED_EXECUTION, record, sizeof record);
    }
  }
  message_end(out, begun);
  connection_wake(connection);
}
