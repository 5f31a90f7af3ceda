/* Neither side is believed: each direction has a credit, so what waits for a program that does not read is at
   most CHANNEL_WINDOW_BYTES, and what waits for the host stays in the program's socket. */
#include "channel.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "network.h"

enum { PIECE_BYTES = 16384, CONNECT_US = 10000000, LINGER_US = 10000000 };

#define FIRST_ID (1ULL << 62)
#define FIRST_HOST_ID (3ULL << 61)

/* How it goes on: TRYING, the host asked for a connection that is not made yet (at `family`); OPEN; CLOSING,
   the host is done with it and forgot its id: what waits is still delivered, what the program sends dropped. */
enum channel_state { CHANNEL_TRYING, CHANNEL_OPEN, CHANNEL_CLOSING };

struct channel {
  struct garbage garbage;
  struct link all, bucket, starved;
  struct connection *connection; /* NULL once CLOSING */
  struct agent *agent;
  struct watch watch;
  uint64_t id;
  enum channel_state state;
  int family;
  uint16_t port;
  bool accepted;
  struct bytes waiting;       /* for the program */
  uint64_t received, granted; /* from the host */
  uint64_t sent, credit;      /* to the host */
  bool host_ended, program_ended;
  uint64_t due_us;
};

void channels_init(struct channels *channels) {
  *channels = (struct channels){.last_id = FIRST_ID};
  list_init(&channels->all);
  for (size_t i = 0; i < CHANNEL_BUCKETS; i++) {
    list_init(&channels->buckets[i]);
  }
}

static struct channels *channels_of(struct agent *agent) {
  return &agent->network->channels;
}

static struct link *bucket_of(struct agent *agent, uint64_t id) {
  return &channels_of(agent)->buckets[id % CHANNEL_BUCKETS];
}

static struct channel *find(struct connection *connection, uint64_t id) {
  list_each(at, next, bucket_of(connection_agent(connection), id)) {
    struct channel *channel = container_of(at, struct channel, bucket);
    if (channel->id == id && channel->connection == connection) {
      return channel;
    }
  }
  return NULL;
}

static void say(struct channel *channel, enum message type, uint64_t offset) {
  if (channel->connection != NULL) {
    message_raw(connection_out(channel->connection), type, STREAM_NONE, channel->id, offset, 0);
    connection_wake(channel->connection);
  }
}

