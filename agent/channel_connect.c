/* Connections the other way: the host asks for one to a port in the VM. */
#include <errno.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "network.h"

enum { CONNECT_US = 10000000 };

#define FIRST_HOST_ID (3ULL << 61)

void channel_fail(struct channel *channel, int error) {
  const char *reason = error == ECONNREFUSED ? "refused" : reason_of(error);
  connection_reply_failed(channel->connection, channel->id, reason, "nothing answers at this port", error);
  channel_cut(channel);
}

static void connected(struct channel *channel) {
  channel->state = CHANNEL_OPEN;
  channel_send_at_once(channel->watch.fd);
  channel_set_due(channel, 0);
  channel_say(channel, MESSAGE_CHANNEL_CONNECTED, 0);
  channel_settle(channel);
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
    channel_fail(channel, error);
  }
}

void channel_tried(struct channel *channel) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(channel->watch.fd, SOL_SOCKET, SO_ERROR, &error, &size);
  tried(channel, error);
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

static void begin(struct connection *connection, uint64_t id, uint16_t port) {
  struct channel *channel = channel_make(connection, -1, id);
  if (channel == NULL) {
    connection_reply_failed(connection, id, "no_memory", "no memory for a channel", ENOMEM);
    return;
  }
  channel->port = port;
  channel->family = AF_INET;
  channel_set_due(channel, CONNECT_US);
  int error = try_connect(channel);
  if (error != EINPROGRESS) {
    tried(channel, error);
  }
}

void channel_connect(struct connection *connection, const struct frame *frame) {
  uint16_t port;
  struct network *network = network_of(connection_agent(connection));
  if (network == NULL) {
    connection_reply_failed(connection, frame->channel, "no_memory", "no memory for a network", ENOMEM);
  } else if (frame->channel < FIRST_HOST_ID || channel_find(connection, frame->channel) != NULL ||
             !port_of(frame, &port)) {
    connection_reply_failed(connection, frame->channel, "bad_request", "no such port, or no new channel", EINVAL);
  } else if (network->channels.count >= CHANNELS_MAX) {
    connection_reply_failed(connection, frame->channel, "too_many_channels", "too many channels", EMFILE);
  } else if (network_listens_at(network, port)) {
    connection_reply_failed(connection, frame->channel, "refused", "the agent's own port", ECONNREFUSED);
  } else {
    begin(connection, frame->channel, port);
  }
}
