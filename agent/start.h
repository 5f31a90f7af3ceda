/* What START asks for, decoded from its payload.  Pure, like frame.h. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct limit {
  uint64_t resource, soft, hard;
};

enum { LIMITS_MAX = 16 };

/* All pointers lead into `arena`, which start_free gives back. */
struct start {
  char **argv;
  char **build;
  char **env;
  const char *cwd;
  const char *source_path;
  const char *scratch;
  const char *warm;
  const uint8_t *source;
  size_t source_size;
  const uint8_t *stdin_data;
  size_t stdin_size;
  bool stdin_open;
  bool background;
  uint64_t terminal; /* columns << 16 | rows; 0: none */
  uint64_t timeout_ms;
  uint64_t exit_grace_ms;
  unsigned umask;
  size_t limit_count;
  struct limit limits[LIMITS_MAX];
  void *arena;
};

enum start_result { START_OK, START_BAD, START_MALFORMED, START_NO_MEMORY };

/* On START_BAD `*problem` says in words which field is wrong.  Nothing needs freeing unless START_OK. */
enum start_result start_decode(const uint8_t *payload, size_t size, struct start *start, const char **problem);
void start_free(struct start *start);

/* Whether a number is a terminal's size. */
bool is_terminal_size(uint64_t number);

/* The value of NAME in an environment, or NULL. */
const char *environment_value(char *const *env, const char *name);
