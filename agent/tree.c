#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base.h"

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

enum { ROUNDS_OF_KILLING = 3, ROUNDS_OF_STOPPING = 200 };

/* Parse /proc/PID/stat; the command's name may hold any byte, so fields are counted from its last ')'. */
static bool read_process(pid_t pid, struct process *process) {
  char path[64];
  char text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  if (read_small_file(path, text, sizeof text) < 0) {
    return false;
  }
  const char *after = strrchr(text, ')');
  int parent, session;
  if (after == NULL ||
      sscanf(after + 1, " %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
             &process->state, &parent, &session, &process->started) != 4) {
    return false;
  }
  process->pid = pid;
  process->parent = parent;
  process->session = session;
  process->below = process->apart = false;
  return true;
}

static pid_t number_of(const char *name) {
  char *end;
  long pid = strtol(name, &end, 10);
  return *name >= '0' && *name <= '9' && *end == '\0' ? (pid_t)pid : 0;
}

static int by_pid(const void *left, const void *right) {
  pid_t a = ((const struct process *)left)->pid, b = ((const struct process *)right)->pid;
  return (a > b) - (a < b);
}

static bool contains(const pid_t *pids, size_t count, pid_t pid) {
  for (size_t i = 0; i < count; i++) {
    if (pids[i] == pid) {
      return true;
    }
  }
  return false;
}

static void set_apart(struct tree *tree, pid_t root, const struct spared *spared) {
  for (size_t i = 0; i < tree->count; i++) {
    struct process *process = &tree->processes[i];
    process->apart = contains(spared->pids, spared->count, process->pid) ||
                     (spared->lives != NULL && process->parent == root && process->state != 'Z' &&
                      process->state != 'X' && spared->lives(process, spared->context));
  }
}

/* Mark whoever has a marked parent, until nothing changes; keep the marked only. */
static void keep_descendants(struct tree *tree, pid_t root) {
  qsort(tree->processes, tree->count, sizeof *tree->processes, by_pid);
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < tree->count; i++) {
      struct process *process = &tree->processes[i];
      if (process->below || process->apart) {
        continue;
      }
      struct process key = {.pid = process->parent};
      const struct process *parent = bsearch(&key, tree->processes, tree->count, sizeof key, by_pid);
      process->below = process->parent == root || (parent != NULL && parent->below);
      changed |= process->below;
    }
  }
  size_t kept = 0;
  for (size_t i = 0; i < tree->count; i++) {
    if (tree->processes[i].below) {
      tree->processes[kept++] = tree->processes[i];
    }
  }
  tree->count = kept;
}

bool tree_scan(pid_t root, const struct spared *spared, struct tree *tree) {
  *tree = (struct tree){0};
  cleanup_directory DIR *directory = opendir("/proc");
  if (directory == NULL) {
    return false;
  }
  size_t capacity = 0;
  const struct dirent *entry;
  while ((entry = readdir(directory)) != NULL) {
    pid_t pid = number_of(entry->d_name);
    if (pid <= 0) {
      continue;
    }
    if (tree->count == capacity) {
      capacity = capacity ? capacity * 2 : 128;
      struct process *grown = realloc(tree->processes, capacity * sizeof *grown);
      if (grown == NULL) {
        break; /* what is known already can be ended; the next round sees the rest */
      }
      tree->processes = grown;
    }
    tree->count += read_process(pid, &tree->processes[tree->count]);
  }
  if (tree->count != 0) {
    if (spared != NULL) {
      set_apart(tree, root, spared);
    }
    keep_descendants(tree, root);
  }
  return true;
}

void tree_free(struct tree *tree) {
  free(tree->processes);
  *tree = (struct tree){0};
}

/* Signal exactly the process that was seen.  A child of ours keeps its number until we reap it; any other
   may have ended and its number may have been given away, so it is pinned by a descriptor and looked at again. */
static void signal_exactly(const struct process *seen, int signal) {
  if (seen->parent == getpid()) {
    kill(seen->pid, signal);
    return;
  }
  cleanup_fd int pinned = (int)syscall(SYS_pidfd_open, seen->pid, 0);
  if (pinned < 0) {
    if (errno == ENOSYS || errno == EMFILE || errno == ENFILE) {
      kill(seen->pid, signal);
    }
    return;
  }
  struct process again;
  if (read_process(seen->pid, &again) && again.started == seen->started) {
    syscall(SYS_pidfd_send_signal, pinned, signal, NULL, 0);
  }
}

size_t tree_signal(pid_t root, int signal) {
  struct tree tree;
  if (!tree_scan(root, NULL, &tree)) {
    return 0;
  }
  for (size_t i = 0; i < tree.count; i++) {
    signal_exactly(&tree.processes[i], signal);
  }
  size_t count = tree.count;
  tree_free(&tree);
  return count;
}

size_t tree_end_step(pid_t root, const struct spared *spared, unsigned round) {
  struct tree tree;
  if (!tree_scan(root, spared, &tree)) {
    return 0;
  }
  size_t alive = 0, can_fork = 0;
  for (size_t i = 0; i < tree.count; i++) {
    char state = tree.processes[i].state;
    alive += state != 'Z' && state != 'X';
    can_fork += state == 'R' || state == 'S';
  }
  bool stopping = round >= ROUNDS_OF_KILLING && round < ROUNDS_OF_STOPPING && can_fork != 0;
  for (size_t i = 0; i < tree.count; i++) {
    const struct process *process = &tree.processes[i];
    if (process->state == 'Z' || process->state == 'X') {
      continue;
    }
    if (!stopping) {
      signal_exactly(process, SIGKILL);
    } else if (process->state == 'R' || process->state == 'S') {
      signal_exactly(process, SIGSTOP);
    }
  }
  tree_free(&tree);
  return alive;
}

unsigned long long process_started(pid_t pid) {
  struct process process;
  return read_process(pid, &process) ? process.started : 0;
}

size_t tree_population(void) {
  cleanup_directory DIR *directory = opendir("/proc");
  size_t count = 0;
  const struct dirent *entry;
  while (directory != NULL && (entry = readdir(directory)) != NULL) {
    count += number_of(entry->d_name) > 0;
  }
  return count;
}
