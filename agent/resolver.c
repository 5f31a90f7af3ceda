/* Any server a program asks is this one: the sockets are bound to every address, and an answer comes from the
   one that was asked. */
#include "resolver.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dns.h"

enum { PORT = 53, QUERIES_PER_EVENT = 32, CLIENTS_MAX = 16, BACKLOG = 128, CLIENT_US = 5000000, LENGTH_BYTES = 2 };

/* Addresses that lead to us where every address does (route.c), and those that do where there is only `lo`. */
enum { FIRST_ROUTED = 0xc6120002, ROUTED_COUNT = 131000, FIRST_LOOPBACK = 0x7f400000, LOOPBACK_COUNT = 4194304 };

/* Someone who asks over TCP: one query at a time. */
struct client {
  struct garbage garbage;
  struct watch watch;
  struct resolver *resolver;
  uint64_t due_us;
  size_t size;
  uint8_t query[LENGTH_BYTES + DNS_QUERY_MAX];
};

struct resolver {
  struct garbage garbage;
  struct agent *agent;
  struct watch datagrams, listener;
  struct names names;
  struct client *clients[CLIENTS_MAX];
};

const char *resolver_name(struct resolver *resolver, uint32_t address) {
  return names_find(&resolver->names, address);
}

/* Answer one datagram from the address it was sent to; false when there is none. */
static bool answer_datagram(struct resolver *resolver) {
  uint8_t query[DNS_QUERY_MAX + 1], answer[DNS_ANSWER_MAX];
  char control[CMSG_SPACE(sizeof(struct in_pktinfo))] __attribute__((aligned(8)));
  struct sockaddr_in from;
  struct iovec part = {.iov_base = query, .iov_len = sizeof query};
  struct msghdr message = {
    .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
    .msg_controllen = sizeof control};
  ssize_t got = recvmsg(resolver->datagrams.fd, &message, MSG_DONTWAIT);
  if (got < 0) {
    return errno == EINTR || errno == ECONNREFUSED; /* an earlier answer was not wanted */
  }
  size_t size = dns_answer(query, (size_t)got, &resolver->names, answer);
  if (size == 0) {
    return true;
  }
  struct cmsghdr *first = CMSG_FIRSTHDR(&message);
  if (first != NULL && first->cmsg_level == IPPROTO_IP && first->cmsg_type == IP_PKTINFO) {
    struct in_pktinfo asked;
    memcpy(&asked, CMSG_DATA(first), sizeof asked);
    asked = (struct in_pktinfo){.ipi_spec_dst = asked.ipi_addr};
    memcpy(CMSG_DATA(first), &asked, sizeof asked);
  }
  part = (struct iovec){.iov_base = answer, .iov_len = size};
  sendmsg(resolver->datagrams.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return true;
}

static void datagrams_ready(struct watch *watch, uint32_t events) {
  (void)events;
  struct resolver *resolver = container_of(watch, struct resolver, datagrams);
  for (int i = 0; i < QUERIES_PER_EVENT && answer_datagram(resolver); i++) {
  }
}

/* The client's place stays, with its memory, for the next one. */
static void close_client(struct client *client) {
  watch_close(&client->resolver->agent->loop, &client->watch);
  client->due_us = 0;
}

/* Answer the whole queries there are; false if the client is of no more use. */
static bool answer_client(struct client *client) {
  for (;;) {
    size_t length = client->size < LENGTH_BYTES ? 0 : (size_t)(client->query[0] << 8 | client->query[1]);
    if (length > DNS_QUERY_MAX) {
      return false;
    }
    if (client->size < LENGTH_BYTES || client->size < LENGTH_BYTES + length) {
      return true;
    }
    uint8_t answer[LENGTH_BYTES + DNS_ANSWER_MAX];
    size_t size = dns_answer(client->query + LENGTH_BYTES, length, &client->resolver->names, answer + LENGTH_BYTES);
    answer[0] = (uint8_t)(size >> 8);
    answer[1] = (uint8_t)size;
    ssize_t whole = (ssize_t)(LENGTH_BYTES + size);
    if (size == 0 || send(client->watch.fd, answer, (size_t)whole, MSG_DONTWAIT | MSG_NOSIGNAL) != whole) {
      return false;
    }
    client->size -= LENGTH_BYTES + length;
    memmove(client->query, client->query + LENGTH_BYTES + length, client->size);
  }
}

static void client_ready(struct watch *watch, uint32_t events) {
  (void)events;
  struct client *client = container_of(watch, struct client, watch);
  ssize_t got = recv(watch->fd, client->query + client->size, sizeof client->query - client->size, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    return;
  }
  client->size += got > 0 ? (size_t)got : 0;
  if (got <= 0 || !answer_client(client)) {
    close_client(client);
  }
}

/* A place for one more: a free one, else that of the one that came first. */
static struct client *place(struct resolver *resolver) {
  struct client *first = resolver->clients[0];
  for (size_t i = 0; i < CLIENTS_MAX; i++) {
    struct client **client = &resolver->clients[i];
    if (*client == NULL && (*client = calloc(1, sizeof **client)) != NULL) {
      (*client)->resolver = resolver;
      (*client)->watch = (struct watch){.fd = -1, .ready = client_ready};
    }
    if (*client == NULL || (*client)->watch.fd < 0) {
      return *client;
    }
    if ((*client)->due_us < first->due_us) {
      first = *client;
    }
  }
  close_client(first);
  return first;
}

static void listener_ready(struct watch *watch, uint32_t events) {
  (void)events;
  struct resolver *resolver = container_of(watch, struct resolver, listener);
  cleanup_fd int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  struct client *client = fd >= 0 ? place(resolver) : NULL;
  if (client == NULL) {
    return;
  }
  client->watch.fd = take_fd(&fd);
  client->size = 0;
  client->due_us = now_us() + CLIENT_US;
  if (!watch_for(&resolver->agent->loop, &client->watch, EPOLLIN)) {
    close_client(client);
  }
}

/* -1 with errno. */
static int bound(int type) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
  int on = 1;
  cleanup_fd int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || (type == SOCK_STREAM && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) ||
      (type == SOCK_DGRAM && setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) != 0) ||
      bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
      (type == SOCK_STREAM && listen(fd, BACKLOG) != 0)) {
    return -1;
  }
  return take_fd(&fd);
}

