/* The last steps of a program before its own code: everything between fork and exec. */
#pragma once

#include "start.h"

/* What a shell answers when it cannot run a command. */
enum { EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

/* The limit of core dumps: none fits, and it is the one value at which the kernel starts no program on a crash
   either (a core_pattern that begins with a pipe; at 0 it does, as the host's root). */
enum { CORE_BYTES = 1 };

/* Where a prestarted program finds its job: out of the way of the numbers its own descriptors get. */
enum { PROGRAM_JOB_FD = 100 };

/* When memory runs out it is programs who go, not the agent; before them those that only wait. */
enum { OOM_SCORE_OF_PROGRAM = 300, OOM_SCORE_OF_WAITING = 1000 };

/* Standard input, output and error of a program; `job`, unless 0, is what it finds at PROGRAM_JOB_FD. */
struct stdio {
  int fds[3];
  int job;
};

/* Role: the program itself.  Parent: its supervisor.  Ends: as the program does, or with 126 or 127 and a
   line on standard error. */
_Noreturn void program_run(const struct start *start, char *const *argv, const struct stdio *stdio);

/* The limits of an execution: those asked for, and the VM's defaults for what was not. */
size_t program_limits(const struct start *start, struct limit limits[LIMITS_MAX + 2]);

/* Become `argv` with ordinary signals; descriptors and working directory are as they should be. */
_Noreturn void program_execute(char *const *argv, char *const *env);
