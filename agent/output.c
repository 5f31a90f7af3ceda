/* From the program's stdout and stderr to the host. */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "execution.h"

enum {
  READS_PER_EVENT = 8,
  OUTPUT_HOLD_US = 1000, /* little output waits this long for more of it, or for the end */
  HELD_BYTES = 4096,
};

static const enum stream_number NUMBERS[2] = {STREAM_STDOUT, STREAM_STDERR};

static void discard(struct outlet *outlet) {
  struct agent *agent = outlet->execution->agent;
  char ignored[16384];
  ssize_t got = 0;
  for (int i = 0; i < READS_PER_EVENT && (got = read_some(outlet->watch.fd, ignored, sizeof ignored)) > 0; i++) {
  }
  if (got == 0 || (got < 0 && errno != EAGAIN)) {
    watch_close(&agent->loop, &outlet->watch);
  }
}

/* Read until the pipe is empty, ended, or the window full (then wait for an ACK, not for the pipe). */
static void pump(struct outlet *outlet) {
  struct execution *execution = outlet->execution;
  struct loop *loop = &execution->agent->loop;
  if (outlet->watch.fd < 0) {
    return;
  }
  if (execution->discarding) {
    watch_for(loop, &outlet->watch, EPOLLIN);
    discard(outlet);
    return;
  }
  enum fill_result result = FILL_SOME;
  for (int i = 0; i < READS_PER_EVENT && result == FILL_SOME; i++) {
    result = stream_fill(&outlet->stream, &execution->agent->chunks, outlet->watch.fd);
  }
  if (result == FILL_END || (result == FILL_NOTHING_NOW && execution->tree_gone)) {
    watch_close(loop, &outlet->watch);
  } else {
    watch_for(loop, &outlet->watch, result == FILL_FULL ? 0 : EPOLLIN);
  }
  uint64_t unsent = outlet->stream.end - outlet->stream.sent;
  if (execution->connection != NULL && unsent >= HELD_BYTES) {
    connection_wake(execution->connection);
  } else if (execution->connection != NULL && unsent > 0 && execution->inlet.reports) {
    connection_wake(execution->connection); /* somebody talks with it, and waits for what it says */
  } else if (execution->connection != NULL && unsent > 0) {
    connection_wake_within(execution->connection, OUTPUT_HOLD_US);
  }
}

static void outlet_ready(struct watch *watch, uint32_t events) {
  (void)events;
  struct outlet *outlet = container_of(watch, struct outlet, watch);
  pump(outlet);
  execution_advance(outlet->execution);
}

bool outlet_adopt(struct execution *execution, int index, int end) {
  struct outlet *outlet = &execution->outlets[index];
  outlet->watch.fd = end;
  outlet->watch.ready = outlet_ready;
  fcntl(end, F_SETFL, O_NONBLOCK);
  return watch_for(&execution->agent->loop, &outlet->watch, EPOLLIN);
}

bool outlets_adopt(struct execution *execution, int ends[2]) {
  bool watched = true;
  for (int i = 0; i < 2; i++) {
    watched &= outlet_adopt(execution, i, take_fd(&ends[i]));
  }
  return watched;
}

bool outlets_open(struct execution *execution, int ends[2]) {
  int out[2] = {-1, -1}, err[2] = {-1, -1};
  bool opened = pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0;
  ends[0] = out[1];
  ends[1] = err[1];
  if (!opened) {
    close_owned(&out[0]);
    return false;
  }
  return outlets_adopt(execution, (int[2]){out[0], err[0]});
}

void outlets_pump(struct execution *execution) {
  for (int i = 0; i < 2; i++) {
    pump(&execution->outlets[i]);
  }
}

void outlets_close(struct execution *execution) {
  for (int i = 0; i < 2; i++) {
    watch_close(&execution->agent->loop, &execution->outlets[i].watch);
    stream_drop(&execution->outlets[i].stream, &execution->agent->chunks);
  }
}

static void write_exited(const struct execution *execution, struct bytes *out) {
  int status = execution->status;
  bool signalled = (status & 0x7f) != 0;
  size_t begun = message_begin(out, MESSAGE_EXITED, execution->id);
  message_u64(out, EXITED_STATUS, signalled ? 0 : (uint64_t)(status >> 8 & 0xff));
  message_u64(out, EXITED_SIGNAL, (uint64_t)(status & 0x7f));
  message_u64(out, EXITED_TIMED_OUT, execution->timed_out);
  message_u64(out, EXITED_USER_US, execution->user_us);
  message_u64(out, EXITED_SYSTEM_US, execution->system_us);
  message_u64(out, EXITED_MAX_RSS_BYTES, execution->max_rss_bytes);
  message_u64(out, EXITED_DURATION_US, execution->ended_us - execution->began_us);
  message_u64(out, EXITED_STDOUT_BYTES, execution->outlets[0].stream.end);
  message_u64(out, EXITED_STDERR_BYTES, execution->outlets[1].stream.end);
  message_u64(out, EXITED_BUILD_FAILED, execution->build_failed);
  message_u64(out, EXITED_CANCELLED, execution->cancelled);
  message_end(out, begun);
}

/* The next piece for the attached connection; false when there is nothing more for now. */
bool execution_emit(struct link *attached, struct bytes *out) {
  struct execution *execution = container_of(attached, struct execution, attached);
  if (execution->state == STATE_STARTING) {
    return false;
  }
  bool emitted = false;
  for (int i = 0; i < 2; i++) {
    emitted |= stream_emit(&execution->outlets[i].stream, out, NUMBERS[i], execution->id);
  }
  if (!emitted && execution->state == STATE_FINISHED && !execution->exited_sent) {
    write_exited(execution, out);
    execution->exited_sent = true;
    return true;
  }
  return emitted;
}

void execution_acknowledge(struct agent *agent, const struct frame *frame) {
  struct execution *execution = execution_find(agent, frame->channel);
  if (execution == NULL || frame->stream < STREAM_STDOUT || frame->stream > STREAM_STDERR) {
    return; /* released in the meantime */
  }
  struct outlet *outlet = &execution->outlets[frame->stream - STREAM_STDOUT];
  stream_acknowledge(&outlet->stream, &agent->chunks, frame->offset);
  if (outlet->watch.fd >= 0 && outlet->watch.events == 0) {
    pump(outlet);
    execution_advance(execution);
  }
}