void reset_socket(int *fd) {
  struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  if (*fd >= 0) {
    setsockopt(*fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  close_owned(fd);
}

/* Whoever wrote it has gathered what belongs together. */
static void send_at_once(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void set_due(struct channel *channel, uint64_t us) {
  struct channels *channels = channels_of(channel->agent);
  channels->timed += (us != 0) - (channel->due_us != 0);
  channel->due_us = us != 0 ? now_us() + us : 0;
}

/* The host no longer knows it by its id. */
static void forget_id(struct channel *channel) {
  list_remove(&channel->bucket);
  list_remove(&channel->starved);
  channel->connection = NULL;
}

static void end(struct channel *channel) {
  struct channels *channels = channels_of(channel->agent);
  set_due(channel, 0);
  forget_id(channel);
  watch_close(&channel->agent->loop, &channel->watch);
  bytes_free(&channel->waiting);
  list_remove(&channel->all);
  channels->count--;
  channels->accepted -= channel->accepted;
  loop_discard(&channel->agent->loop, &channel->garbage);
  network_resume(channel->agent->network);
}

/* Break it off towards the program. */
static void cut(struct channel *channel) {
  watch_for(&channel->agent->loop, &channel->watch, 0);
  channel->watch.events = 0;
  reset_socket(&channel->watch.fd);
  end(channel);
}

/* The same, and tell the host. */
static void reset(struct channel *channel) {
  say(channel, MESSAGE_CHANNEL_RESET, 0);
  cut(channel);
}

static void watch_anew(struct channel *channel) {
  bool room = channel->state == CHANNEL_CLOSING ||
              (channel->credit > channel->sent && channel->starved.next == &channel->starved);
  uint32_t events = !channel->program_ended && room ? EPOLLIN : 0;
  events |= channel->waiting.size != 0 ? EPOLLOUT : 0;
  if (!watch_for(&channel->agent->loop, &channel->watch, events)) {
    reset(channel);
  }
}

/* Both directions have ended and all is delivered? */
static bool is_over(const struct channel *channel) {
  return channel->host_ended && channel->program_ended && channel->waiting.size == 0;
}

static void settle(struct channel *channel) {
  if (is_over(channel)) {
    end(channel);
  } else {
    watch_anew(channel);
  }
}

/* One piece of what the program sends, into a frame of its own; false if the channel is gone. */
static bool carry(struct channel *channel) {
  uint8_t piece[PIECE_BYTES];
  uint64_t most = channel->state == CHANNEL_CLOSING ? sizeof piece : channel->credit - channel->sent;
  ssize_t got = recv(channel->watch.fd, piece, most < sizeof piece ? (size_t)most : sizeof piece, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    return true;
  }
  if (got < 0) {
    reset(channel);
    return false;
  }
  if (got == 0) {
    channel->program_ended = true;
    say(channel, MESSAGE_CHANNEL_EOF, channel->sent);
  } else if (channel->state == CHANNEL_OPEN) {
    struct bytes *out = connection_out(channel->connection);
    message_raw(out, MESSAGE_CHANNEL_DATA, STREAM_NONE, channel->id, channel->sent, (size_t)got);
    bytes_append(out, piece, (size_t)got);
    channel->sent += (uint64_t)got;
    connection_wake(channel->connection);
  }
  return true;
}

/* Bytes the program takes now; -1, the channel being gone, when it never will. */
static ssize_t hand_over(struct channel *channel, const uint8_t *data, size_t size) {
  ssize_t taken = send(channel->watch.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (taken < 0 && (errno == EAGAIN || errno == EINTR)) {
    return 0;
  }
  if (taken < 0) {
    reset(channel);
  }
  return taken;
}

/* To the program what it takes of what waits, and after the last byte the end; false if the channel is gone. */
static bool deliver(struct channel *channel) {
  if (channel->waiting.size != 0) {
    ssize_t taken = hand_over(channel, channel->waiting.data, channel->waiting.size);
    if (taken < 0) {
      return false;
    }
    bytes_consume(&channel->waiting, (size_t)taken);
  }
  if (channel->waiting.size != 0) {
    return true;
  }
  bytes_free(&channel->waiting); /* one that waits for nothing holds nothing */
  if (channel->host_ended) {
    shutdown(channel->watch.fd, SHUT_WR);
  } else if (channel->received + CHANNEL_WINDOW_BYTES - channel->granted >= CHANNEL_WINDOW_BYTES / 2) {
    channel->granted = channel->received + CHANNEL_WINDOW_BYTES;
    say(channel, MESSAGE_CHANNEL_CREDIT, channel->granted);
  }
  return true;
}

static int try_connect(struct channel *channel);

static void fail(struct channel *channel, int error) {
  const char *reason = error == ECONNREFUSED ? "refused" : reason_of(error);
  connection_reply_failed(channel->connection, channel->id, reason, "nothing answers at this port", error);
  cut(channel);
}

static void connected(struct channel *channel) {
  channel->state = CHANNEL_OPEN;
  send_at_once(channel->watch.fd);
  set_due(channel, 0);
  say(channel, MESSAGE_CHANNEL_CONNECTED, 0);
  settle(channel);
}

/* A connection the host asked for is made or refused; a server may listen for one family only. */
static void tried(struct channel *channel, int error) {
  if (error == 0) {
    connected(channel);
  } else if (error == ECONNREFUSED && channel->family == AF_INET) {
    watch_close(&channel->agent->loop, &channel->watch);
    channel->family = AF_INET6;
    int again = try_connect(channel);
    if (again != EINPROGRESS) {
      tried(channel, again == 0 ? 0 : ECONNREFUSED);
    }
  } else {
    fail(channel, error);
  }
}

static void channel_ready(struct watch *watch, uint32_t events) {
  struct channel *channel = container_of(watch, struct channel, watch);
  if (channel->state == CHANNEL_TRYING) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    tried(channel, error);
    return;
  }
  if ((events & EPOLLOUT) != 0 && !deliver(channel)) {
    return;
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && (watch->events & EPOLLIN) != 0) {
    if (channel->state == CHANNEL_OPEN && !connection_has_room(channel->connection)) {
      list_append(connection_starved(channel->connection), &channel->starved);
    } else if (!carry(channel)) {
      return;
    }
  }
  settle(channel);
}

void channel_resume(struct link *starved) {
  struct channel *channel = container_of(starved, struct channel, starved);
  list_remove(&channel->starved);
  watch_anew(channel);
}

static struct channel *make(struct connection *connection, int fd, uint64_t id) {
  struct channel *channel = calloc(1, sizeof *channel);
  if (channel == NULL) {
    return NULL;
  }
  struct agent *agent = connection_agent(connection);
  struct channels *channels = channels_of(agent);
  channel->agent = agent;
  channel->connection = connection;
  channel->id = id;
  channel->watch.fd = fd;
  channel->watch.ready = channel_ready;
  channel->granted = channel->credit = CHANNEL_WINDOW_BYTES;
  list_init(&channel->starved);
  list_append(&channels->all, &channel->all);
  list_append(bucket_of(agent, id), &channel->bucket);
  channels->count++;
  return channel;
}

void channel_open(struct connection *connection, int fd, const char *host, uint16_t port) {
  struct channels *channels = channels_of(connection_agent(connection));
  struct channel *channel = make(connection, fd, channels->last_id + 1);
  if (channel == NULL) {
    reset_socket(&fd);
    return;
  }
  channels->last_id++;
  channels->accepted++;
  channel->accepted = true;
  send_at_once(fd);
  channel->state = CHANNEL_OPEN;
  struct bytes *out = connection_out(connection);
  size_t begun = message_begin(out, MESSAGE_CHANNEL_ACCEPTED, channel->id);
  if (host != NULL) {
    message_u64(out, CHANNEL_ACCEPTED_DIRECT, 1);
    message_text(out, CHANNEL_ACCEPTED_HOST, host);
    message_u64(out, CHANNEL_ACCEPTED_PORT, port);
  }
  message_end(out, begun);
  connection_wake(connection);
  watch_anew(channel);
}

/* 0, EINPROGRESS or what is wrong. */
static int try_connect(struct channel *channel) {
  struct sockaddr_in v4 = {
    .sin_family = AF_INET, .sin_port = htons(channel->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_in6 v6 = {
    .sin6_family = AF_INET6, .sin6_port = htons(channel->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  bool is_v4 = channel->family == AF_INET;
  const struct sockaddr *address = is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
  channel->watch.fd = socket(channel->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (channel->watch.fd < 0) {
    return errno;
  }
  if (connect(channel->watch.fd, address, is_v4 ? sizeof v4 : sizeof v6) == 0) {
    return 0;
  }
  int error = errno;
  if (error == EINPROGRESS && !watch_for(&channel->agent->loop, &channel->watch, EPOLLOUT)) {
    error = ENOMEM;
  }
  return error;
}

static bool port_of(const struct frame *frame, uint16_t *port) {
  struct cursor cursor = cursor_of(frame);
  struct field field;
  uint64_t value = 0;
  while (field_next(&cursor, &field) == FIELD_FOUND) {
    if (field.tag == CHANNEL_CONNECT_PORT) {
      field_u64(&field, &value);
    }
  }
  *port = (uint16_t)value;
  return value != 0 && value <= UINT16_MAX;
}

static void connect_for_host(struct connection *connection, const struct frame *frame) {
  uint16_t port;
  struct network *network = network_of(connection_agent(connection));
  if (network == NULL) {
    connection_reply_failed(connection, frame->channel, "no_memory", "no memory for a network", ENOMEM);
  } else if (frame->channel < FIRST_HOST_ID || find(connection, frame->channel) != NULL || !port_of(frame, &port)) {
    connection_reply_failed(connection, frame->channel, "bad_request", "no such port, or no new channel", EINVAL);
  } else if (network->channels.count >= CHANNELS_MAX) {
    connection_reply_failed(connection, frame->channel, "too_many_channels", "too many channels", EMFILE);
  } else if (network_listens_at(network, port)) {
    connection_reply_failed(connection, frame->channel, "refused", "the agent's own port", ECONNREFUSED);
  } else {
    struct channel *channel = make(connection, -1, frame->channel);
    if (channel == NULL) {
      connection_reply_failed(connection, frame->channel, "no_memory", "no memory for a channel", ENOMEM);
      return;
    }
    channel->port = port;
    channel->family = AF_INET;
    set_due(channel, CONNECT_US);
    int error = try_connect(channel);
    if (error != EINPROGRESS) {
      tried(channel, error);
    }
  }
}

/* False for what no correct host sends: a gap, or more than it may. */
static bool take_data(struct channel *channel, const struct frame *frame) {
  uint64_t after = channel->received + frame->length;
  if (frame->length == 0 || frame->offset != channel->received || after > channel->granted || channel->host_ended) {
    return false;
  }
  channel->received = after;
  ssize_t taken = channel->waiting.size == 0 ? hand_over(channel, frame->payload, frame->length) : 0;
  if (taken < 0) {
    return true;
  }
  bytes_append(&channel->waiting, frame->payload + taken, frame->length - (size_t)taken);
  if (channel->waiting.failed) {
    reset(channel);
  } else if (deliver(channel)) {
    settle(channel);
  }
  return true;
}

static void host_ends(struct channel *channel) {
  channel->host_ended = true;
  if (deliver(channel)) {
    settle(channel);
  }
}

static void host_closes(struct channel *channel) {
  forget_id(channel);
  channel->state = CHANNEL_CLOSING;
  set_due(channel, LINGER_US);
  host_ends(channel);
}

bool channel_answer(struct connection *connection, const struct frame *frame) {
  if (frame->type == MESSAGE_CHANNEL_CONNECT) {
    connect_for_host(connection, frame);
    return true;
  }
  struct channel *channel = connection_agent(connection)->network != NULL ? find(connection, frame->channel) : NULL;
  if (channel == NULL) {
    return true; /* it ended in the meantime */
  }
  if (channel->state == CHANNEL_TRYING && frame->type != MESSAGE_CHANNEL_RESET) {
    return false;
  }
  switch (frame->type) {
    case MESSAGE_CHANNEL_DATA:
      return take_data(channel, frame);
    case MESSAGE_CHANNEL_CREDIT:
      if (frame->offset > channel->credit) {
        channel->credit = frame->offset;
        watch_anew(channel);
      }
      return true;
    case MESSAGE_CHANNEL_EOF:
      if (frame->offset != channel->received || channel->host_ended) {
        return false;
      }
      host_ends(channel);
      return true;
    case MESSAGE_CHANNEL_CLOSE:
      host_closes(channel);
      return true;
    case MESSAGE_CHANNEL_RESET:
      cut(channel);
      return true;
    default:
      return false;
  }
}

void channels_detach(struct agent *agent, const struct connection *connection) {
  list_each(at, next, &channels_of(agent)->all) {
    struct channel *channel = container_of(at, struct channel, all);
    if (channel->connection == connection) {
      cut(channel);
    }
  }
}

uint64_t channels_next_due(const struct agent *agent) {
  const struct channels *channels = &agent->network->channels;
  uint64_t due = 0;
  if (channels->timed != 0) {
    list_each(at, next, &channels->all) {
      const struct channel *channel = container_of(at, struct channel, all);
      if (channel->due_us != 0 && (due == 0 || channel->due_us < due)) {
        due = channel->due_us;
      }
    }
  }
  return due;
}

void channels_due(struct agent *agent, uint64_t now) {
  if (channels_of(agent)->timed == 0) {
    return;
  }
  list_each(at, next, &channels_of(agent)->all) {
    struct channel *channel = container_of(at, struct channel, all);
    if (channel->due_us == 0 || channel->due_us > now) {
      continue;
    }
    if (channel->state == CHANNEL_TRYING) {
      fail(channel, ETIMEDOUT);
    } else {
      cut(channel);
    }
  }
}
