/* Every message of the host, answered. */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "changes.h"
#include "network.h"
#include "transfer.h"
#include "tree.h"
#include "warm.h"

/* The one number of a small message, `otherwise` if it is absent or no u64. */
static uint64_t number(const struct frame *frame, unsigned tag, uint64_t otherwise) {
  struct cursor cursor = cursor_of(frame);
  struct field field;
  while (field_next(&cursor, &field) == FIELD_FOUND) {
    if (field.tag == tag) {
      field_u64(&field, &otherwise);
    }
  }
  return otherwise;
}

static void answer_hello(struct connection *connection, const struct frame *frame) {
  const struct agent *agent = connection_agent(connection);
  uint64_t theirs = number(frame, HELLO_GENERATION, 0);
  if (theirs == 0) {
    connection_reply_failed(connection, frame->channel, "bad_request", "HELLO without a generation", EINVAL);
    return;
  }
  connection_greet(connection);
  struct bytes *out = connection_out(connection);
  size_t begun = message_begin(out, MESSAGE_HELLO_OK, frame->channel);
  message_u64(out, HELLO_OK_GENERATION, theirs < GENERATION ? theirs : GENERATION);
  message_u64(out, HELLO_OK_BOOT_ID, agent->boot_id);
  message_u64(out, HELLO_OK_PID, (uint64_t)getpid());
  message_text(out, HELLO_OK_AGENT_VERSION, AGENT_VERSION);
  message_end(out, begun);
}

static void answer_stats(struct connection *connection, const struct frame *frame) {
  const struct agent *agent = connection_agent(connection);
  struct bytes *out = connection_out(connection);
  size_t begun = message_begin(out, MESSAGE_STATS_OK, frame->channel);
  message_u64(out, STATS_OK_PROCESSES, tree_population());
  message_u64(out, STATS_OK_EXECUTIONS, agent->running_count);
  message_u64(out, STATS_OK_CONNECTIONS, agent->connection_count);
  message_u64(out, STATS_OK_UPTIME_US, now_us() - agent->started_us);
  message_end(out, begun);
}

static void answer_signal(struct connection *connection, const struct frame *frame) {
  uint64_t signal = number(frame, SIGNAL_SIGNAL, 0);
  bool tree = number(frame, SIGNAL_TREE, 0) != 0;
  if (signal == 0 || signal >= NSIG) {
    connection_reply_failed(connection, frame->channel, "bad_request", "no such signal", EINVAL);
  } else if (!execution_signal(connection_agent(connection), frame->channel, (int)signal, tree)) {
    connection_reply_failed(connection, frame->channel, "unknown_execution", "no such execution", ESRCH);
  }
}

static void reply_empty(struct connection *connection, enum message type, uint64_t channel) {
  message_raw(connection_out(connection), type, STREAM_NONE, channel, 0, 0);
}

/* A payload that is not a sequence of fields condemns the connection: nothing after it can be trusted. */
static bool well_formed(const struct frame *frame) {
  if (frame->type == MESSAGE_STDIN || frame->type == MESSAGE_CHANNEL_DATA ||
      frame->type == MESSAGE_FILE_PIECE) {
    return true;
  }
  struct cursor cursor = cursor_of(frame);
  struct field field;
  enum field_result result;
  while ((result = field_next(&cursor, &field)) == FIELD_FOUND) {
  }
  return result == FIELD_END;
}

bool request_answer(struct connection *connection, const struct frame *frame) {
  struct agent *agent = connection_agent(connection);
  if (!well_formed(frame)) {
    return false;
  }
  connection_wake(connection);
  switch (frame->type) {
    case MESSAGE_HELLO:
      answer_hello(connection, frame);
      break;
    case MESSAGE_START:
      execution_start(connection, frame);
      break;
    case MESSAGE_ATTACH:
      execution_attach(connection, frame);
      break;
    case MESSAGE_ACK:
      execution_acknowledge(agent, frame);
      break;
    case MESSAGE_STDIN:
      return execution_input(connection, frame);
    case MESSAGE_STDIN_CLOSE:
      execution_close_input(agent, frame->channel);
      break;
    case MESSAGE_RELEASE:
      execution_release(agent, frame->channel);
      break;
    case MESSAGE_RESIZE:
      execution_resize(connection, frame);
      break;
    case MESSAGE_SIGNAL:
      answer_signal(connection, frame);
      break;
    case MESSAGE_LIST:
      executions_list(connection, frame->channel);
      break;
    case MESSAGE_FILE_READ:
      files_read(connection, frame);
      break;
    case MESSAGE_FILE_WRITE:
      files_write(connection, frame);
      break;
    case MESSAGE_FILE_STAT:
      files_stat(connection, frame);
      break;
    case MESSAGE_FILE_LIST:
      files_list(connection, frame);
      break;
    case MESSAGE_FILE_MAKE:
      files_make(connection, frame);
      break;
    case MESSAGE_FILE_CHANGE:
      files_change(connection, frame);
      break;
    case MESSAGE_FILE_MOVE:
      files_move(connection, frame);
      break;
    case MESSAGE_FILE_REMOVE:
      files_remove(connection, frame);
      break;
    case MESSAGE_FILE_WATCH:
      changes_begin(connection, frame);
      break;
    case MESSAGE_FILE_GET:
      transfer_get(connection, frame);
      break;
    case MESSAGE_FILE_PUT:
      transfer_put(connection, frame);
      break;
    case MESSAGE_STATS:
      answer_stats(connection, frame);
      break;
    case MESSAGE_PING:
      reply_empty(connection, MESSAGE_PONG, frame->channel);
      break;
    case MESSAGE_WARM:
      warm_answer(connection, frame);
      break;
    case MESSAGE_LISTEN:
      network_listen(connection, frame);
      break;
    case MESSAGE_CHANNEL_CONNECT:
    case MESSAGE_CHANNEL_DATA:
    case MESSAGE_CHANNEL_CREDIT:
    case MESSAGE_CHANNEL_EOF:
    case MESSAGE_CHANNEL_CLOSE:
    case MESSAGE_CHANNEL_RESET:
      return channel_answer(connection, frame);
    case MESSAGE_SHUTDOWN:
      reply_empty(connection, MESSAGE_DONE, frame->channel);
      agent_stop(agent, number(frame, SHUTDOWN_GRACE_MS, 0) * 1000);
      break;
    default:
      connection_reply_failed(connection, frame->channel, "unknown_message", "this agent does not know it", ENOSYS);
  }
  return true;
}
