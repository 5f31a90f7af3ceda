/* Names for the host: what is there, making, changing, moving and removing it.  Each request is bounded work. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files.h"

enum {
  ENTRIES_MAX = 1000,      /* of a page */
  PAGE_BYTES = 262144,     /* about where a page ends */
  TARGET_MAX = 4096,
  REMOVED_MAX = 512,       /* entries of a tree for one request */
  DEPTH_MAX = 32,          /* directories open at once while one is removed */
  LIFTS_MAX = 100000,
  NO_REPLACE = 1,          /* RENAME_NOREPLACE */
};

/* Where the link leads, without a zero byte at its end; 0 for what is no link. */
static size_t link_target(int directory, const char *name, const struct stat *status, char target[TARGET_MAX]) {
  ssize_t length = S_ISLNK(status->st_mode) ? readlinkat(directory, name, target, TARGET_MAX) : 0;
  return length > 0 ? (size_t)length : 0;
}

void files_stat(struct connection *connection, const struct frame *frame) {
  cleanup_request struct file_request request = {0};
  if (!file_request_read(frame, &request)) {
    files_reply_bad(connection, frame->channel, "path or flag");
    return;
  }
  struct stat status;
  cleanup_fd int home = files_home(connection_agent(connection));
  int follow = request.numbers[SLOT_FLAG] != 0 ? 0 : O_NOFOLLOW;
  cleanup_fd int fd = openat(home, request.path, O_PATH | O_CLOEXEC | follow);
  if (fd < 0 || fstat(fd, &status) != 0 || files_check_not_proc(fd) != 0) {
    files_reply_error(connection, frame->channel, errno);
    return;
  }
  char target[TARGET_MAX];
  struct bytes *out = connection_out(connection);
  size_t begun = message_begin(out, MESSAGE_FILE_STATUS, frame->channel);
  message_u64(out, FILE_STATUS_MODE, status.st_mode);
  message_u64(out, FILE_STATUS_SIZE, (uint64_t)status.st_size);
  message_u64(out, FILE_STATUS_MTIME_NS, files_mtime_ns(&status));
  message_bytes(out, FILE_STATUS_TARGET, target, link_target(fd, "", &status, target));
  message_end(out, begun);
}

int files_open_directory(int home, const char *path, int flags) {
  cleanup_fd int fd = openat(home, path, O_PATH | O_CLOEXEC | flags);
  struct stat status;
  if (fd < 0) {
    errno = errno == ENOTDIR ? ENOENT : errno;
    return -1;
  }
  if (fstat(fd, &status) != 0 || files_check_not_proc(fd) != 0) {
    return -1;
  }
  errno = ENOTDIR;
  return S_ISDIR(status.st_mode) ? openat(home, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags) : -1;
}

static void store_u64(uint8_t *at, uint64_t value) {
  memcpy(at, &value, sizeof value); /* both machines are little-endian */
}

static bool is_dots(const char *name) {
  return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static void add_entry(struct bytes *out, int directory, const char *name) {
  struct stat status;
  if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return; /* it has gone meanwhile */
  }
  uint8_t record[4 * 8 + NAME_MAX + 1 + TARGET_MAX];
  char target[TARGET_MAX];
  size_t length = strlen(name), linked = link_target(directory, name, &status, target);
  store_u64(record, status.st_mode);
  store_u64(record + 8, (uint64_t)status.st_size);
  store_u64(record + 16, files_mtime_ns(&status));
  store_u64(record + 24, length);
  if (length > NAME_MAX) {
    return;
  }
  memcpy(record + 32, name, length);
  memcpy(record + 32 + length, target, linked);
  message_bytes(out, FILE_LISTED_ENTRY, record, 32 + length + linked);
}

static void add_page(struct bytes *out, DIR *directory, size_t most) {
  size_t begun = out->size, count = 0;
  long at = telldir(directory);
  for (struct dirent *entry; (entry = readdir(directory)) != NULL; at = telldir(directory)) {
    if (is_dots(entry->d_name)) {
      continue;
    }
    if (count == most || out->size - begun > PAGE_BYTES) {
      message_u64(out, FILE_LISTED_NEXT, (uint64_t)at);
      return;
    }
    add_entry(out, dirfd(directory), entry->d_name);
    count++;
  }
}

void files_list(struct connection *connection, const struct frame *frame) {
  cleanup_request struct file_request request = {0};
  if (!file_request_read(frame, &request)) {
    files_reply_bad(connection, frame->channel, "path, cursor or length");
    return;
  }
  cleanup_fd int home = files_home(connection_agent(connection));
  cleanup_fd int fd = files_open_directory(home, request.path, 0);
  cleanup_directory DIR *directory = fd < 0 ? NULL : fdopendir(fd);
  if (directory == NULL) {
    bool other = fd < 0 && errno == ENOTDIR;
    int error = errno;
    connection_reply_failed(connection, frame->channel, other ? "not_a_directory" : reason_of(error), strerror(error),
                            error);
    return;
  }
  take_fd(&fd); /* the directory's now */
  uint64_t length = request.numbers[SLOT_LENGTH];
  if (request.numbers[SLOT_OFFSET] != 0) {
    seekdir(directory, (long)request.numbers[SLOT_OFFSET]);
  }
  struct bytes *out = connection_out(connection);
  size_t begun = message_begin(out, MESSAGE_FILE_LISTED, frame->channel);
  add_page(out, directory, length != 0 && length < ENTRIES_MAX ? (size_t)length : ENTRIES_MAX);
  message_end(out, begun);
}

