/* From the birth of a channel to its end, and the messages about it. */
#include "channel.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "network.h"

enum { LINGER_US = 10000000 };

#define FIRST_ID (1ULL << 62)

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

struct channel *channel_find(struct connection *connection, uint64_t id) {
  list_each(at, next, bucket_of(connection_agent(connection), id)) {
    struct channel *channel = container_of(at, struct channel, bucket);
    if (channel->id == id && channel->connection == connection) {
      return channel;
    }
  }
  return NULL;
}

void channel_say(struct channel *channel, enum message type, uint64_t offset) {
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
void channel_send_at_once(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void channel_set_due(struct channel *channel, uint64_t us) {
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

void channel_end(struct channel *channel) {
  struct channels *channels = channels_of(channel->agent);
  channel_set_due(channel, 0);
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
void channel_cut(struct channel *channel) {
  watch_for(&channel->agent->loop, &channel->watch, 0);
  channel->watch.events = 0;
  reset_socket(&channel->watch.fd);
  channel_end(channel);
}

/* The same, and tell the host. */
void channel_reset(struct channel *channel) {
  channel_say(channel, MESSAGE_CHANNEL_RESET, 0);
  channel_cut(channel);
}

struct channel *channel_make(struct connection *connection, int fd, uint64_t id) {
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
  struct channel *channel = channel_make(connection, fd, channels->last_id + 1);
  if (channel == NULL) {
    reset_socket(&fd);
    return;
  }
  channels->last_id++;
  channels->accepted++;
  channel->accepted = true;
  channel_send_at_once(fd);
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
  channel_watch(channel);
}

static void host_closes(struct channel *channel) {
  forget_id(channel);
  channel->state = CHANNEL_CLOSING;
  channel_set_due(channel, LINGER_US);
  channel_host_ends(channel);
}

bool channel_answer(struct connection *connection, const struct frame *frame) {
  if (frame->type == MESSAGE_CHANNEL_CONNECT) {
    channel_connect(connection, frame);
    return true;
  }
  struct channel *channel = connection_agent(connection)->network != NULL ? channel_find(connection, frame->channel) : NULL;
  if (channel == NULL) {
    return true; /* it ended in the meantime */
  }
  if (channel->state == CHANNEL_TRYING && frame->type != MESSAGE_CHANNEL_RESET) {
    return false;
  }
  switch (frame->type) {
    case MESSAGE_CHANNEL_DATA:
      return channel_take(channel, frame);
    case MESSAGE_CHANNEL_CREDIT:
      if (frame->offset > channel->credit) {
        channel->credit = frame->offset;
        channel_watch(channel);
      }
      return true;
    case MESSAGE_CHANNEL_EOF:
      if (frame->offset != channel->received || channel->host_ended) {
        return false;
      }
      channel_host_ends(channel);
      return true;
    case MESSAGE_CHANNEL_CLOSE:
      host_closes(channel);
      return true;
    case MESSAGE_CHANNEL_RESET:
      channel_cut(channel);
      return true;
    default:
      return false;
  }
}

void channels_detach(struct agent *agent, const struct connection *connection) {
  list_each(at, next, &channels_of(agent)->all) {
    struct channel *channel = container_of(at, struct channel, all);
    if (channel->connection == connection) {
      channel_cut(channel);
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
      channel_fail(channel, ETIMEDOUT);
    } else {
      channel_cut(channel);
    }
  }
}
