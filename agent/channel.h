/* One TCP connection of a program in the VM, carried to the host: a network channel. */
#pragma once

#include "agent.h"

enum { CHANNELS_MAX = 512, CHANNEL_BUCKETS = 64 };

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

/* Between the channel's own files.  Those that end it: it must not be touched after. */

/* NULL when there is no memory; `fd` may come later. */
struct channel *channel_make(struct connection *connection, int fd, uint64_t id);
struct channel *channel_find(struct connection *connection, uint64_t id);

/* End by itself in so many microseconds; 0: not any more. */
void channel_set_due(struct channel *channel, uint64_t us);
void channel_send_at_once(int fd);
void channel_say(struct channel *channel, enum message type, uint64_t offset);
void channel_end(struct channel *channel);
void channel_cut(struct channel *channel);   /* break it off towards the program */
void channel_reset(struct channel *channel); /* and tell the host */

/* channel_carry.c */
void channel_ready(struct watch *watch, uint32_t events);
void channel_watch(struct channel *channel);
void channel_settle(struct channel *channel);
bool channel_take(struct channel *channel, const struct frame *frame);
void channel_host_ends(struct channel *channel);

/* channel_connect.c */
void channel_connect(struct connection *connection, const struct frame *frame);
void channel_tried(struct channel *channel);
void channel_fail(struct channel *channel, int error);
