#include "workspace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"
#include "control.h"

static bool is_dot(const char *name) {
  return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static DIR *open_directory(int parent, const char *name) {
  fchmodat(parent, name, 0700, 0); /* its owner may have taken his own right away */
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *directory = fd < 0 ? NULL : fdopendir(fd);
  if (directory == NULL) {
    close_owned(&fd);
  }
  return directory;
}

static bool remove_entry(int directory, const char *name) {
  return unlinkat(directory, name, 0) == 0 || unlinkat(directory, name, AT_REMOVEDIR) == 0;
}

/* Empty one subdirectory of `top`: what cannot be removed at once is a full directory and moves up into
   `top`, so that no depth of nesting costs stack or descriptors.  Returns whether anything got better. */
static bool flatten(int top, const char *name, unsigned *unique) {
  cleanup_directory DIR *directory = open_directory(top, name);
  bool progress = false;
  const struct dirent *entry;
  while (directory != NULL && (entry = readdir(directory)) != NULL) {
    if (is_dot(entry->d_name)) {
      continue;
    }
    if (remove_entry(dirfd(directory), entry->d_name)) {
      progress = true;
      continue;
    }
    char moved[48];
    snprintf(moved, sizeof moved, ".vmpool-removed-%d-%u", (int)getpid(), (*unique)++);
    fchmodat(dirfd(directory), entry->d_name, 0700, 0);
    progress |= renameat(dirfd(directory), entry->d_name, top, moved) == 0;
  }
  return unlinkat(top, name, AT_REMOVEDIR) == 0 || progress;
}

void remove_all(int parent, const char *name) {
  unsigned unique = 0;
  for (bool progress = true; progress;) {
    if (remove_entry(parent, name)) {
      return;
    }
    progress = false;
    cleanup_directory DIR *top = open_directory(parent, name);
    const struct dirent *entry;
    while (top != NULL && (entry = readdir(top)) != NULL) {
      if (!is_dot(entry->d_name)) {
        progress |= remove_entry(dirfd(top), entry->d_name) || flatten(dirfd(top), entry->d_name, &unique);
      }
    }
  }
}

static int make_scratch(const char *path) {
  if (mkdir(path, 0700) == 0) {
    return 0;
  }
  if (errno != EEXIST) {
    return -1;
  }
  remove_all(AT_FDCWD, path); /* left by a machine that ended in the middle */
  return mkdir(path, 0700);
}

static int write_source(const char *path, const uint8_t *text, size_t size) {
  unlink(path);
  cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) {
    return -1;
  }
  if (write_all(fd, text, size) != 0 || fchmod(fd, 0644) != 0) {
    int saved = errno;
    unlink(path);
    errno = saved;
    return -1;
  }
  return 0;
}

int workspace_make(const struct start *start, uint32_t *stage) {
  *stage = STAGE_SCRATCH;
  if (start->scratch != NULL && make_scratch(start->scratch) != 0) {
    return -1;
  }
  *stage = STAGE_SOURCE;
  if (start->source_path != NULL && write_source(start->source_path, start->source, start->source_size) != 0) {
    int saved = errno;
    if (start->scratch != NULL) {
      remove_all(AT_FDCWD, start->scratch);
    }
    errno = saved;
    return -1;
  }
  return 0;
}

void workspace_remove(const struct start *start) {
  if (start->source_path != NULL) {
    unlink(start->source_path);
  }
  if (start->scratch != NULL) {
    remove_all(AT_FDCWD, start->scratch);
  }
}
