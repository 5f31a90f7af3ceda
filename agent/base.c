#include "base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

enum { EXIT_CANNOT_START = 70 };

void close_owned(int *fd) {
  if (*fd >= 0) {
    int saved = errno;
    close(*fd);
    errno = saved;
    *fd = -1;
  }
}

void free_owned(void *pointer) {
  free(*(void **)pointer);
}

void close_directory(void *directory) {
  DIR *opened = *(DIR **)directory;
  if (opened != NULL) {
    closedir(opened);
  }
}

int take_fd(int *fd) {
  int taken = *fd;
  *fd = -1;
  return taken;
}

void die(const char *what) {
  dprintf(STDERR_FILENO, "vmpool-agent: %s\n", what);
  _exit(EXIT_CANNOT_START);
}

void die_errno(const char *what) {
  dprintf(STDERR_FILENO, "vmpool-agent: %s: %s\n", what, strerror(errno));
  _exit(EXIT_CANNOT_START);
}

uint64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

ssize_t read_some(int fd, void *data, size_t size) {
  ssize_t got;
  do {
    got = read(fd, data, size);
  } while (got < 0 && errno == EINTR);
  return got;
}

ssize_t write_some(int fd, const void *data, size_t size) {
  ssize_t written;
  do {
    written = write(fd, data, size);
  } while (written < 0 && errno == EINTR);
  return written;
}

int write_all(int fd, const void *data, size_t size) {
  const char *at = data;
  while (size != 0) {
    ssize_t written = write_some(fd, at, size);
    if (written < 0) {
      return -1;
    }
    at += written;
    size -= (size_t)written;
  }
  return 0;
}

void close_from(int first) {
  if (syscall(SYS_close_range, (unsigned)first, ~0U, 0) == 0) {
    return;
  }
  long highest = sysconf(_SC_OPEN_MAX);
  for (int fd = first; fd < (highest > 0 ? highest : 65536); fd++) {
    close(fd);
  }
}

ssize_t read_small_file(const char *path, char *text, size_t capacity) {
  cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return -1;
  }
  size_t size = 0;
  while (size < capacity - 1) {
    ssize_t got = read_some(fd, text + size, capacity - 1 - size);
    if (got < 0) {
      return -1;
    }
    if (got == 0) {
      break;
    }
    size += (size_t)got;
  }
  text[size] = '\0';
  return (ssize_t)size;
}

void set_oom_score(int score) {
  cleanup_fd int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd >= 0) {
    dprintf(fd, "%d\n", score);
  }
}

enum { KERNEL_SIGNALS = 64 };

/* Straight to the kernel: a libc refuses the two or three signals it keeps for its threads, and whoever
   started us may have left them ignored. */
static void reset_signal(int number) {
  static const unsigned long default_action[4]; /* handler SIG_DFL, no flags, no restorer, empty mask */
  syscall(SYS_rt_sigaction, number, default_action, NULL, KERNEL_SIGNALS / 8);
}

/* By the call itself: a libc leaves out the signals it uses between threads, and a kernel that does not protect
 * process 1 (gVisor) ends it by one of those. */
void set_signal_mask(uint64_t mask) {
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
}

void become_ordinary(void) {
  for (int number = 1; number <= KERNEL_SIGNALS; number++) {
    reset_signal(number);
  }
  set_signal_mask(NO_SIGNAL);
  prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}
