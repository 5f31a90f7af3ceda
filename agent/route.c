#include "route.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* The kernel's interface, written out: a libc of its own (musl) comes without the kernel's headers. */
enum { NETLINK_ROUTE = 0, MESSAGE_ERROR = 2, NEW_LINK = 16, NEW_ADDRESS = 20, NEW_ROUTE = 24 };
enum { FLAG_REQUEST = 0x1, FLAG_ACKNOWLEDGE = 0x4, FLAG_REPLACE = 0x100, FLAG_CREATE = 0x400 };
enum { ADDRESS_LOCAL = 2, ROUTE_OUT_INTERFACE = 4 };
enum { TABLE_LOCAL = 255, PROTOCOL_STATIC = 4, SCOPE_HOST = 254, TYPE_LOCAL = 2 };

struct netlink_header {
  uint32_t length;
  uint16_t type, flags;
  uint32_t sequence, port;
};

struct link_body {
  uint8_t family, pad;
  uint16_t type;
  int32_t index;
  uint32_t flags, change;
};

struct address_body {
  uint8_t family, prefix_length, flags, scope;
  uint32_t index;
};

struct route_body {
  uint8_t family, destination_length, source_length, tos, table, protocol, scope, type;
  uint32_t flags;
};

/* All our values have this size. */
struct attribute {
  uint16_t length, type;
  uint32_t value;
};

enum { LOOPBACK_INDEX = 1 };

/* An address besides 127.0.0.1, of the range that stands for names: with none a libc takes the machine to have
   no IPv4 at all. */
static const uint32_t OWN_ADDRESS = 0xc6120001; /* 198.18.0.1 */

static const char PORT_START[] = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
enum { FIRST_PORT_NEEDED = 53 };

/* A body is a whole number of words, so an attribute follows it at once. */
struct request {
  struct netlink_header header;
  char rest[sizeof(struct link_body) + sizeof(struct attribute)];
};

static struct request request_of(uint16_t type, uint16_t flags, const void *body, size_t size) {
  struct request request = {
    .header = {.length = (uint32_t)(sizeof request.header + size), .type = type,
               .flags = (uint16_t)(FLAG_REQUEST | FLAG_ACKNOWLEDGE | flags)}};
  memcpy(request.rest, body, size);
  return request;
}

static void add_attribute(struct request *request, uint16_t type, uint32_t value) {
  struct attribute attribute = {.length = sizeof attribute, .type = type, .value = value};
  memcpy((char *)request + request->header.length, &attribute, sizeof attribute);
  request->header.length += (uint32_t)sizeof attribute;
}

/* Say it to the kernel and wait for its answer; 0 or -1 with errno. */
static int ask(int kernel, const struct request *request) {
  struct {
    struct netlink_header header;
    int32_t error;
    char rest[256];
  } answer;
  if (send(kernel, request, request->header.length, 0) < 0) {
    return -1;
  }
  ssize_t got = recv(kernel, &answer, sizeof answer, 0);
  if (got < (ssize_t)(sizeof answer.header + sizeof answer.error) || answer.header.type != MESSAGE_ERROR) {
    errno = EPROTO;
    return -1;
  }
  errno = -answer.error;
  return errno == 0 ? 0 : -1;
}

static int bring_up(int kernel) {
  struct link_body body = {.index = LOOPBACK_INDEX, .flags = IFF_UP, .change = IFF_UP};
  struct request request = request_of(NEW_LINK, 0, &body, sizeof body);
  return ask(kernel, &request);
}

static int add_address(int kernel) {
  struct address_body body = {
    .family = AF_INET, .prefix_length = 32, .scope = SCOPE_HOST, .index = LOOPBACK_INDEX};
  struct request request = request_of(NEW_ADDRESS, FLAG_CREATE | FLAG_REPLACE, &body, sizeof body);
  add_attribute(&request, ADDRESS_LOCAL, htonl(OWN_ADDRESS));
  return ask(kernel, &request);
}

static int add_route(int kernel, uint8_t family) {
  struct route_body body = {
    .family = family, .table = TABLE_LOCAL, .protocol = PROTOCOL_STATIC, .scope = SCOPE_HOST, .type = TYPE_LOCAL};
  struct request request = request_of(NEW_ROUTE, FLAG_CREATE | FLAG_REPLACE, &body, sizeof body);
  add_attribute(&request, ROUTE_OUT_INTERFACE, LOOPBACK_INDEX);
  return ask(kernel, &request);
}

/* Some engines have done it already, and /proc/sys is read-only then. */
static int open_ports(void) {
  char text[16] = "";
  int fd = open(PORT_START, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || read(fd, text, sizeof text - 1) <= 0) {
    return -1;
  }
  close(fd);
  if (atoi(text) <= FIRST_PORT_NEEDED) {
    return 0;
  }
  fd = open(PORT_START, O_WRONLY | O_CLOEXEC);
  int result = fd >= 0 && write(fd, "0", 1) == 1 ? 0 : -1;
  if (fd >= 0) {
    close(fd);
  }
  return result;
}

int route_every_address_here(const char **failed) {
  *failed = "the kernel's routes";
  int kernel = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (kernel < 0) {
    return -1;
  }
  int result = bring_up(kernel);
  if (result == 0) {
    result = add_address(kernel);
  }
  if (result == 0) {
    result = add_route(kernel, AF_INET);
  }
  if (result == 0) {
    add_route(kernel, AF_INET6); /* there may be none */
    *failed = PORT_START;
    result = open_ports();
  }
  int error = errno;
  close(kernel);
  errno = error;
  return result;
}

/* Whether it is another network namespace than the one we are in; false with errno where it is not. */
static bool leads_elsewhere(int namespace) {
  struct stat there, here;
  if (fstat(namespace, &there) != 0 || stat("/proc/self/ns/net", &here) != 0) {
    return false;
  }
  errno = EINVAL;
  return there.st_dev != here.st_dev || there.st_ino != here.st_ino;
}

int route_in_namespace(const char *path, const char **failed) {
  *failed = path;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  int result = fd >= 0 && leads_elsewhere(fd) && setns(fd, CLONE_NEWNET) == 0 ? 0 : -1;
  int error = errno;
  if (fd >= 0) {
    close(fd);
  }
  errno = error;
  return result == 0 ? route_every_address_here(failed) : -1;
}
