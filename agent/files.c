/* Regular files read and written for the host, never waiting for a FIFO or a device. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "files.h"

enum { READ_MAX = FRAME_MAX_PAYLOAD_BYTES - 4096, PROC_MAGIC = 0x9fa0 };
#define SECOND_NS 1000000000

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
    case EEXIST:
      return "exists";
    case ENOTEMPTY:
      return "not_empty";
    case EXDEV:
      return "cross_device";
    case EINVAL:
    case ENAMETOOLONG:
      return "bad_request";
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

int files_check_not_proc(int fd) {
  struct statfs system;
  if (fstatfs(fd, &system) != 0) {
    return -1;
  }
  errno = ENXIO;
  return system.f_type != PROC_MAGIC ? 0 : -1;
}

int files_check_regular(int fd, struct stat *status) {
  if (fstat(fd, status) != 0 || files_check_not_proc(fd) != 0) {
    return -1;
  }
  errno = S_ISDIR(status->st_mode) ? EISDIR : ENXIO;
  return S_ISREG(status->st_mode) ? 0 : -1;
}

int files_home(const struct agent *agent) {
  return open(agent->home, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

uint64_t files_mtime_ns(const struct stat *status) {
  return (uint64_t)status->st_mtim.tv_sec * SECOND_NS + (uint64_t)status->st_mtim.tv_nsec;
}

/* Times before 1970 are below 0, as two's complement. */
struct timespec files_time(const struct file_request *request) {
  if (!file_request_has(request, SLOT_MTIME)) {
    return (struct timespec){.tv_nsec = UTIME_OMIT};
  }
  int64_t ns = (int64_t)request->numbers[SLOT_MTIME], rest = ns % SECOND_NS;
  return (struct timespec){.tv_sec = ns / SECOND_NS - (rest < 0), .tv_nsec = (long)(rest < 0 ? rest + SECOND_NS : rest)};
}

int files_set_time(int fd, const struct file_request *request) {
  const struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, files_time(request)};
  return file_request_has(request, SLOT_MTIME) ? futimens(fd, times) : 0;
}

void files_reply_error(struct connection *connection, uint64_t channel, int error) {
  connection_reply_failed(connection, channel, reason_of(error), strerror(error), error);
}

void files_reply_bad(struct connection *connection, uint64_t channel, const char *what) {
  connection_reply_failed(connection, channel, "bad_request", what, EINVAL);
}

void files_reply_done(struct connection *connection, uint64_t channel) {
  message_raw(connection_out(connection), MESSAGE_DONE, STREAM_NONE, channel, 0, 0);
  connection_wake(connection);
}

void files_read(struct connection *connection, const struct frame *frame) {
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
  uint64_t length = request.numbers[SLOT_LENGTH];
  size_t most = file_request_has(&request, SLOT_LENGTH) && length < READ_MAX ? (size_t)length : READ_MAX;
  cleanup_free uint8_t *data = malloc(most + 1);
  ssize_t got = data == NULL ? -1 : pread(fd, data, most, (off_t)request.numbers[SLOT_OFFSET]);
  if (got < 0) {
    files_reply_error(connection, frame->channel, errno);
    return;
  }
  struct bytes *out = connection_out(connection);
  size_t begun = message_begin(out, MESSAGE_FILE_DATA, frame->channel);
  message_bytes(out, FILE_DATA_DATA, data, (size_t)got);
  message_u64(out, FILE_DATA_SIZE, (uint64_t)status.st_size);
  message_u64(out, FILE_DATA_MODE, status.st_mode & 07777);
  message_u64(out, FILE_DATA_MTIME_NS, files_mtime_ns(&status));
  message_end(out, begun);
}

void files_make_parents(int home, char *path) {
  for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    mkdirat(home, path, 0755); /* what really prevents it shows when the file is opened */
    *slash = '/';
  }
}

int files_open_to_write(int home, struct file_request *request, struct stat *status) {
  if (request->numbers[SLOT_PARENTS] != 0) {
    files_make_parents(home, request->path);
  }
  mode_t mode = file_request_mode(request, 0644);
  cleanup_fd int fd =
    openat(home, request->path, O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, mode & 0700 ? mode : 0600);
  if (fd < 0 || files_check_regular(fd, status) != 0) {
    return -1;
  }
  if (request->numbers[SLOT_TRUNCATE] != 0 && ftruncate(fd, (off_t)request->numbers[SLOT_OFFSET]) != 0) {
    return -1;
  }
  return take_fd(&fd);
}

static int write_file(int home, struct file_request *request) {
  struct stat status;
  cleanup_fd int fd = files_open_to_write(home, request, &status);
  if (fd < 0) {
    return -1;
  }
  uint64_t offset = request->numbers[SLOT_OFFSET];
  for (size_t done = 0; done < request->size;) {
    ssize_t wrote = pwrite(fd, request->data + done, request->size - done, (off_t)(offset + done));
    if (wrote <= 0) {
      return -1;
    }
    done += (size_t)wrote;
  }
  if (file_request_has(request, SLOT_MODE) && fchmod(fd, file_request_mode(request, 0)) != 0) {
    return -1;
  }
  return files_set_time(fd, request);
}

void files_write(struct connection *connection, const struct frame *frame) {
  cleanup_request struct file_request request = {0};
  if (!file_request_read(frame, &request)) {
    files_reply_bad(connection, frame->channel, "path, offset, mode or flags");
    return;
  }
  cleanup_fd int home = files_home(connection_agent(connection));
  if (write_file(home, &request) != 0) {
    files_reply_error(connection, frame->channel, errno);
    return;
  }
  files_reply_done(connection, frame->channel);
}
