/* Regular files read and written for the host, never waiting for a FIFO or a device. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent.h"

enum { READ_MAX = FRAME_MAX_PAYLOAD_BYTES - 4096, PROC_MAGIC = 0x9fa0 };

const char *reason_of(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return "not_found";
    case EACCES:
    case EPERM:
    case EROFS:
      return "permission";
    case EISDIR:
    case ENXIO:
    case ELOOP:
      return "not_a_file";
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return "no_space";
    case ENOMEM:
      return "no_memory";
    default:
      return "io_error";
  }
}

struct file_request {
  char *path; /* owned */
  uint64_t offset, length, truncate, mode, parents;
  bool has_mode, has_length;
  const uint8_t *data;
  size_t size;
};

static bool path_of(const struct field *field, struct file_request *request) {
  if (field->length == 0 || field->length >= 4096 || !field_is_string(field) || request->path != NULL) {
    return false;
  }
  request->path = strndup((const char *)field->value, field->length);
  return request->path != NULL;
}

static bool read_request(const struct frame *frame, struct file_request *request) {
  struct cursor cursor = cursor_of(frame);
  struct field field;
  bool right = true;
  while (field_next(&cursor, &field) == FIELD_FOUND) {
    if (field.tag == FILE_READ_PATH) {
      right &= path_of(&field, request);
    } else if (field.tag == FILE_READ_OFFSET) {
      right &= field_u64(&field, &request->offset);
    } else if (field.tag == FILE_READ_LENGTH) {
      right &= field_u64(&field, &request->length);
      request->has_length = true;
    }
  }
  return right && request->path != NULL && request->offset <= INT64_MAX;
}

static bool write_request(const struct frame *frame, struct file_request *request) {
  struct cursor cursor = cursor_of(frame);
  struct field field;
  bool right = true;
  while (field_next(&cursor, &field) == FIELD_FOUND) {
    if (field.tag == FILE_WRITE_PATH) {
      right &= path_of(&field, request);
    } else if (field.tag == FILE_WRITE_OFFSET) {
      right &= field_u64(&field, &request->offset);
    } else if (field.tag == FILE_WRITE_TRUNCATE) {
      right &= field_u64(&field, &request->truncate);
    } else if (field.tag == FILE_WRITE_MODE) {
      right &= field_u64(&field, &request->mode);
      request->has_mode = true;
    } else if (field.tag == FILE_WRITE_PARENTS) {
      right &= field_u64(&field, &request->parents);
    } else if (field.tag == FILE_WRITE_DATA) {
      request->data = field.value;
      request->size = field.length;
    }
  }
  return right && request->path != NULL && request->offset <= INT64_MAX;
}

/* 0 if a regular file of a real file system: through /proc the agent would read and write itself. */
static int check_regular(int fd, struct stat *status) {
  struct statfs system;
  if (fstat(fd, status) != 0 || fstatfs(fd, &system) != 0) {
    return -1;
  }
  if (S_ISREG(status->st_mode) && system.f_type != PROC_MAGIC) {
    return 0;
  }
  errno = S_ISDIR(status->st_mode) ? EISDIR : ENXIO;
  return -1;
}

static int open_home(const struct agent *agent) {
  return open(agent->home, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void reply_error(struct connection *connection, uint64_t channel, int error) {
  connection_reply_failed(connection, channel, reason_of(error), strerror(error), error);
}

void files_read(struct connection *connection, const struct frame *frame) {
  struct file_request request = {0};
  bool right = read_request(frame, &request);
  cleanup_free char *path = request.path;
  if (!right) {
    connection_reply_failed(connection, frame->channel, "bad_request", "path, offset or length", EINVAL);
    return;
  }
  struct stat status;
  cleanup_fd int home = open_home(connection_agent(connection));
  cleanup_fd int fd = openat(home, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0 || check_regular(fd, &status) != 0) {
    reply_error(connection, frame->channel, errno);
    return;
  }
  size_t most = request.has_length && request.length < READ_MAX ? (size_t)request.length : READ_MAX;
  cleanup_free uint8_t *data = malloc(most + 1);
  ssize_t got = data == NULL ? -1 : pread(fd, data, most, (off_t)request.offset);
  if (got < 0) {
    reply_error(connection, frame->channel, errno);
    return;
  }
  struct bytes *out = connection_out(connection);
  size_t begun = message_begin(out, MESSAGE_FILE_DATA, frame->channel);
  message_bytes(out, FILE_DATA_DATA, data, (size_t)got);
  message_u64(out, FILE_DATA_SIZE, (uint64_t)status.st_size);
  message_u64(out, FILE_DATA_MODE, status.st_mode & 07777);
  message_u64(out, FILE_DATA_MTIME_NS,
              (uint64_t)status.st_mtim.tv_sec * 1000000000 + (uint64_t)status.st_mtim.tv_nsec);
  message_end(out, begun);
}

static void make_parents(int home, char *path) {
  for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    mkdirat(home, path, 0755); /* what really prevents it shows when the file is opened */
    *slash = '/';
  }
}

static int write_file(int home, struct file_request *request) {
  if (request->parents) {
    make_parents(home, request->path);
  }
  struct stat status;
  mode_t mode = request->has_mode ? request->mode & 07777 : 0644;
  cleanup_fd int fd =
    openat(home, request->path, O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, mode & 0700 ? mode : 0600);
  if (fd < 0 || check_regular(fd, &status) != 0) {
    return -1;
  }
  if (request->truncate && ftruncate(fd, (off_t)request->offset) != 0) {
    return -1;
  }
  for (size_t done = 0; done < request->size;) {
    ssize_t wrote = pwrite(fd, request->data + done, request->size - done, (off_t)(request->offset + done));
    if (wrote <= 0) {
      return -1;
    }
    done += (size_t)wrote;
  }
  return request->has_mode ? fchmod(fd, mode) : 0;
}

void files_write(struct connection *connection, const struct frame *frame) {
  struct file_request request = {0};
  bool right = write_request(frame, &request);
  cleanup_free char *path = request.path;
  if (!right) {
    connection_reply_failed(connection, frame->channel, "bad_request", "path, offset, mode or flags", EINVAL);
    return;
  }
  cleanup_fd int home = open_home(connection_agent(connection));
  if (write_file(home, &request) != 0) {
    reply_error(connection, frame->channel, errno);
    return;
  }
  message_raw(connection_out(connection), MESSAGE_DONE, STREAM_NONE, frame->channel, 0, 0);
}
