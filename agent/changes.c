#include "changes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "watched.h"

enum {
  WATCHES_MAX = 16,          /* of all connections: an instance each, of which a user has few */
  GATHER_US = 10000,         /* changes come in swarms */
  ENTRIES_PER_STEP = 1024,   /* looked at before others have their turn */
  EVENTS_BYTES = 16384,
  MESSAGE_BYTES = 262144,
  RECORD_HEADER_BYTES = 8,
  ALL_CHANGES =
    IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB,
  ITSELF = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT,
};

struct changes {
  struct garbage garbage;
  struct watch watch;
  struct connection *connection;
  uint64_t channel;
  char *root; /* absolute, in the VM */
  int root_descriptor;
  bool recursive, answered, ended;
  bool lost;          /* to be told: something went by unseen */
  uint64_t unwatched; /* directories past what can be watched, to be told */
  struct watched watched;
  DIR *looking; /* through this directory */
  char *looking_path;
  bool looking_told;
  char *left_path; /* a directory that was moved away: to where, the next event says */
  uint32_t left_cookie;
  size_t begun; /* the message being written, if `open` */
  bool open;
};

static struct bytes *message(struct changes *changes) {
  struct bytes *out = connection_out(changes->connection);
  if (!changes->open) {
    changes->begun = message_begin(out, MESSAGE_FILE_CHANGED, changes->channel);
    changes->open = true;
  }
  return out;
}

static bool is_looking(const struct changes *changes) {
  return changes->looking != NULL || changes->watched.pending_count != 0;
}

static void finish_message(struct changes *changes) {
  /* Whoever hears of it looks anew: what changes after that is to be seen by us again. */
  if (!is_looking(changes) && (changes->lost || changes->unwatched != 0)) {
    struct bytes *out = message(changes);
    message_u64(out, FILE_CHANGED_LOST, changes->lost);
    message_u64(out, FILE_CHANGED_UNWATCHED, changes->unwatched);
    changes->lost = false;
    changes->unwatched = 0;
  }
  if (changes->open) {
    message_end(connection_out(changes->connection), changes->begun);
    changes->open = false;
  }
}

static void tell(struct changes *changes, uint32_t mask, uint32_t cookie, const char *path) {
  size_t length = strlen(path);
  uint8_t record[RECORD_HEADER_BYTES + PATH_MAX];
  if (!changes->answered) {
    return; /* what changes before the answer is what the caller finds then */
  }
  if (length > PATH_MAX) {
    changes->lost = true;
    return;
  }
  memcpy(record, &mask, 4); /* both machines are little-endian */
  memcpy(record + 4, &cookie, 4);
  memcpy(record + RECORD_HEADER_BYTES, path, length);
  struct bytes *out = message(changes);
  message_bytes(out, FILE_CHANGED_CHANGE, record, RECORD_HEADER_BYTES + length);
  if (out->size - changes->begun > MESSAGE_BYTES) {
    finish_message(changes);
  }
}

/* 0, or -1 with errno.  A directory that cannot be watched for want of room is counted. */
static int add(struct changes *changes, const char *path) {
  bool is_root = path[0] == '\0';
  cleanup_free char *joined = is_root ? NULL : watched_join(changes->root, path);
  const char *full = is_root ? changes->root : joined;
  uint32_t mask = ALL_CHANGES | IN_ONLYDIR | IN_EXCL_UNLINK | (is_root ? ITSELF : IN_DONT_FOLLOW);
  int descriptor = full == NULL ? -1 : inotify_add_watch(changes->watch.fd, full, mask);
  if (descriptor < 0) {
    changes->unwatched += errno == ENOSPC || errno == ENOMEM;
    return -1;
  }
  if (!watched_set(&changes->watched, descriptor, path)) {
    changes->unwatched++;
    if (watched_path(&changes->watched, descriptor) == NULL) {
      inotify_rm_watch(changes->watch.fd, descriptor);
    }
    errno = ENOSPC;
    return -1;
  }
  changes->root_descriptor = is_root ? descriptor : changes->root_descriptor;
  return 0;
}

static void look_later(struct changes *changes, const char *path, bool told) {
  if (!watched_push(&changes->watched, path, told)) {
    changes->unwatched++;
  }
}

