#include "network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 128, ACCEPTS_PER_EVENT = 16, ABANDONED_US = 10000000, ACCEPTED_DEFAULT = 128 };

/* What LISTEN says. */
struct wish {
  uint16_t proxy;
  uint16_t direct[DIRECT_MAX];
  size_t direct_count;
  bool resolver;
  size_t channels;
};

struct network *network_of(struct agent *agent) {
  if (agent->network == NULL && (agent->network = calloc(1, sizeof *agent->network)) != NULL) {
    agent->network->agent = agent;
    channels_init(&agent->network->channels);
    for (size_t i = 0; i < LISTENERS_MAX; i++) {
      agent->network->listeners[i].watch.fd = -1;
    }
  }
  return agent->network;
}

bool network_listens_at(const struct network *network, uint16_t port) {
  for (size_t i = 0; i < LISTENERS_MAX; i++) {
    if (network->listeners[i].watch.fd >= 0 && network->listeners[i].port == port) {
      return true;
    }
  }
  return false;
}

/* Whether one more channel may be opened by a program, which otherwise waits. */
static bool has_room(const struct network *network) {
  const struct channels *channels = &network->channels;
  return channels->accepted < network->accepted_max && channels->count < CHANNELS_MAX;
}

/* Accepting goes on while there is room and a host, or nobody is waited for any more. */
static void watch_listeners(struct network *network) {
  bool accepts = network->host != NULL ? has_room(network) : network->abandoned_us == 0;
  for (size_t i = 0; i < LISTENERS_MAX; i++) {
    struct listener *listener = &network->listeners[i];
    if (listener->watch.fd >= 0) {
      watch_for(&network->agent->loop, &listener->watch, accepts ? EPOLLIN : 0);
    }
  }
}

void network_resume(struct network *network) {
  watch_listeners(network);
}

/* Where the program believes to be connected, as text; false for the VM's own loopback, where nothing listens
   but us.  `text` is INET6_ADDRSTRLEN long. */
static bool destination(struct network *network, int fd, char *text, const char **host) {
  struct sockaddr_storage address;
  socklen_t size = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
    return false;
  }
  uint32_t v4 = 0;
  if (address.ss_family == AF_INET6) {
    struct in6_addr v6 = ((struct sockaddr_in6 *)&address)->sin6_addr;
    if (!IN6_IS_ADDR_V4MAPPED(&v6)) {
      *host = inet_ntop(AF_INET6, &v6, text, INET6_ADDRSTRLEN);
      return !IN6_IS_ADDR_LOOPBACK(&v6);
    }
    v4 = (uint32_t)v6.s6_addr[12] << 24 | (uint32_t)v6.s6_addr[13] << 16 | (uint32_t)v6.s6_addr[14] << 8 |
         v6.s6_addr[15];
  } else {
    v4 = ntohl(((struct sockaddr_in *)&address)->sin_addr.s_addr);
  }
  *host = network->resolver != NULL ? resolver_name(network->resolver, v4) : NULL;
  if (*host == NULL) {
    struct in_addr plain = {.s_addr = htonl(v4)};
    *host = inet_ntop(AF_INET, &plain, text, INET6_ADDRSTRLEN);
    return v4 >> 24 != 127;
  }
  return true;
}

static void take(struct listener *listener, int fd) {
  struct network *network = listener->network;
  char text[INET6_ADDRSTRLEN];
  const char *host = NULL;
  if (network->host == NULL || (listener->direct && !destination(network, fd, text, &host))) {
    reset_socket(&fd);
    return;
  }
  channel_open(network->host, fd, host, listener->port);
}

static void listener_ready(struct watch *watch, uint32_t events) {
  (void)events;
  struct listener *listener = container_of(watch, struct listener, watch);
  for (int i = 0; i < ACCEPTS_PER_EVENT && (listener->network->host == NULL || has_room(listener->network)); i++) {
    int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      break;
    }
    take(listener, fd);
  }
  watch_listeners(listener->network);
}

/* Both families at once where there are both. */
static int open_direct(uint16_t port) {
  struct sockaddr_in6 both = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
  int on = 1, off = 0;
  cleanup_fd int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
      setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0 &&
      bind(fd, (struct sockaddr *)&both, sizeof both) == 0 && listen(fd, BACKLOG) == 0) {
    return take_fd(&fd);
  }
  close_owned(&fd);
  fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
      bind(fd, (struct sockaddr *)&v4, sizeof v4) == 0 && listen(fd, BACKLOG) == 0) {
    return take_fd(&fd);
  }
  return -1;
}

static int open_proxy(uint16_t port) {
  struct sockaddr_in address = {
    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int on = 1;
  cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
      bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, BACKLOG) == 0) {
    return take_fd(&fd);
  }
  return -1;
}

static bool wishes(const struct wish *wish, uint16_t port, bool direct) {
  if (!direct) {
    return port == wish->proxy;
  }
  for (size_t i = 0; i < wish->direct_count; i++) {
    if (wish->direct[i] == port) {
      return true;
    }
  }
  return false;
}

