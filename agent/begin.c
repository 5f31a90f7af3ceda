/* From START to a supervisor that runs. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "execution.h"
#include "supervisor.h"
#include "warm.h"

/* How long to wait for a spare that is being made, before a cold start. */
enum { SPARE_PATIENCE_US = 1000000 };

/* Fork the supervisor.  The child never returns. */
static bool fork_supervisor(struct execution *execution, const struct start *start) {
  int pair[2] = {-1, -1};
  cleanup_fd int in = -1, out = -1, err = -1, theirs = -1;
  int ends[2] = {-1, -1};
  bool opened = start->terminal != 0 ? terminal_open(execution, start, &in)
                                     : outlets_open(execution, ends) && inlet_open(execution, start, &in);
  opened = opened && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0;
  out = ends[0];
  err = ends[1];
  if (!opened) {
    return false;
  }
  theirs = pair[1];
  execution->control.fd = pair[0];
  execution->control.ready = execution_control_ready;
  fcntl(pair[0], F_SETFL, O_NONBLOCK);
  if (!watch_for(&execution->agent->loop, &execution->control, EPOLLIN)) {
    return false;
  }
  execution->supervisor = fork();
  if (execution->supervisor == 0) {
    if (chdir(execution->agent->home) != 0) {
      /* an absolute working directory may still be there */
    }
    struct stdio stdio = {.fds = {in, start->terminal != 0 ? in : out, start->terminal != 0 ? in : err}};
    supervisor_run(theirs, start, &stdio, !execution->agent->adopts);
  }
  if (execution->supervisor < 0) {
    execution->supervisor = 0;
    return false;
  }
  execution_supervised_by(execution, execution->supervisor);
  return true;
}

/* The START payload goes to the spare's supervisor in a file that exists in memory only. */
static bool keep_request(struct execution *execution, const struct frame *frame) {
  execution->request = memfd_create("start", MFD_CLOEXEC);
  execution->request_bytes = frame->length;
  return execution->request >= 0 && write_all(execution->request, frame->payload, frame->length) == 0;
}

static bool send_start(const struct execution *execution, int control) {
  struct order order = {.kind = ORDER_START, .payload_bytes = execution->request_bytes};
  return control_send(control, &order, sizeof order, &execution->request, 1) == 0;
}

bool execution_send_start(struct execution *execution) {
  return send_start(execution, execution->control.fd);
}

/* Hand it to a waiting spare if there is one; false leaves everything as it was. */
static bool use_spare(struct execution *execution, const struct start *start, const struct frame *frame) {
  struct loop *loop = &execution->agent->loop;
  struct spare *spare = warm_take(execution->agent, start);
  if (spare == NULL) {
    return false;
  }
  /* One that is only coming is told when it is there: what waits in its socket it would run however late. */
  bool is_there = spare->supervisor != 0;
  if (!keep_request(execution, frame) || (is_there && !send_start(execution, spare->control.fd))) {
    close_owned(&execution->request);
    spare_discard(spare);
    return false;
  }
  watch_for(loop, &spare->control, 0);
  execution->control.fd = take_fd(&spare->control.fd);
  execution->control.ready = execution_control_ready;
  execution->warm = true;
  if (is_there) {
    execution_supervised_by(execution, spare->supervisor);
  } else {
    execution->spare_due_us = now_us() + SPARE_PATIENCE_US;
  }
  outlets_adopt(execution, &spare->stdio[1]);
  inlet_adopt(execution, start, take_fd(&spare->stdio[0]));
  spare_discard(spare);
  if (!watch_for(loop, &execution->control, EPOLLIN)) {
    execution_lost(execution);
  }
  return true;
}

