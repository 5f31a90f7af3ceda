/* What the agent listens for in the VM's loopback, for the host. */
#pragma once

#include "channel.h"
#include "resolver.h"

enum { DIRECT_MAX = 64, LISTENERS_MAX = DIRECT_MAX + 1 };

/* direct: for connections to any address at `port`; else the proxy's, on 127.0.0.1. */
struct listener {
  struct watch watch;
  struct network *network;
  uint16_t port;
  bool direct;
};

/* Made by the first LISTEN or CHANNEL_CONNECT.  `host`: the connection accepted channels go to; while it is
   NULL connections wait in the kernel until `abandoned_us`, and are reset after. */
struct network {
  struct agent *agent;
  struct connection *host;
  uint64_t abandoned_us;
  size_t accepted_max;
  struct listener listeners[LISTENERS_MAX];
  struct resolver *resolver;
  struct channels channels;
};

/* NULL when there is no memory. */
struct network *network_of(struct agent *agent);

void network_listen(struct connection *connection, const struct frame *frame);

/* Whether the agent itself listens there. */
bool network_listens_at(const struct network *network, uint16_t port);

/* A channel has ended: there may be room for another. */
void network_resume(struct network *network);

void network_detach(struct connection *connection);
void network_due(struct agent *agent, uint64_t now);
uint64_t network_next_due(const struct agent *agent);