static int make_directory(int home, const struct file_request *request) {
  mode_t mode = file_request_mode(request, 0755);
  struct stat status;
  if (mkdirat(home, request->path, mode) != 0) {
    bool wanted = errno == EEXIST && request->numbers[SLOT_FLAG] != 0;
    if (!wanted || fstatat(home, request->path, &status, 0) != 0) {
      return -1;
    }
    errno = EEXIST;
    if (!S_ISDIR(status.st_mode)) {
      return -1;
    }
  }
  return file_request_has(request, SLOT_MODE) ? fchmodat(home, request->path, mode, 0) : 0;
}

static int make(int home, struct file_request *request) {
  if (request->numbers[SLOT_PARENTS] != 0) {
    files_make_parents(home, request->path);
  }
  if (request->source != NULL) {
    return linkat(home, request->source, home, request->path, 0);
  }
  return request->to != NULL ? symlinkat(request->to, home, request->path) : make_directory(home, request);
}

void files_make(struct connection *connection, const struct frame *frame) {
  cleanup_request struct file_request request = {0};
  if (!file_request_read(frame, &request)) {
    files_reply_bad(connection, frame->channel, "path, mode, target or flags");
    return;
  }
  cleanup_fd int home = files_home(connection_agent(connection));
  if (make(home, &request) != 0) {
    files_reply_error(connection, frame->channel, errno);
    return;
  }
  files_reply_done(connection, frame->channel);
}

static int change(int home, const struct file_request *request) {
  const struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, files_time(request)};
  if (file_request_has(request, SLOT_MODE) && fchmodat(home, request->path, file_request_mode(request, 0), 0) != 0) {
    return -1;
  }
  return file_request_has(request, SLOT_MTIME) ? utimensat(home, request->path, times, AT_SYMLINK_NOFOLLOW) : 0;
}

void files_change(struct connection *connection, const struct frame *frame) {
  cleanup_request struct file_request request = {0};
  if (!file_request_read(frame, &request)) {
    files_reply_bad(connection, frame->channel, "path, mode or time");
    return;
  }
  cleanup_fd int home = files_home(connection_agent(connection));
  if (change(home, &request) != 0) {
    files_reply_error(connection, frame->channel, errno);
    return;
  }
  files_reply_done(connection, frame->channel);
}

/* Kernels and file systems without the flag: looking first is as good as it gets. */
static int move_to_a_free_name(int home, const char *path, const char *to) {
  struct stat status;
  if (syscall(SYS_renameat2, home, path, home, to, NO_REPLACE) == 0) {
    return 0;
  }
  if (errno != EINVAL && errno != ENOSYS) {
    return -1;
  }
  if (fstatat(home, to, &status, AT_SYMLINK_NOFOLLOW) == 0) {
    errno = EEXIST;
    return -1;
  }
  return renameat(home, path, home, to);
}

void files_move(struct connection *connection, const struct frame *frame) {
  cleanup_request struct file_request request = {0};
  if (!file_request_read(frame, &request) || request.to == NULL) {
    files_reply_bad(connection, frame->channel, "path, to or flag");
    return;
  }
  cleanup_fd int home = files_home(connection_agent(connection));
  bool replace = request.numbers[SLOT_FLAG] != 0;
  if ((replace ? renameat(home, request.path, home, request.to)
               : move_to_a_free_name(home, request.path, request.to)) != 0) {
    files_reply_error(connection, frame->channel, errno);
    return;
  }
  files_reply_done(connection, frame->channel);
}

/* A tree on its way out.  `top`: its first directory. */
struct removal {
  int top;
  unsigned left; /* entries this request may still remove */
  unsigned lifts;
};

enum removed { REMOVED_ALL, REMOVED_SOME, REMOVED_FAILED };

static enum removed empty_directory(struct removal *removal, int directory, unsigned depth);

/* Like unlink or rmdir, once more with write permission where that was missing in the user's own directory. */
static int unlink_anyhow(int directory, const char *name, int flags) {
  if (unlinkat(directory, name, flags) == 0) {
    return 0;
  }
  struct stat status;
  if (errno != EACCES || fstat(directory, &status) != 0 || (status.st_mode & 0300) == 0300 ||
      fchmod(directory, (status.st_mode & 07777) | 0700) != 0) {
    return -1;
  }
  return unlinkat(directory, name, flags);
}