/* The spare was not there any more: start as if there had been none.  False if this was no warm start. */
bool execution_begin_cold(struct execution *execution) {
  struct start start;
  const char *problem;
  if (execution->request < 0) {
    return false;
  }
  void *payload = mmap(NULL, execution->request_bytes, PROT_READ, MAP_PRIVATE, execution->request, 0);
  bool decoded =
    payload != MAP_FAILED && start_decode(payload, execution->request_bytes, &start, &problem) == START_OK;
  if (payload != MAP_FAILED) {
    munmap(payload, execution->request_bytes);
  }
  close_owned(&execution->request);
  if (!decoded) {
    return false;
  }
  outlets_close(execution);
  inlet_close(execution);
  watch_close(&execution->agent->loop, &execution->control);
  list_remove(&execution->supervised);
  execution->inlet = (struct inlet){.watch.fd = -1};
  execution->warm = false;
  execution->spare_due_us = 0;
  bool begun = fork_supervisor(execution, &start);
  start_free(&start);
  if (!begun) {
    execution_fail(execution, "spawn_failed", "no process could be made", errno);
  } else {
    execution_order_held(execution);
  }
  return true;
}

static struct execution *create(struct agent *agent, uint64_t id, const struct start *start) {
  struct execution *execution = calloc(1, sizeof *execution);
  if (execution == NULL) {
    return NULL;
  }
  execution->agent = agent;
  execution->id = id;
  execution->background = start->background;
  execution->terminal = start->terminal != 0;
  execution->control.fd = execution->inlet.watch.fd = execution->request = -1;
  list_init(&execution->attached);
  list_init(&execution->supervised);
  list_append(execution_bucket(agent, id), &execution->bucket);
  list_append(&agent->running, &execution->order);
  agent->running_count++;
  for (int i = 0; i < 2; i++) {
    execution->outlets[i].execution = execution;
    execution->outlets[i].watch.fd = -1;
  }
  execution->files.source_path = start->source_path ? strdup(start->source_path) : NULL;
  execution->files.scratch = start->scratch ? strdup(start->scratch) : NULL;
  execution->began_us = now_us();
  execution->grace_us = start->exit_grace_ms * 1000;
  if (start->timeout_ms != 0) {
    execution->deadline_us = execution->began_us + start->timeout_ms * 1000;
  }
  return execution;
}

static void start_again(struct execution *execution, struct connection *connection) {
  execution_attach_to(execution, connection);
  for (int i = 0; i < 2; i++) {
    stream_rewind(&execution->outlets[i].stream, execution->outlets[i].stream.base);
  }
  if (execution->state != STATE_STARTING) {
    execution_reply_started(execution, true);
    inlet_report(execution);
  }
}

void execution_start(struct connection *connection, const struct frame *frame) {
  struct agent *agent = connection_agent(connection);
  uint64_t id = frame->channel;
  struct execution *known = execution_find(agent, id);
  if (known != NULL) {
    start_again(known, connection);
    return;
  }
  struct start start;
  const char *problem = "malformed fields";
  enum start_result decoded = start_decode(frame->payload, frame->length, &start, &problem);
  if (decoded == START_NO_MEMORY) {
    connection_reply_failed(connection, id, "no_memory", "no memory for the request", ENOMEM);
  } else if (decoded != START_OK) {
    connection_reply_failed(connection, id, "bad_request", problem, EINVAL);
  }
  if (decoded != START_OK) {
    return;
  }
  struct execution *execution = NULL;
  if (agent->stopping) {
    connection_reply_failed(connection, id, "gone", "the machine is shutting down", ESHUTDOWN);
  } else if (agent->running_count >= RUNNING_MAX) {
    connection_reply_failed(connection, id, "too_many_executions", "as many run as the agent takes", EAGAIN);
  } else if ((execution = create(agent, id, &start)) == NULL) {
    connection_reply_failed(connection, id, "no_memory", "no memory for an execution", ENOMEM);
  } else {
    execution_attach_to(execution, connection);
    bool begun = (start.terminal == 0 && use_spare(execution, &start, frame)) || fork_supervisor(execution, &start);
    if (!begun) {
      const char *what = start.terminal != 0 ? "no terminal or process could be made" : "no process could be made";
      execution_fail(execution, "spawn_failed", what, errno);
    }
  }
  start_free(&start);
}
