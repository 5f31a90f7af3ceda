/* Which executions a warm interpreter may take: those it runs exactly as a fresh one would. */
#include <string.h>

#include "program.h"
#include "warm.h"

enum { UMASK = 022 };

/* What Python reads of its environment only when it starts; the program's must be equal. */
static const char *const FIXED_AT_START[] = {"PYTHON", "LANG",  "LC_",           "HOME=", "PATH=",
                                             "TZ=",    "LD_",   "GLIBC_TUNABLES", "MALLOC_", NULL};

static bool begins_with(const char *text, const char *beginning) {
  return strncmp(text, beginning, strlen(beginning)) == 0;
}

static bool is_fixed_at_start(const struct warm *warm, const char *entry) {
  const char *const *beginnings = warm->fixed[0] ? (const char *const *)warm->fixed : FIXED_AT_START;
  for (; *beginnings != NULL; beginnings++) {
    if (begins_with(entry, *beginnings)) {
      return true;
    }
  }
  return false;
}

static bool contains(char *const *env, const char *entry) {
  for (; *env != NULL; env++) {
    if (strcmp(*env, entry) == 0) {
      return true;
    }
  }
  return false;
}

static bool fixed_part_within(const struct warm *warm, char *const *env, char *const *other) {
  for (; *env != NULL; env++) {
    if (is_fixed_at_start(warm, *env) && !contains(other, *env)) {
      return false;
    }
  }
  return true;
}

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), tail = strlen(end);
  return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* `COMMAND... SOURCE ARGUMENT...` with the very source it brings. */
static bool is_its_command(const struct warm *warm, const struct start *start) {
  char *const *word = start->argv;
  if (warm->command[0] == NULL) {
    if (strcmp(*word++, warm->argv[0]) != 0) {
      return false;
    }
  }
  for (char *const *expected = warm->command; *expected != NULL; expected++, word++) {
    if (*word == NULL || strcmp(*word, *expected) != 0) {
      return false;
    }
  }
  return *word != NULL && strcmp(*word, start->source_path) == 0;
}

/* A program that has started has its limits, and may have made something of them. */
static bool has_usual_limits(const struct start *start) {
  struct limit usual[LIMITS_MAX + 2];
  size_t count = program_limits(&(struct start){0}, usual);
  for (size_t i = 0; i < start->limit_count; i++) {
    bool same = false;
    for (size_t j = 0; j < count; j++) {
      same |= memcmp(&start->limits[i], &usual[j], sizeof *usual) == 0;
    }
    if (!same) {
      return false;
    }
  }
  return true;
}

bool warm_suits(const struct warm *warm, const struct start *start) {
  if (start->build[0] != NULL || start->source_path == NULL || !is_its_command(warm, start) ||
      !fixed_part_within(warm, start->env, warm->env) || !fixed_part_within(warm, warm->env, start->env)) {
    return false;
  }
  if (warm->strategy == WARM_FORK) {
    return ends_with(start->source_path, ".py");
  }
  bool stays = start->cwd == NULL || (warm->cwd != NULL && strcmp(start->cwd, warm->cwd) == 0);
  return has_usual_limits(start) && start->umask == UMASK && (stays || !warm->fixed_cwd);
}
