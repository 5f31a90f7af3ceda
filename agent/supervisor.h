/* One process per execution, between the agent and the program. */
#pragma once

#include <sys/types.h>

#include "program.h"
#include "start.h"

/* Role: supervisor of one execution.  Parent: the agent, which forked it.  Ends: when the last descendant
   has ended and the execution's files are removed, having told the agent over `control`.  Not a `reaper`:
   orphans go to process 1, and the agent ends them (orphans.c). */
_Noreturn void supervisor_run(int control, const struct start *start, const struct stdio *stdio, bool reaper);

/* Role: supervisor of a spare warm interpreter; executed anew by the warm interpreter's fork.  Parent: the
   agent, by reparenting.  `spare` is its child, waiting on the pipe `job` for what to run.  Ends: as above,
   or when the agent does. */
_Noreturn void supervisor_run_warm(int control, pid_t spare, int job);

/* A program that waits for its code, with its job at PROGRAM_JOB_FD. */
struct prestart {
  char **argv;
  char **env;
  bool fixed_cwd; /* it stays in the directory it starts in */
};

/* Role: supervisor of a prestarted program.  Parent: the agent, which forked it, in the directory the program
   starts in.  Ends: as above, or when the agent closes `control`. */
_Noreturn void supervisor_run_prestarted(int control, const struct prestart *prestart, const struct stdio *stdio,
                                         bool reaper);
