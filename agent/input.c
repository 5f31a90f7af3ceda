/* From the host to the program's stdin. */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "execution.h"

/* What is typed at a terminal for it (VEOF): once for what stands on the line, once for the end. */
static const char END_OF_FILE[] = "\004\004";

static void acknowledge(struct execution *execution) {
  struct inlet *inlet = &execution->inlet;
  inlet->acknowledged = inlet->received - inlet->waiting.size;
  inlet_report(execution);
}

void inlet_report(struct execution *execution) {
  const struct inlet *inlet = &execution->inlet;
  if (inlet->reports && execution->connection != NULL && execution->state != STATE_STARTING) {
    message_raw(connection_out(execution->connection), MESSAGE_STDIN_ACK, STREAM_NONE, execution->id,
                inlet->acknowledged, 0);
    connection_wake(execution->connection);
  }
}

/* Put into the pipe what goes; close it after the last byte. */
static void pump(struct execution *execution) {
  struct inlet *inlet = &execution->inlet;
  struct loop *loop = &execution->agent->loop;
  size_t before = inlet->waiting.size;
  if (inlet->watch.fd >= 0 && before != 0) {
    ssize_t written = write_some(inlet->watch.fd, inlet->waiting.data, before);
    if (written >= 0) {
      bytes_consume(&inlet->waiting, (size_t)written);
    } else if (errno != EAGAIN) {
      inlet->broken = true;
    }
  }
  if (inlet->broken) {
    bytes_free(&inlet->waiting);
    watch_close(loop, &inlet->watch);
  }
  if (inlet->waiting.size != before) {
    acknowledge(execution);
  }
  if (inlet->watch.fd < 0) {
    return;
  }
  if (inlet->waiting.size != 0) {
    watch_for(loop, &inlet->watch, EPOLLOUT);
  } else if (inlet->open) {
    watch_for(loop, &inlet->watch, 0);
  } else {
    if (execution->terminal) {
      (void)!write(inlet->watch.fd, END_OF_FILE, sizeof END_OF_FILE - 1);
    }
    watch_close(loop, &inlet->watch);
  }
}

static void inlet_ready(struct watch *watch, uint32_t events) {
  (void)events;
  pump(container_of(watch, struct execution, inlet.watch));
}

static bool keep(struct inlet *inlet, const uint8_t *data, size_t size) {
  bytes_append(&inlet->waiting, data, size);
  inlet->received += size;
  return !inlet->waiting.failed;
}

bool inlet_adopt(struct execution *execution, const struct start *start, int end) {
  struct inlet *inlet = &execution->inlet;
  if (!start->stdin_open && start->stdin_data == NULL) {
    inlet->broken = true;
    close_owned(&end);
    return true;
  }
  inlet->watch.fd = end;
  inlet->watch.ready = inlet_ready;
  inlet->open = inlet->reports = start->stdin_open;
  fcntl(end, F_SETFL, O_NONBLOCK);
  if (!keep(inlet, start->stdin_data, start->stdin_size)) {
    return false;
  }
  pump(execution);
  return true;
}

bool inlet_open(struct execution *execution, const struct start *start, int *end) {
  int both[2] = {-1, -1};
  if (!start->stdin_open && start->stdin_data == NULL) {
    *end = open("/dev/null", O_RDONLY | O_CLOEXEC);
  } else if (pipe2(both, O_CLOEXEC) == 0) {
    *end = both[0];
  }
  return *end >= 0 && inlet_adopt(execution, start, both[1]);
}

void inlet_close(struct execution *execution) {
  bytes_free(&execution->inlet.waiting);
  watch_close(&execution->agent->loop, &execution->inlet.watch);
}

/* False for what no correct host sends: a gap, or more than the window. */
bool execution_input(struct connection *connection, const struct frame *frame) {
  struct execution *execution = execution_find(connection_agent(connection), frame->channel);
  if (execution == NULL || !execution->inlet.reports) {
    return true; /* ended in the meantime, or never had a stream */
  }
  struct inlet *inlet = &execution->inlet;
  uint64_t end = frame->offset + frame->length;
  if (end < frame->offset || frame->offset > inlet->received || end > inlet->acknowledged + STDIN_WINDOW_BYTES) {
    return false;
  }
  if (end <= inlet->received || !inlet->open) {
    return true;
  }
  size_t known = (size_t)(inlet->received - frame->offset);
  if (inlet->broken) {
    inlet->received = end;
    acknowledge(execution);
    return true;
  }
  if (!keep(inlet, frame->payload + known, frame->length - known)) {
    return false;
  }
  pump(execution);
  return true;
}

void execution_close_input(struct agent *agent, uint64_t id) {
  struct execution *execution = execution_find(agent, id);
  if (execution != NULL && execution->inlet.reports) {
    execution->inlet.open = false;
    pump(execution);
  }
}