static bool is_directory(int directory, const struct dirent *entry) {
  struct stat status;
  if (entry->d_type != DT_UNKNOWN) {
    return entry->d_type == DT_DIR;
  }
  return fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

/* The next directory to look through, of /proc none: watched first, so that nothing comes to be unseen in between. */
static void begin_look(struct changes *changes) {
  struct watched_pending pending;
  if (!watched_pop(&changes->watched, &pending)) {
    return;
  }
  cleanup_free char *path = pending.path;
  cleanup_free char *full = watched_join(changes->root, path);
  cleanup_fd int fd = full == NULL ? -1 : open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (path[0] ? O_NOFOLLOW : 0));
  if (fd < 0 || files_check_not_proc(fd) != 0 || add(changes, path) != 0) {
    return; /* gone again, a link by now, not to be read, or counted */
  }
  changes->looking = fdopendir(fd);
  if (changes->looking == NULL) {
    changes->lost = true;
    return;
  }
  take_fd(&fd);
  changes->looking_path = path;
  path = NULL;
  changes->looking_told = pending.told;
}

static void end_look(struct changes *changes) {
  close_directory(&changes->looking);
  changes->looking = NULL;
  free(changes->looking_path);
  changes->looking_path = NULL;
}

/* From its beginning, later: what its path is may change. */
static void look_again(struct changes *changes) {
  if (changes->looking != NULL) {
    look_later(changes, changes->looking_path, changes->looking_told);
    end_look(changes);
  }
}

/* Look through directories that are new to us. */
static void look(struct changes *changes) {
  for (unsigned left = ENTRIES_PER_STEP; left-- != 0 && connection_has_room(changes->connection);) {
    if (changes->looking == NULL) {
      if (changes->watched.pending_count == 0) {
        return;
      }
      begin_look(changes);
      continue;
    }
    struct dirent *entry = readdir(changes->looking);
    if (entry == NULL) {
      end_look(changes);
      continue;
    }
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
      continue;
    }
    bool directory = is_directory(dirfd(changes->looking), entry);
    cleanup_free char *path = watched_join(changes->looking_path, entry->d_name);
    if (path == NULL) {
      changes->lost = true;
      continue;
    }
    if (changes->looking_told) {
      tell(changes, IN_CREATE | (directory ? IN_ISDIR : 0), 0, path);
    }
    if (directory) {
      look_later(changes, path, changes->looking_told);
    }
  }
}

static void forget_below(struct changes *changes, const char *path) {
  for (int descriptor; (descriptor = watched_take_below(&changes->watched, path)) >= 0;) {
    inotify_rm_watch(changes->watch.fd, descriptor);
  }
}

/* A directory was moved away some events ago; `path` says where it went, NULL that it left what we watch. */
static void settle_move(struct changes *changes, const char *path) {
  cleanup_free char *left = changes->left_path;
  changes->left_path = NULL;
  bool found = false;
  if (path == NULL) {
    forget_below(changes, left);
    return;
  }
  if (!watched_move(&changes->watched, left, path, &found)) {
    changes->lost = true;
  }
  /* Events are of the past: another directory may be called as this one was. Looking sets it right. */
  look_later(changes, path, !found);
}

static void everything_anew(struct changes *changes) {
  changes->lost = true;
  if (changes->recursive) {
    look_later(changes, "", false);
  }
}

static void take_below(struct changes *changes, const struct inotify_event *event, const char *directory) {
  const char *name = event->len != 0 ? event->name : "";
  cleanup_free char *path = name[0] != '\0' ? watched_join(directory, name) : strdup(directory);
  if (path == NULL) {
    changes->lost = true;
    return;
  }
  tell(changes, event->mask, event->cookie, path);
  bool is_new = changes->recursive && (event->mask & IN_ISDIR) != 0 && name[0] != '\0';
  if (changes->left_path != NULL) {
    bool is_there = (event->mask & IN_MOVED_TO) != 0 && event->cookie == changes->left_cookie;
    settle_move(changes, is_there ? path : NULL);
    is_new = is_new && !is_there;
  }
  if (is_new && (event->mask & IN_MOVED_FROM) != 0) {
    look_again(changes);
    changes->left_path = path;
    changes->left_cookie = event->cookie;
    path = NULL;
  } else if (is_new && (event->mask & (IN_CREATE | IN_MOVED_TO)) != 0) {
    look_later(changes, path, (event->mask & IN_CREATE) != 0);
  }
}

static void take_event(struct changes *changes, const struct inotify_event *event) {
  if (event->mask & IN_Q_OVERFLOW) {
    everything_anew(changes);
    return;
  }
  const char *directory = watched_path(&changes->watched, event->wd);
  if (directory == NULL) {
    return; /* of a directory that was given up */
  }
  bool is_root = event->wd == changes->root_descriptor;
  if (event->mask & IN_IGNORED) {
    changes->ended |= is_root;
    watched_remove(&changes->watched, event->wd);
  } else if (is_root && (event->mask & ITSELF) != 0) {
    tell(changes, event->mask, 0, "");
    changes->ended = true;
  } else {
    take_below(changes, event, directory);
  }
}

