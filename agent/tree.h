/* Finding and ending processes below one, by /proc: needs no cgroup and no privilege. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct process {
  pid_t pid, parent, session;
  char state;
  bool below; /* a descendant of the root of the scan */
  bool apart; /* spared, with all below it */
  unsigned long long started;
};

struct tree {
  struct process *processes;
  size_t count;
};

/* Children of the root that are left alone, with all below them: those listed, and those `lives` says so of
   (NULL: none; called once for each other child that is no zombie). */
struct spared {
  const pid_t *pids;
  size_t count;
  bool (*lives)(const struct process *child, void *context);
  void *context;
};

/* All descendants of `root` that are not spared (NULL: nobody is); false if /proc cannot be read. */
bool tree_scan(pid_t root, const struct spared *spared, struct tree *tree);
void tree_free(struct tree *tree);

/* Signal every descendant of `root`; returns how many there were. */
size_t tree_signal(pid_t root, int signal);

/* One step towards no descendants: early rounds kill, later ones stop first whatever can still fork, so
   that a fork bomb runs out of the ability to replace its dead.  Returns how many were alive. */
size_t tree_end_step(pid_t root, const struct spared *spared, unsigned round);

/* When a process started, in the kernel's ticks since its own start; 0 if there is none. */
unsigned long long process_started(pid_t pid);

/* How many processes /proc shows. */
size_t tree_population(void);
