#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"

enum {
  OPEN_FILES_SOFT = 1024,
  OPEN_FILES_HARD = 4096,
  PATH_BYTES = 4096,
};

static bool is_limited(const struct start *start, uint64_t resource) {
  for (size_t i = 0; i < start->limit_count; i++) {
    if (start->limits[i].resource == resource) {
      return true;
    }
  }
  return false;
}

size_t program_limits(const struct start *start, struct limit limits[LIMITS_MAX + 2]) {
  size_t count = 0;
  if (!is_limited(start, RLIMIT_CORE)) {
    limits[count++] = (struct limit){RLIMIT_CORE, CORE_BYTES, CORE_BYTES};
  }
  if (!is_limited(start, RLIMIT_NOFILE)) {
    limits[count++] = (struct limit){RLIMIT_NOFILE, OPEN_FILES_SOFT, OPEN_FILES_HARD};
  }
  for (size_t i = 0; i < start->limit_count; i++) {
    limits[count++] = start->limits[i];
  }
  return count;
}

/* Never above what we have ourselves: a limit can only be lowered. */
static void set_limits(const struct start *start) {
  struct limit limits[LIMITS_MAX + 2];
  size_t count = program_limits(start, limits);
  for (size_t i = 0; i < count; i++) {
    struct rlimit now;
    if (getrlimit((int)limits[i].resource, &now) != 0) {
      continue;
    }
    rlim_t hard = limits[i].hard < now.rlim_max ? limits[i].hard : now.rlim_max;
    struct rlimit wanted = {.rlim_cur = limits[i].soft < hard ? limits[i].soft : hard, .rlim_max = hard};
    setrlimit((int)limits[i].resource, &wanted);
  }
}

/* Put the descriptors where they belong whatever numbers they have now, and close all others. */
static void place_stdio(const struct stdio *stdio) {
  int high[3];
  for (int i = 0; i < 3; i++) {
    high[i] = fcntl(stdio->fds[i], F_DUPFD, 3);
  }
  int job = stdio->job != 0 ? fcntl(stdio->job, F_DUPFD, PROGRAM_JOB_FD + 1) : -1;
  for (int i = 0; i < 3; i++) {
    dup2(high[i], i);
  }
  if (job < 0) {
    close_from(3);
    return;
  }
  dup2(job, PROGRAM_JOB_FD);
  close_from(PROGRAM_JOB_FD + 1);
  for (int i = 3; i < PROGRAM_JOB_FD; i++) {
    close(i);
  }
}

static _Noreturn void cannot_run(const char *command, int error) {
  int status = error == ENOENT || error == ENOTDIR ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
  bool unnamed = strchr(command, '/') == NULL && status == EXIT_NOT_FOUND;
  dprintf(STDERR_FILENO, "%s: %s\n", command, unnamed ? "command not found" : strerror(error));
  _exit(status);
}

/* A text without a first line that names an interpreter: what a shell would run itself. */
static void run_as_script(const char *path, char *const *argv, char *const *env) {
  size_t count = 0;
  while (argv[count] != NULL) {
    count++;
  }
  char **with_shell = calloc(count + 3, sizeof *with_shell);
  if (with_shell == NULL) {
    return;
  }
  with_shell[0] = (char *)(uintptr_t)"/bin/sh";
  with_shell[1] = (char *)(uintptr_t)path;
  memcpy(with_shell + 2, argv + 1, count * sizeof *argv);
  execve(with_shell[0], with_shell, env);
  free(with_shell);
}

static int execute(const char *path, char *const *argv, char *const *env) {
  execve(path, argv, env);
  if (errno == ENOEXEC) {
    run_as_script(path, argv, env);
    errno = ENOEXEC;
  }
  return errno;
}

/* As execvpe, but on the PATH of the program's own environment; an entry one may not execute is remembered
   while a later one is looked for. */
static _Noreturn void execute_on_path(char *const *argv, char *const *env) {
  const char *command = argv[0];
  if (strchr(command, '/') != NULL || *command == '\0') {
    cannot_run(command, execute(command, argv, env));
  }
  const char *path = environment_value(env, "PATH");
  int worst = ENOENT;
  for (const char *at = path ? path : "/usr/local/bin:/usr/bin:/bin"; at != NULL;) {
    const char *end = strchr(at, ':');
    size_t length = end ? (size_t)(end - at) : strlen(at);
    char candidate[PATH_BYTES];
    int written = snprintf(candidate, sizeof candidate, "%.*s%s%s", (int)length, at, length ? "/" : "./", command);
    if (length < sizeof candidate && written > 0 && (size_t)written < sizeof candidate) {
      int error = execute(candidate, argv, env);
      if (error != ENOENT && error != ENOTDIR) {
        worst = error;
      }
      if (error != ENOENT && error != ENOTDIR && error != EACCES) {
        break;
      }
    }
    at = end ? end + 1 : NULL;
  }
  cannot_run(command, worst);
}

void program_execute(char *const *argv, char *const *env) {
  setsid();
  become_ordinary();
  set_oom_score(OOM_SCORE_OF_PROGRAM);
  execute_on_path(argv, env);
}

void program_run(const struct start *start, char *const *argv, const struct stdio *stdio) {
  umask(start->umask);
  place_stdio(stdio);
  set_limits(start);
  if (start->terminal != 0) {
    setsid();
    ioctl(STDIN_FILENO, TIOCSCTTY, 0);
  }
  program_execute(argv, start->env);
}
