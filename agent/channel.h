/* One TCP connection of a program in the VM, carried to the host: a network channel. */
#pragma once

#include "agent.h"

enum { CHANNELS_MAX = 512, CHANNEL_BUCKETS = 64 };

/* All channels.  `accepted`: those programs have opened. */
struct channels {
  struct link all;
  struct link buckets[CHANNEL_BUCKETS];
  size_t count, accepted;
  size_t timed; /* those that end by themselves at a time */
  uint64_t last_id;
};

void channels_init(struct channels *channels);

/* Take over a connection a program has made.  `host` and `port` are where it believes to have come, NULL when
   it came to the proxy.  Closes `fd` if there is no memory. */
void channel_open(struct connection *connection, int fd, const char *host, uint16_t port);

/* A CHANNEL_ message of the host; false for what no correct host sends. */
bool channel_answer(struct connection *connection, const struct frame *frame);

/* The connection has room again for what a program sends. */
void channel_resume(struct link *starved);

/* The connection is gone: reset what it carried. */
void channels_detach(struct agent *agent, const struct connection *connection);

/* End those whose time is up; when the next one's is, 0 if none. */
void channels_due(struct agent *agent, uint64_t now);
uint64_t channels_next_due(const struct agent *agent);

/* Close so that the peer is told it was broken off. */
void reset_socket(int *fd);
