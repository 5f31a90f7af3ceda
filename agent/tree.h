/* Finding and ending processes below one, by /proc: needs no cgroup and no privilege. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct process {
  pid_t pid, parent;
  char state;
  bool below; /* a descendant of the root of the scan */
  unsigned long long started;
};

struct tree {
  struct process *processes;
  size_t count;
};

/* All descendants of `root`, but not the subtrees of the `skipped` children; false if /proc cannot be read. */
bool tree_scan(pid_t root, const pid_t *skipped, size_t skipped_count, struct tree *tree);
void tree_free(struct tree *tree);

/* Signal every descendant of `root`; returns how many there were. */
size_t tree_signal(pid_t root, int signal);

/* One step towards no descendants: early rounds kill, later ones stop first whatever can still fork, so
   that a fork bomb runs out of the ability to replace its dead.  Returns how many were alive. */
size_t tree_end_step(pid_t root, const pid_t *skipped, size_t skipped_count, unsigned round);

/* How many processes /proc shows. */
size_t tree_population(void);
