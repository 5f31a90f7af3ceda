#include "bridge.h"

#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base.h"

static int dial(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) {
    die("the socket's path is too long");
  }
  memcpy(address.sun_path, path, strlen(path));
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    die_errno("cannot connect");
  }
  return fd;
}

/* Bytes moved, 0 at the end. */
static ssize_t carry(int from, int to) {
  static uint8_t buffer[65536];
  ssize_t got = read_some(from, buffer, sizeof buffer);
  if (got <= 0 || write_all(to, buffer, (size_t)got) != 0) {
    return 0;
  }
  return got;
}

/* The two directions are two processes, so that a full pipe one way never stops the other. */
int bridge_run(const char *path) {
  int agent = dial(path);
  /* Standard error is the host's only way to tell a stub that got through from one that is still trying. */
  static const char connected[] = "connected\n";
  if (write_all(STDERR_FILENO, connected, sizeof connected - 1) != 0) {
    die_errno("cannot report");
  }
  pid_t sender = fork();
  if (sender < 0) {
    die_errno("cannot fork");
  }
  if (sender == 0) {
    while (carry(STDIN_FILENO, agent) != 0) {
    }
    shutdown(agent, SHUT_RDWR);
    _exit(0);
  }
  while (carry(agent, STDOUT_FILENO) != 0) {
  }
  return 0;
}
