/* A file on its way over a connection of its own: bare bytes out, or pieces in. */
#pragma once

#include "file_request.h"

enum transfer_state {
  TRANSFER_NONE,
  TRANSFER_OUT,
  TRANSFER_IN,
  TRANSFER_DROPPED, /* in, but it failed: what still comes up to the end is nothing any more */
};

struct transfer {
  enum transfer_state state;
  int file;
  uint64_t channel;
  uint64_t at;
  uint64_t left; /* out: of all; in: of the piece */
  struct file_request request; /* in: what is set at the end; owns nothing */
};

struct connection;

/* Begin one.  In a connection's transfer, with nothing else under way. */
void transfer_get(struct connection *connection, const struct frame *frame);
void transfer_put(struct connection *connection, const struct frame *frame);

enum sent { SENT_ALL, SENT_SOME, SENT_BLOCKED, SENT_BROKEN };

/* Bytes of the file to a socket, some of them at a time. */
enum sent transfer_send(struct transfer *transfer, int socket);

/* Take pieces from the beginning of `size` bytes, answer where it ends, and say how many were taken.
   `*alive` false: what came is no piece. */
size_t transfer_take(struct connection *connection, const uint8_t *data, size_t size, bool *alive);

void transfer_end(struct transfer *transfer);
