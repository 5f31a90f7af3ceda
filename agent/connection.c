/* One host connection: frames in, frames out, never more in memory than the bounds below. */
#include "changes.h"
#include "network.h"
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  READ_BYTES = 65536,
  READ_FILE_BYTES = 524288, /* while a file comes in */
  QUEUE_LOW = 262144,        /* output is added while less than this waits */
  QUEUE_HIGH = 2097152,      /* no request is taken while more than this waits */
  UNGREETED_PAYLOAD = 4096,  /* before HELLO */
};

struct connection {
  struct garbage garbage;
  struct agent *agent;
  struct link order;
  struct watch watch;
  struct bytes in, out;
  size_t out_sent;
  struct link attached;
  struct link starved; /* channels */
  struct transfer transfer;
  struct changes *changes; /* NULL, or what is told over it */
  bool greeted;
  bool closing; /* after what is queued has been sent */
  bool awake;   /* something may be to be sent */
  uint64_t due_us; /* 0, or when something that can wait a moment is to be sent */
};

struct bytes *connection_out(struct connection *connection) {
  return &connection->out;
}

struct agent *connection_agent(struct connection *connection) {
  return connection->agent;
}

struct link *connection_attached(struct connection *connection) {
  return &connection->attached;
}

static size_t queued(const struct connection *connection) {
  return connection->out.size - connection->out_sent;
}

bool connection_has_room(const struct connection *connection) {
  return queued(connection) < QUEUE_LOW;
}

struct link *connection_starved(struct connection *connection) {
  return &connection->starved;
}

bool connection_is_used(const struct connection *connection) {
  const struct network *network = connection->agent->network;
  return connection->attached.next != &connection->attached || connection->starved.next != &connection->starved ||
         (network != NULL && network->host == connection) || connection->changes != NULL;
}

struct transfer *connection_transfer(struct connection *connection) {
  return &connection->transfer;
}

void connection_set_changes(struct connection *connection, struct changes *changes) {
  connection->changes = changes;
}

void connection_end_changes(struct connection *connection) {
  changes_end(connection->changes);
  connection->changes = NULL;
}

