/* A terminal in place of the three pipes: what the program writes is stdout, what the host writes is typed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "execution.h"

static struct winsize size_of(uint64_t terminal) {
  return (struct winsize){.ws_col = (unsigned short)(terminal >> 16), .ws_row = (unsigned short)terminal};
}

/* By its number where the kernel does not give the other end itself (gVisor). */
static int open_peer(int terminal) {
  int peer = ioctl(terminal, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  unsigned number;
  if (peer >= 0 || ioctl(terminal, TIOCGPTN, &number) != 0) {
    return peer;
  }
  char path[32];
  snprintf(path, sizeof path, "/dev/pts/%u", number);
  return open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

bool terminal_open(struct execution *execution, const struct start *start, int *end) {
  cleanup_fd int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  struct winsize size = size_of(start->terminal);
  if (terminal < 0 || unlockpt(terminal) != 0 || ioctl(terminal, TIOCSWINSZ, &size) != 0) {
    return false;
  }
  *end = open_peer(terminal);
  int typed = fcntl(terminal, F_DUPFD_CLOEXEC, 0);
  if (*end < 0 || typed < 0) {
    close_owned(&typed);
    return false;
  }
  bool watched = outlet_adopt(execution, 0, take_fd(&terminal));
  return inlet_adopt(execution, start, typed) && watched;
}

/* Answered, so that who asks knows: a program that redraws itself does so for the size it was told. */
void execution_resize(struct connection *connection, const struct frame *frame) {
  uint64_t id = 0, terminal = 0;
  struct cursor cursor = cursor_of(frame);
  struct field field;
  while (field_next(&cursor, &field) == FIELD_FOUND) {
    if (field.tag == RESIZE_EXECUTION) {
      field_u64(&field, &id);
    } else if (field.tag == RESIZE_TERMINAL) {
      field_u64(&field, &terminal);
    }
  }
  const struct execution *execution = execution_find(connection_agent(connection), id);
  struct winsize size = size_of(terminal);
  if (!is_terminal_size(terminal)) {
    connection_reply_failed(connection, frame->channel, "bad_request", "columns and rows are 1 to 65535", EINVAL);
  } else if (execution == NULL) {
    connection_reply_failed(connection, frame->channel, "unknown_execution", "no such execution", ESRCH);
  } else if (!execution->terminal || ioctl(execution->outlets[0].watch.fd, TIOCSWINSZ, &size) != 0) {
    connection_reply_failed(connection, frame->channel, "not_supported", "it has no terminal", ENOTTY);
  } else {
    message_raw(connection_out(connection), MESSAGE_DONE, STREAM_NONE, frame->channel, 0, 0);
  }
}