static int open_anyhow(int directory, const char *name) {
  const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  int fd = openat(directory, name, flags);
  if (fd >= 0 || errno != EACCES) {
    return fd;
  }
  struct stat status; /* fchmodat follows links, and a link is none of our directories */
  if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(status.st_mode) ||
      fchmodat(directory, name, 0700, 0) != 0) {
    return -1;
  }
  return openat(directory, name, flags);
}

/* Directories deeper than can be open at once become directories of the top. */
static enum removed lift(struct removal *removal, int directory, const char *name) {
  char lifted[32];
  while (removal->lifts++ < LIFTS_MAX) {
    snprintf(lifted, sizeof lifted, ".vmpool-removed-%u", removal->lifts);
    if (renameat(directory, name, removal->top, lifted) == 0) {
      removal->left--;
      return REMOVED_ALL;
    }
    if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR) {
      return REMOVED_FAILED;
    }
  }
  return REMOVED_FAILED;
}

static enum removed remove_directory(struct removal *removal, int directory, const char *name, unsigned depth) {
  if (unlink_anyhow(directory, name, AT_REMOVEDIR) == 0) {
    removal->left--;
    return REMOVED_ALL;
  }
  if (errno != ENOTEMPTY && errno != EEXIST) {
    return REMOVED_FAILED;
  }
  if (depth == DEPTH_MAX) {
    return lift(removal, directory, name);
  }
  cleanup_fd int fd = open_anyhow(directory, name);
  if (fd < 0) {
    return REMOVED_FAILED;
  }
  enum removed result = empty_directory(removal, fd, depth + 1);
  if (result != REMOVED_ALL) {
    return result;
  }
  if (unlink_anyhow(directory, name, AT_REMOVEDIR) != 0) {
    return errno == ENOTEMPTY || errno == EEXIST ? REMOVED_SOME : REMOVED_FAILED; /* somebody adds to it */
  }
  return REMOVED_ALL;
}

static enum removed remove_entry(struct removal *removal, int directory, const char *name, unsigned depth) {
  if (unlink_anyhow(directory, name, 0) == 0) {
    removal->left--;
    return REMOVED_ALL;
  }
  return errno == EISDIR || errno == EPERM ? remove_directory(removal, directory, name, depth) : REMOVED_FAILED;
}

static enum removed empty_directory(struct removal *removal, int directory, unsigned depth) {
  int own = dup(directory);
  cleanup_directory DIR *listing = own < 0 ? NULL : fdopendir(own);
  if (listing == NULL) {
    close_owned(&own);
    return REMOVED_FAILED;
  }
  rewinddir(listing);
  for (struct dirent *entry; (entry = readdir(listing)) != NULL;) {
    if (is_dots(entry->d_name)) {
      continue;
    }
    if (removal->left == 0) {
      return REMOVED_SOME;
    }
    enum removed result = remove_entry(removal, directory, entry->d_name, depth);
    if (result != REMOVED_ALL) {
      return result;
    }
  }
  return REMOVED_ALL;
}

static enum removed remove_tree(int home, const char *path) {
  cleanup_fd int top = open_anyhow(home, path);
  struct removal removal = {.top = top, .left = REMOVED_MAX};
  enum removed result = top < 0 ? REMOVED_FAILED : empty_directory(&removal, top, 0);
  if (result == REMOVED_ALL && unlinkat(home, path, AT_REMOVEDIR) != 0) {
    result = errno == ENOTEMPTY || errno == EEXIST ? REMOVED_SOME : REMOVED_FAILED;
  }
  if (result == REMOVED_SOME && removal.left == REMOVED_MAX) {
    errno = ENOTEMPTY; /* asking again would not end */
    return REMOVED_FAILED;
  }
  return result;
}

static enum removed remove_path(int home, const struct file_request *request) {
  struct stat status;
  if (fstatat(home, request->path, &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return REMOVED_FAILED;
  }
  if (unlinkat(home, request->path, S_ISDIR(status.st_mode) ? AT_REMOVEDIR : 0) == 0) {
    return REMOVED_ALL;
  }
  errno = errno == EEXIST ? ENOTEMPTY : errno;
  bool tree = request->numbers[SLOT_FLAG] != 0 && S_ISDIR(status.st_mode) && errno == ENOTEMPTY;
  return tree ? remove_tree(home, request->path) : REMOVED_FAILED;
}

void files_remove(struct connection *connection, const struct frame *frame) {
  cleanup_request struct file_request request = {0};
  if (!file_request_read(frame, &request)) {
    files_reply_bad(connection, frame->channel, "path or flag");
    return;
  }
  cleanup_fd int home = files_home(connection_agent(connection));
  enum removed result = remove_path(home, &request);
  if (result == REMOVED_FAILED) {
    files_reply_error(connection, frame->channel, errno);
    return;
  }
  struct bytes *out = connection_out(connection);
  size_t begun = message_begin(out, MESSAGE_FILE_REMOVED, frame->channel);
  message_u64(out, FILE_REMOVED_MORE, result == REMOVED_SOME);
  message_end(out, begun);
}
