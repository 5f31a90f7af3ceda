#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "files.h"

enum { SEND_BYTES = 1048576, COPY_BYTES = 65536 };

/* A transfer has its connection for itself: bare bytes leave no room for the frames of others. */
static bool may_begin(struct connection *connection, uint64_t channel) {
  if (connection_is_used(connection)) {
    files_reply_bad(connection, channel, "a file goes over a connection of its own");
    return false;
  }
  return true;
}

void transfer_end(struct transfer *transfer) {
  if (transfer->state != TRANSFER_NONE) {
    close_owned(&transfer->file);
    transfer->state = TRANSFER_NONE;
  }
}

void transfer_get(struct connection *connection, const struct frame *frame) {
  cleanup_request struct file_request request = {0};
  if (!file_request_read(frame, &request)) {
    files_reply_bad(connection, frame->channel, "path, offset or length");
    return;
  }
  struct stat status;
  cleanup_fd int home = files_home(connection_agent(connection));
  cleanup_fd int fd = openat(home, request.path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0 || files_check_regular(fd, &status) != 0) {
    files_reply_error(connection, frame->channel, errno);
    return;
  }
  uint64_t size = (uint64_t)status.st_size, offset = request.numbers[SLOT_OFFSET];
  uint64_t left = offset < size ? size - offset : 0;
  if (file_request_has(&request, SLOT_LENGTH) && request.numbers[SLOT_LENGTH] < left) {
    left = request.numbers[SLOT_LENGTH];
  }
  if (!may_begin(connection, frame->channel)) {
    return;
  }
  struct bytes *out = connection_out(connection);
  size_t begun = message_begin(out, MESSAGE_FILE_COMING, frame->channel);
  message_u64(out, FILE_COMING_SIZE, size);
  message_u64(out, FILE_COMING_MODE, status.st_mode & 07777);
  message_u64(out, FILE_COMING_MTIME_NS, files_mtime_ns(&status));
  message_u64(out, FILE_COMING_LENGTH, left);
  message_end(out, begun);
  if (left != 0) {
    connection_widen(connection, SEND_BYTES);
    posix_fadvise(fd, (off_t)offset, (off_t)left, POSIX_FADV_SEQUENTIAL);
    *connection_transfer(connection) =
      (struct transfer){.state = TRANSFER_OUT, .file = take_fd(&fd), .at = offset, .left = left};
  }
}

/* Where the kernel cannot send a file by itself. */
static ssize_t copy_some(struct transfer *transfer, int socket, size_t most) {
  static uint8_t buffer[COPY_BYTES];
  ssize_t got = pread(transfer->file, buffer, most < COPY_BYTES ? most : COPY_BYTES, (off_t)transfer->at);
  return got <= 0 ? got : send(socket, buffer, (size_t)got, MSG_NOSIGNAL);
}

enum sent transfer_send(struct transfer *transfer, int socket) {
  for (size_t budget = SEND_BYTES; budget != 0 && transfer->left != 0;) {
    size_t most = transfer->left < budget ? (size_t)transfer->left : budget;
    off_t at = (off_t)transfer->at;
    ssize_t sent = sendfile(socket, transfer->file, &at, most);
    if (sent < 0 && (errno == EINVAL || errno == ENOSYS)) {
      sent = copy_some(transfer, socket, most);
    }
    if (sent < 0 && errno == EINTR) {
      continue;
    }
    if (sent <= 0) { /* 0: it has shrunk, and what was announced cannot come */
      return sent < 0 && errno == EAGAIN ? SENT_BLOCKED : SENT_BROKEN;
    }
    transfer->at += (uint64_t)sent;
    transfer->left -= (uint64_t)sent;
    budget -= (size_t)sent;
  }
  return transfer->left == 0 ? SENT_ALL : SENT_SOME;
}

void transfer_put(struct connection *connection, const struct frame *frame) {
  cleanup_request struct file_request request = {0};
  if (!file_request_read(frame, &request)) {
    files_reply_bad(connection, frame->channel, "path, offset, mode, time or flags");
    return;
  }
  if (!may_begin(connection, frame->channel)) {
    return;
  }
  struct stat status;
  cleanup_fd int home = files_home(connection_agent(connection));
  cleanup_fd int fd = files_open_to_write(home, &request, &status);
  if (fd < 0) {
    files_reply_error(connection, frame->channel, errno);
    return;
  }
  struct transfer *transfer = connection_transfer(connection);
  *transfer = (struct transfer){
    .state = TRANSFER_IN,
    .file = take_fd(&fd),
    .channel = frame->channel,
    .at = request.numbers[SLOT_OFFSET],
    .request = request,
  };
  transfer->request.path = transfer->request.to = transfer->request.source = NULL;
  struct bytes *out = connection_out(connection);
  size_t begun = message_begin(out, MESSAGE_FILE_READY, frame->channel);
  message_u64(out, FILE_READY_SIZE, (uint64_t)status.st_size);
  message_end(out, begun);
}

static void failed(struct connection *connection, struct transfer *transfer) {
  files_reply_error(connection, transfer->channel, errno);
  transfer->state = TRANSFER_DROPPED;
}

static void write_piece(struct connection *connection, struct transfer *transfer, const uint8_t *data, size_t size) {
  while (transfer->state == TRANSFER_IN && size != 0) {
    ssize_t wrote = pwrite(transfer->file, data, size, (off_t)transfer->at);
    if (wrote <= 0) {
      failed(connection, transfer);
      return;
    }
    transfer->at += (uint64_t)wrote;
    data += wrote;
    size -= (size_t)wrote;
  }
}

static void finish(struct connection *connection, struct transfer *transfer) {
  const struct file_request *request = &transfer->request;
  if (transfer->state == TRANSFER_IN) {
    bool set = file_request_has(request, SLOT_MODE);
    if ((set && fchmod(transfer->file, file_request_mode(request, 0)) != 0) ||
        files_set_time(transfer->file, request) != 0) {
      files_reply_error(connection, transfer->channel, errno);
    } else {
      files_reply_done(connection, transfer->channel);
    }
  }
  transfer_end(transfer);
}

size_t transfer_take(struct connection *connection, const uint8_t *data, size_t size, bool *alive) {
  struct transfer *transfer = connection_transfer(connection);
  size_t taken = 0;
  while (transfer->state == TRANSFER_IN || transfer->state == TRANSFER_DROPPED) {
    if (transfer->left == 0) {
      struct frame piece;
      enum frame_result result = frame_header(data + taken, size - taken, &piece);
      if (result == FRAME_INCOMPLETE) {
        break;
      }
      if (result == FRAME_TOO_LONG || piece.type != MESSAGE_FILE_PIECE || piece.channel != transfer->channel) {
        *alive = false;
        break;
      }
      taken += FRAME_HEADER_BYTES;
      transfer->left = piece.length;
      if (piece.length == 0) {
        finish(connection, transfer);
      }
      continue;
    }
    size_t part = size - taken < transfer->left ? size - taken : (size_t)transfer->left;
    if (part == 0) {
      break;
    }
    write_piece(connection, transfer, data + taken, part);
    taken += part;
    transfer->left -= part;
  }
  return taken;
}
