/* What a program sends goes to the host, and what the host sends to the program.
 *
 * Neither side is believed: each direction has a credit, so what waits for a program that does not read is at
 * most CHANNEL_WINDOW_BYTES, and what waits for the host stays in the program's socket. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "channel.h"

enum { PIECE_BYTES = 16384 };

void channel_watch(struct channel *channel) {
  bool room = channel->state == CHANNEL_CLOSING ||
              (channel->credit > channel->sent && channel->starved.next == &channel->starved);
  uint32_t events = !channel->program_ended && room ? EPOLLIN : 0;
  events |= channel->waiting.size != 0 ? EPOLLOUT : 0;
  if (!watch_for(&channel->agent->loop, &channel->watch, events)) {
    channel_reset(channel);
  }
}

/* Both directions have ended and all is delivered? */
static bool is_over(const struct channel *channel) {
  return channel->host_ended && channel->program_ended && channel->waiting.size == 0;
}

void channel_settle(struct channel *channel) {
  if (is_over(channel)) {
    channel_end(channel);
  } else {
    channel_watch(channel);
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
    channel_reset(channel);
    return false;
  }
  if (got == 0) {
    channel->program_ended = true;
    channel_say(channel, MESSAGE_CHANNEL_EOF, channel->sent);
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
    channel_reset(channel);
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
    channel_say(channel, MESSAGE_CHANNEL_CREDIT, channel->granted);
  }
  return true;
}

void channel_ready(struct watch *watch, uint32_t events) {
  struct channel *channel = container_of(watch, struct channel, watch);
  if (channel->state == CHANNEL_TRYING) {
    channel_tried(channel);
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
  channel_settle(channel);
}

void channel_resume(struct link *starved) {
  struct channel *channel = container_of(starved, struct channel, starved);
  list_remove(&channel->starved);
  channel_watch(channel);
}

/* False for what no correct host sends: a gap, or more than it may. */
bool channel_take(struct channel *channel, const struct frame *frame) {
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
    channel_reset(channel);
  } else if (deliver(channel)) {
    channel_settle(channel);
  }
  return true;
}

void channel_host_ends(struct channel *channel) {
  channel->host_ended = true;
  if (deliver(channel)) {
    channel_settle(channel);
  }
}