static void close_listeners(struct network *network, const struct wish *wish) {
  for (size_t i = 0; i < LISTENERS_MAX; i++) {
    struct listener *listener = &network->listeners[i];
    if (listener->watch.fd >= 0 && !wishes(wish, listener->port, listener->direct)) {
      watch_close(&network->agent->loop, &listener->watch);
    }
  }
  if (!wish->resolver && network->resolver != NULL) {
    resolver_close(network->resolver);
    network->resolver = NULL;
  }
}

static bool open_listener(struct network *network, uint16_t port, bool direct) {
  struct listener *free_one = NULL;
  for (size_t i = 0; i < LISTENERS_MAX; i++) {
    struct listener *listener = &network->listeners[i];
    if (listener->watch.fd < 0) {
      free_one = listener;
    } else if (listener->port == port && listener->direct == direct) {
      return true;
    }
  }
  if (free_one == NULL) { /* not more are wished for */
    return false;
  }
  *free_one = (struct listener){
    .watch = {.fd = direct ? open_direct(port) : open_proxy(port), .ready = listener_ready},
    .network = network,
    .port = port,
    .direct = direct,
  };
  return free_one->watch.fd >= 0;
}

/* False with errno when one of them is not to be had. */
static bool open_listeners(struct network *network, const struct wish *wish) {
  if (wish->proxy != 0 && !open_listener(network, wish->proxy, false)) {
    return false;
  }
  for (size_t i = 0; i < wish->direct_count; i++) {
    if (!open_listener(network, wish->direct[i], true)) {
      return false;
    }
  }
  if (wish->resolver && network->resolver == NULL) {
    network->resolver = resolver_open(network->agent);
    return network->resolver != NULL;
  }
  return true;
}

static bool add_direct(struct wish *wish, const struct field *field) {
  uint64_t port;
  if (!field_u64(field, &port) || port == 0 || port > UINT16_MAX || wish->direct_count == DIRECT_MAX) {
    return false;
  }
  if (!wishes(wish, (uint16_t)port, true)) {
    wish->direct[wish->direct_count++] = (uint16_t)port;
  }
  return true;
}

static bool decode(const struct frame *frame, struct wish *wish) {
  struct cursor cursor = cursor_of(frame);
  struct field field;
  uint64_t proxy = 0, resolver = 0, channels = ACCEPTED_DEFAULT;
  *wish = (struct wish){0};
  while (field_next(&cursor, &field) == FIELD_FOUND) {
    bool fine = true;
    switch (field.tag) {
      case LISTEN_PROXY:
        fine = field_u64(&field, &proxy) && proxy <= UINT16_MAX;
        break;
      case LISTEN_DIRECT:
        fine = add_direct(wish, &field);
        break;
      case LISTEN_RESOLVER:
        fine = field_u64(&field, &resolver);
        break;
      case LISTEN_CHANNELS:
        fine = field_u64(&field, &channels) && channels <= CHANNELS_MAX;
        break;
      default:
        break;
    }
    if (!fine) {
      return false;
    }
  }
  wish->proxy = (uint16_t)proxy;
  wish->resolver = resolver != 0;
  wish->channels = (size_t)channels;
  return proxy == 0 || !wishes(wish, wish->proxy, true);
}

void network_listen(struct connection *connection, const struct frame *frame) {
  struct network *network = network_of(connection_agent(connection));
  struct wish wish;
  if (network == NULL) {
    connection_reply_failed(connection, frame->channel, "no_memory", "no memory for a network", ENOMEM);
    return;
  }
  if (!decode(frame, &wish)) {
    connection_reply_failed(connection, frame->channel, "bad_request", "what to listen for makes no sense", EINVAL);
    return;
  }
  close_listeners(network, &wish);
  if (!open_listeners(network, &wish)) {
    int error = errno;
    close_listeners(network, &(struct wish){0});
    connection_reply_failed(connection, frame->channel, "not_supported", "a port cannot be listened at", error);
    return;
  }
  network->host = connection;
  network->abandoned_us = 0;
  network->accepted_max = wish.channels;
  watch_listeners(network);
  message_raw(connection_out(connection), MESSAGE_DONE, STREAM_NONE, frame->channel, 0, 0);
}

void network_detach(struct connection *connection) {
  struct agent *agent = connection_agent(connection);
  struct network *network = agent->network;
  if (network == NULL) {
    return;
  }
  channels_detach(agent, connection);
  if (network->host == connection) {
    network->host = NULL;
    network->abandoned_us = now_us() + ABANDONED_US;
    watch_listeners(network);
  }
}

void network_due(struct agent *agent, uint64_t now) {
  struct network *network = agent->network;
  if (network == NULL) {
    return;
  }
  channels_due(agent, now);
  if (network->resolver != NULL) {
    resolver_due(network->resolver, now);
  }
  if (network->abandoned_us != 0 && now >= network->abandoned_us) {
    network->abandoned_us = 0;
    watch_listeners(network);
  }
}

uint64_t network_next_due(const struct agent *agent) {
  const struct network *network = agent->network;
  if (network == NULL) {
    return 0;
  }
  uint64_t due = network->abandoned_us;
  const uint64_t others[] = {
    channels_next_due(agent), network->resolver != NULL ? resolver_next_due(network->resolver) : 0};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    if (others[i] != 0 && (due == 0 || others[i] < due)) {
      due = others[i];
    }
  }
  return due;
}
