#include "control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base.h"

int control_send(int socket, const void *message, size_t size, const int *fds, size_t count) {
  char space[CMSG_SPACE(CONTROL_FDS_MAX * sizeof(int))] __attribute__((aligned(8))) = {0};
  struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = size};
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  if (count != 0) {
    header.msg_control = space;
    header.msg_controllen = (socklen_t)CMSG_SPACE(count * sizeof *fds);
    struct cmsghdr *attached = (struct cmsghdr *)(void *)space;
    attached->cmsg_level = SOL_SOCKET;
    attached->cmsg_type = SCM_RIGHTS;
    attached->cmsg_len = (socklen_t)CMSG_LEN(count * sizeof *fds);
    memcpy(CMSG_DATA(attached), fds, count * sizeof *fds);
  }
  ssize_t sent;
  do {
    sent = sendmsg(socket, &header, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? -1 : 0;
}

ssize_t control_receive(int socket, void *message, size_t size, int *fd, pid_t *peer) {
  char space[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))] __attribute__((aligned(8)));
  struct iovec part = {.iov_base = message, .iov_len = size};
  struct msghdr header = {
    .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
  if (fd != NULL) {
    *fd = -1;
  }
  ssize_t got;
  do {
    got = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    return -1;
  }
#pragma GCC diagnostic push
// musl's macro, as clang sees it; what it walks is aligned above.
#pragma GCC diagnostic ignored "-Wcast-align"
#pragma GCC diagnostic ignored "-Wsign-compare"
  for (struct cmsghdr *at = CMSG_FIRSTHDR(&header); at != NULL; at = CMSG_NXTHDR(&header, at)) {
#pragma GCC diagnostic pop
    if (at->cmsg_level != SOL_SOCKET) {
      continue;
    }
    if (at->cmsg_type == SCM_RIGHTS && at->cmsg_len == CMSG_LEN(sizeof(int))) {
      int received;
      memcpy(&received, CMSG_DATA(at), sizeof received);
      if (fd != NULL && *fd < 0) {
        *fd = received;
      } else {
        close_owned(&received);
      }
    } else if (at->cmsg_type == SCM_CREDENTIALS && peer != NULL && at->cmsg_len == CMSG_LEN(sizeof(struct ucred))) {
      struct ucred credentials;
      memcpy(&credentials, CMSG_DATA(at), sizeof credentials);
      *peer = credentials.pid;
    }
  }
  return got;
}