/* Whether every address leads to us: then this one can be bound. */
static bool is_routed(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(FIRST_ROUTED)};
  cleanup_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  return fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
}

struct resolver *resolver_open(struct agent *agent) {
  struct resolver *resolver = calloc(1, sizeof *resolver);
  if (resolver == NULL) {
    return NULL;
  }
  if (is_routed()) {
    names_init(&resolver->names, FIRST_ROUTED, ROUTED_COUNT);
  } else {
    names_init(&resolver->names, FIRST_LOOPBACK, LOOPBACK_COUNT);
  }
  resolver->agent = agent;
  resolver->datagrams = (struct watch){.fd = bound(SOCK_DGRAM), .ready = datagrams_ready};
  resolver->listener = (struct watch){.fd = bound(SOCK_STREAM), .ready = listener_ready};
  if (resolver->datagrams.fd < 0 || resolver->listener.fd < 0 ||
      !watch_for(&agent->loop, &resolver->datagrams, EPOLLIN) || !watch_for(&agent->loop, &resolver->listener, EPOLLIN)) {
    int error = errno;
    resolver_close(resolver);
    errno = error;
    return NULL;
  }
  return resolver;
}

void resolver_close(struct resolver *resolver) {
  struct loop *loop = &resolver->agent->loop;
  watch_close(loop, &resolver->datagrams);
  watch_close(loop, &resolver->listener);
  for (size_t i = 0; i < CLIENTS_MAX; i++) {
    if (resolver->clients[i] != NULL) {
      close_client(resolver->clients[i]);
      loop_discard(loop, &resolver->clients[i]->garbage);
    }
  }
  names_free(&resolver->names);
  loop_discard(loop, &resolver->garbage);
}

void resolver_due(struct resolver *resolver, uint64_t now) {
  for (size_t i = 0; i < CLIENTS_MAX; i++) {
    struct client *client = resolver->clients[i];
    if (client != NULL && client->due_us != 0 && client->due_us <= now) {
      close_client(client);
    }
  }
}

uint64_t resolver_next_due(const struct resolver *resolver) {
  uint64_t due = 0;
  for (size_t i = 0; i < CLIENTS_MAX; i++) {
    const struct client *client = resolver->clients[i];
    if (client != NULL && client->due_us != 0 && (due == 0 || client->due_us < due)) {
      due = client->due_us;
    }
  }
  return due;
}