void connection_widen(struct connection *connection, int bytes) {
  setsockopt(connection->watch.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

void connection_wake(struct connection *connection) {
  connection->awake = true;
}

void connection_wake_within(struct connection *connection, uint64_t us) {
  uint64_t due = now_us() + us;
  if (connection->due_us == 0 || due < connection->due_us) {
    connection->due_us = due;
  }
}

uint64_t connections_next_due(const struct agent *agent) {
  uint64_t due = 0;
  list_each(at, next, &agent->connections) {
    const struct connection *connection = container_of(at, struct connection, order);
    if (connection->due_us != 0 && (due == 0 || connection->due_us < due)) {
      due = connection->due_us;
    }
  }
  return due;
}

void connection_greet(struct connection *connection) {
  connection->greeted = true;
}

void connection_reply_failed(struct connection *connection, uint64_t channel, const char *reason, const char *message,
                             int error) {
  size_t begun = message_begin(&connection->out, MESSAGE_FAILED, channel);
  message_text(&connection->out, FAILED_REASON, reason);
  message_text(&connection->out, FAILED_MESSAGE, message);
  message_u64(&connection->out, FAILED_ERRNO, (uint64_t)error);
  message_end(&connection->out, begun);
  connection_wake(connection);
}

static void close_connection(struct connection *connection) {
  if (connection->watch.fd < 0) {
    return;
  }
  struct agent *agent = connection->agent;
  executions_detach(connection);
  network_detach(connection);
  transfer_end(&connection->transfer);
  connection_end_changes(connection);
  watch_close(&agent->loop, &connection->watch);
  list_remove(&connection->order);
  agent->connection_count--;
  bytes_free(&connection->in);
  bytes_free(&connection->out);
  loop_discard(&agent->loop, &connection->garbage);
}

/* Answer every complete frame; false if the connection has to go. */
static bool take_frames(struct connection *connection) {
  size_t taken = 0;
  bool alive = true;
  while (alive && !connection->closing && queued(connection) < QUEUE_HIGH) {
    enum transfer_state transfer = connection->transfer.state;
    if (transfer == TRANSFER_OUT) {
      break;
    }
    if (transfer != TRANSFER_NONE) {
      taken += transfer_take(connection, connection->in.data + taken, connection->in.size - taken, &alive);
      if (connection->transfer.state != TRANSFER_NONE) {
        break;
      }
      continue;
    }
    struct frame frame;
    enum frame_result result = frame_parse(connection->in.data + taken, connection->in.size - taken, &frame);
    if (result == FRAME_TOO_LONG) {
      return false;
    }
    if (result == FRAME_INCOMPLETE) {
      break;
    }
    taken += FRAME_HEADER_BYTES + frame.length;
    if (!connection->greeted && (frame.type != MESSAGE_HELLO || frame.length > UNGREETED_PAYLOAD)) {
      connection_reply_failed(connection, frame.channel, "bad_request", "HELLO comes first", EPROTO);
      connection->closing = true;
    } else {
      alive = request_answer(connection, &frame);
    }
  }
  bytes_consume(&connection->in, taken);
  if (!connection->greeted && connection->in.size > FRAME_HEADER_BYTES + UNGREETED_PAYLOAD) {
    return false;
  }
  return alive;
}

/* Let attached executions add output, one piece each in turn. */
static void gather(struct connection *connection) {
  for (bool more = true; more && queued(connection) < QUEUE_LOW;) {
    more = false;
    list_each(at, next, &connection->attached) {
      more |= execution_emit(at, &connection->out);
    }
  }
}

/* False if the peer is gone. */
static bool send_queued(struct connection *connection) {
  while (queued(connection) != 0) {
    ssize_t sent;
    do {
      sent = send(connection->watch.fd, connection->out.data + connection->out_sent, queued(connection), MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
      break;
    }
    connection->out_sent += (size_t)sent;
  }
  bool blocked = errno == EAGAIN || queued(connection) == 0;
  if (connection->out_sent == connection->out.size || connection->out_sent > QUEUE_LOW) {
    bytes_consume(&connection->out, connection->out_sent);
    connection->out_sent = 0;
  }
  return blocked;
}

/* A file's bytes follow what is queued; false if they cannot. */
static bool send_file(struct connection *connection) {
  if (queued(connection) != 0) {
    return true;
  }
  switch (transfer_send(&connection->transfer, connection->watch.fd)) {
    case SENT_ALL:
      transfer_end(&connection->transfer);
      return true;
    case SENT_BROKEN:
      return false;
    default:
      return true;
  }
}

static void flush(struct connection *connection) {
  connection->awake = false;
  connection->due_us = 0;
  if (connection->changes != NULL && connection_has_room(connection)) {
    changes_step(connection->changes);
  }
  bool alive = !connection->out.failed && !connection->in.failed;
  for (bool more = true; alive && more;) {
    gather(connection);
    more = queued(connection) != 0;
    alive = !connection->out.failed && send_queued(connection);
    more = more && queued(connection) == 0;
  }
  if (alive && connection->transfer.state == TRANSFER_OUT) {
    alive = send_file(connection);
  }
  if (alive && queued(connection) < QUEUE_LOW && connection->in.size >= FRAME_HEADER_BYTES) {
    alive = take_frames(connection); /* requests that waited for room */
    connection->awake |= queued(connection) != 0;
  }
  if (!alive || (connection->closing && queued(connection) == 0)) {
    close_connection(connection);
    return;
  }
  if (connection_has_room(connection)) {
    list_each(at, next, &connection->starved) {
      channel_resume(at);
    }
  }
  if (connection->changes != NULL && connection_has_room(connection) && !changes_wait(connection->changes)) {
    close_connection(connection);
    return;
  }
  bool sending = connection->transfer.state == TRANSFER_OUT;
  uint32_t events = queued(connection) != 0 || sending ? EPOLLOUT : 0;
  events |= queued(connection) < QUEUE_HIGH && !connection->closing && !sending ? EPOLLIN : 0;
  if (!watch_for(&connection->agent->loop, &connection->watch, events)) {
    close_connection(connection);
  }
}

void connections_flush(struct agent *agent, uint64_t now) {
  list_each(at, next, &agent->connections) {
    struct connection *connection = container_of(at, struct connection, order);
    if (connection->awake || (connection->due_us != 0 && connection->due_us <= now)) {
      flush(connection);
    }
  }
}

static void connection_ready(struct watch *watch, uint32_t events) {
  struct connection *connection = container_of(watch, struct connection, watch);
  connection_wake(connection);
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) {
    return;
  }
  size_t most = connection->transfer.state == TRANSFER_NONE ? READ_BYTES : READ_FILE_BYTES;
  if (!bytes_reserve(&connection->in, most)) {
    close_connection(connection);
    return;
  }
  ssize_t got = read_some(watch->fd, connection->in.data + connection->in.size, most);
  if (got == 0 || (got < 0 && errno != EAGAIN)) {
    close_connection(connection);
    return;
  }
  connection->in.size += got > 0 ? (size_t)got : 0;
  if (!take_frames(connection)) {
    close_connection(connection);
  }
}

/* Make room for one more: the oldest that never said HELLO, else the oldest of all goes. */
static void make_room(struct agent *agent) {
  if (agent->connection_count < CONNECTIONS_MAX) {
    return;
  }
  struct connection *victim = container_of(agent->connections.next, struct connection, order);
  list_each(at, next, &agent->connections) {
    struct connection *connection = container_of(at, struct connection, order);
    if (!connection->greeted) {
      victim = connection;
      break;
    }
  }
  close_connection(victim);
}

/* As PID 1 only the host is served: a peer outside this PID namespace shows as 0, and the bridge that an
   engine's exec started has its parent outside.  A program in the VM has neither. */
static bool is_host(const struct agent *agent, int fd) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (!agent->is_init) {
    return true;
  }
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return false;
  }
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)peer.pid);
  if (peer.pid == 0 || read_small_file(path, text, sizeof text) < 0) {
    return peer.pid == 0;
  }
  const char *after = strrchr(text, ')');
  int parent = -1;
  return after != NULL && sscanf(after + 1, " %*c %d", &parent) == 1 && parent == 0;
}

static void listener_ready(struct watch *watch, uint32_t events) {
  (void)events;
  struct agent *agent = container_of(watch, struct agent, listener);
  cleanup_fd int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0 || !is_host(agent, fd)) {
    return;
  }
  make_room(agent);
  struct connection *connection = calloc(1, sizeof *connection);
  if (connection == NULL) {
    return;
  }
  connection->agent = agent;
  connection->watch.fd = take_fd(&fd);
  connection->watch.ready = connection_ready;
  list_init(&connection->attached);
  list_init(&connection->starved);
  list_append(&agent->connections, &connection->order);
  agent->connection_count++;
  if (!watch_for(&agent->loop, &connection->watch, EPOLLIN)) {
    close_connection(connection);
  }
}

bool listener_ready_to_serve(struct agent *agent, int fd) {
  int flags = fcntl(fd, F_GETFL);
  agent->listener.fd = fd;
  agent->listener.ready = listener_ready;
  return flags >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
         watch_for(&agent->loop, &agent->listener, EPOLLIN);
}