static void take_events(struct changes *changes) {
  _Alignas(struct inotify_event) char events[EVENTS_BYTES];
  while (connection_has_room(changes->connection) && !changes->ended) {
    ssize_t got = read_some(changes->watch.fd, events, sizeof events);
    if (got <= 0) {
      return;
    }
    for (const char *at = events; at < events + got;) {
      const struct inotify_event *event = (const struct inotify_event *)(const void *)at;
      take_event(changes, event);
      at += sizeof *event + event->len;
    }
  }
}

static void answer(struct changes *changes) {
  struct bytes *out = connection_out(changes->connection);
  size_t begun = message_begin(out, MESSAGE_FILE_WATCHING, changes->channel);
  message_u64(out, FILE_WATCHING_DIRECTORIES, changes->watched.count);
  message_end(out, begun);
  changes->answered = true;
}

void changes_step(struct changes *changes) {
  look(changes);
  if (!is_looking(changes) || changes->answered) {
    take_events(changes); /* what came to be while we looked is to be looked through too */
  }
  if (!is_looking(changes) && !changes->answered) {
    answer(changes);
  }
  if (changes->answered) {
    finish_message(changes);
  }
  if (changes->ended) {
    connection_reply_failed(changes->connection, changes->channel, "gone", "what was watched is gone", ENOENT);
    connection_end_changes(changes->connection);
    return;
  }
}

bool changes_wait(struct changes *changes) {
  if (is_looking(changes)) {
    connection_wake_within(changes->connection, 1);
  }
  return watch_for(&connection_agent(changes->connection)->loop, &changes->watch, EPOLLIN);
}

static void events_ready(struct watch *watch, uint32_t events) {
  (void)events;
  struct changes *changes = container_of(watch, struct changes, watch);
  watch_for(&connection_agent(changes->connection)->loop, watch, 0);
  connection_wake_within(changes->connection, GATHER_US);
}

void changes_end(struct changes *changes) {
  if (changes == NULL) {
    return;
  }
  struct agent *agent = connection_agent(changes->connection);
  watch_close(&agent->loop, &changes->watch);
  agent->watching--;
  end_look(changes);
  watched_free(&changes->watched);
  free(changes->root);
  free(changes->left_path);
  loop_discard(&agent->loop, &changes->garbage);
}

static int begin(struct changes *changes, const struct file_request *request) {
  const struct agent *agent = connection_agent(changes->connection);
  cleanup_fd int home = files_home(agent);
  cleanup_fd int fd = files_open_directory(home, request->path, 0);
  if (fd < 0) {
    return -1;
  }
  changes->root = request->path[0] == '/' ? strdup(request->path) : watched_join(agent->home, request->path);
  changes->watch.fd = changes->root == NULL ? -1 : inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (changes->watch.fd < 0 || add(changes, "") != 0) {
    return -1;
  }
  if (changes->recursive) {
    look_later(changes, "", false);
  }
  return 0;
}

static void reply_not_begun(struct connection *connection, uint64_t channel, int error) {
  if (error == EMFILE || error == ENOSPC) {
    connection_reply_failed(connection, channel, "too_many_watches", "no more directories can be watched", error);
  } else {
    const char *reason = error == ENOTDIR ? "not_a_directory" : reason_of(error);
    connection_reply_failed(connection, channel, reason, strerror(error), error);
  }
}

void changes_begin(struct connection *connection, const struct frame *frame) {
  cleanup_request struct file_request request = {0};
  if (!file_request_read(frame, &request)) {
    files_reply_bad(connection, frame->channel, "path or flag");
    return;
  }
  struct agent *agent = connection_agent(connection);
  if (connection_is_used(connection)) {
    files_reply_bad(connection, frame->channel, "changes come over a connection of their own");
    return;
  }
  struct changes *changes = agent->watching < WATCHES_MAX ? calloc(1, sizeof *changes) : NULL;
  if (changes == NULL) {
    reply_not_begun(connection, frame->channel, agent->watching < WATCHES_MAX ? ENOMEM : EMFILE);
    return;
  }
  agent->watching++;
  changes->connection = connection;
  changes->channel = frame->channel;
  changes->watch = (struct watch){.fd = -1, .ready = events_ready};
  changes->root_descriptor = -1;
  changes->recursive = request.numbers[SLOT_FLAG] != 0;
  if (begin(changes, &request) != 0) {
    reply_not_begun(connection, frame->channel, errno);
    changes_end(changes);
    return;
  }
  connection_set_changes(connection, changes);
}
