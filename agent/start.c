#include "start.h"

#include <stdlib.h>
#include <string.h>

#include "frame.h"

struct counts {
  size_t argv, build, env, strings, raw;
};

static bool is_text_tag(unsigned tag) {
  switch (tag) {
    case START_ARGV:
    case START_BUILD_ARGV:
    case START_ENV:
    case START_CWD:
    case START_SOURCE_PATH:
    case START_SCRATCH_PATH:
    case START_WARM:
      return true;
    default:
      return false;
  }
}

/* First pass: how much memory, and whether every string can be one. */
static enum start_result measure(struct cursor cursor, struct counts *counts, const char **problem) {
  struct field field;
  enum field_result found;
  while ((found = field_next(&cursor, &field)) == FIELD_FOUND) {
    counts->argv += field.tag == START_ARGV;
    counts->build += field.tag == START_BUILD_ARGV;
    counts->env += field.tag == START_ENV;
    if (is_text_tag(field.tag)) {
      counts->strings += (size_t)field.length + 1;
      if (!field_is_string(&field)) {
        *problem = "a zero byte in argv, env or a path";
        return START_BAD;
      }
    } else if (field.tag == START_SOURCE_DATA || field.tag == START_STDIN_DATA) {
      counts->raw += field.length;
    }
  }
  if (found == FIELD_MALFORMED) {
    return START_MALFORMED;
  }
  if (counts->argv == 0) {
    *problem = "argv is missing";
    return START_BAD;
  }
  return START_OK;
}

static char *take(char **arena, const struct field *field) {
  char *copy = *arena;
  if (field->length != 0) {
    memcpy(copy, field->value, field->length);
  }
  *arena += field->length;
  return copy;
}

static char *take_string(char **arena, const struct field *field) {
  char *copy = take(arena, field);
  *(*arena)++ = '\0';
  return copy;
}

static bool take_limit(struct start *start, const struct field *field) {
  if (field->length != 24 || start->limit_count == LIMITS_MAX) {
    return false;
  }
  start->limits[start->limit_count++] = (struct limit){
    .resource = load_u64(field->value),
    .soft = load_u64(field->value + 8),
    .hard = load_u64(field->value + 16),
  };
  return true;
}

/* False if a number has the wrong size. */
static bool take_number(struct start *start, const struct field *field) {
  uint64_t value;
  if (!field_u64(field, &value)) {
    return false;
  }
  switch (field->tag) {
    case START_STDIN_OPEN:
      start->stdin_open = value != 0;
      break;
    case START_TIMEOUT_MS:
      start->timeout_ms = value;
      break;
    case START_BACKGROUND:
      start->background = value != 0;
      break;
    case START_UMASK:
      start->umask = (unsigned)(value & 0777);
      break;
    case START_EXIT_GRACE_MS:
      start->exit_grace_ms = value;
      break;
    case START_TERMINAL:
      start->terminal = value;
      break;
    default:
      break;
  }
  return true;
}

/* Second pass: into the arena.  The vectors end with NULL because the arena was cleared. */
static const char *fill(struct cursor cursor, struct start *start, char *arena) {
  size_t argc = 0, buildc = 0, envc = 0;
  struct field field;
  while (field_next(&cursor, &field) == FIELD_FOUND) {
    switch (field.tag) {
      case START_ARGV:
        start->argv[argc++] = take_string(&arena, &field);
        break;
      case START_BUILD_ARGV:
        start->build[buildc++] = take_string(&arena, &field);
        break;
      case START_ENV:
        start->env[envc] = take_string(&arena, &field);
        if (strchr(start->env[envc++], '=') == NULL) {
          return "an env entry without '='";
        }
        break;
      case START_CWD:
        start->cwd = take_string(&arena, &field);
        break;
      case START_SOURCE_PATH:
        start->source_path = take_string(&arena, &field);
        break;
      case START_SCRATCH_PATH:
        start->scratch = take_string(&arena, &field);
        break;
      case START_WARM:
        start->warm = take_string(&arena, &field);
        break;
      case START_SOURCE_DATA:
        start->source_size = field.length;
        start->source = (const uint8_t *)take(&arena, &field);
        break;
      case START_STDIN_DATA:
        start->stdin_size = field.length;
        start->stdin_data = (const uint8_t *)take(&arena, &field);
        break;
      case START_RLIMIT:
        if (!take_limit(start, &field)) {
          return "an rlimit that is not three u64, or too many of them";
        }
        break;
      default:
        if (field.tag != 0 && field.tag <= START_TERMINAL && !take_number(start, &field)) {
          return "a number that is not a u64";
        }
    }
  }
  return NULL;
}

bool is_terminal_size(uint64_t number) {
  return number >> 32 == 0 && number >> 16 != 0 && (number & 0xffff) != 0;
}

static const char *contradiction(const struct start *start) {
  if (start->stdin_open && start->stdin_data != NULL) {
    return "stdin_open and stdin_data exclude one another";
  }
  if (start->terminal != 0 && (!start->stdin_open || !is_terminal_size(start->terminal))) {
    return "a terminal needs stdin_open, and columns and rows from 1 to 65535";
  }
  if ((start->source_path != NULL && *start->source_path != '/') || (start->scratch != NULL && *start->scratch != '/')) {
    return "source_path and scratch_path must be absolute";
  }
  return NULL;
}

enum start_result start_decode(const uint8_t *payload, size_t size, struct start *start, const char **problem) {
  struct cursor cursor = {.at = payload, .left = size};
  struct counts counts = {0};
  enum start_result measured = measure(cursor, &counts, problem);
  if (measured != START_OK) {
    return measured;
  }
  size_t pointers = counts.argv + counts.build + counts.env + 3;
  char **vectors = calloc(1, pointers * sizeof *vectors + counts.strings + counts.raw);
  if (vectors == NULL) {
    return START_NO_MEMORY;
  }
  *start = (struct start){
    .arena = vectors,
    .argv = vectors,
    .build = vectors + counts.argv + 1,
    .env = vectors + counts.argv + counts.build + 2,
    .umask = 022,
  };
  *problem = fill(cursor, start, (char *)(vectors + pointers));
  if (*problem == NULL) {
    *problem = contradiction(start);
  }
  if (*problem != NULL) {
    start_free(start);
    return START_BAD;
  }
  return START_OK;
}

void start_free(struct start *start) {
  free(start->arena);
  *start = (struct start){0};
}

const char *environment_value(char *const *env, const char *name) {
  size_t length = strlen(name);
  for (; *env != NULL; env++) {
    if (strncmp(*env, name, length) == 0 && (*env)[length] == '=') {
      return *env + length + 1;
    }
  }
  return NULL;
}
