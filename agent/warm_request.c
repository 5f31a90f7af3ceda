/* WARM: which interpreters the host wants ready. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "warm.h"

enum { SPARES_MAX = 32 };

/* A request to be kept: all its strings in one block, the vectors first. */
static char **keep_vector(char **vector, char **text, struct cursor cursor, unsigned tag) {
  struct field field;
  while (field_next(&cursor, &field) == FIELD_FOUND) {
    if (field.tag == tag) {
      memcpy(*text, field.value, field.length);
      *vector++ = *text;
      *text += field.length + 1;
    }
  }
  return vector + 1; /* the block was cleared: this skips its NULL */
}

/* The first of its kind, kept in the block. */
static const char *keep_string(char **text, struct cursor cursor, unsigned tag) {
  struct field field;
  const char *kept = NULL;
  while (field_next(&cursor, &field) == FIELD_FOUND) {
    if (field.tag == tag && kept == NULL) {
      memcpy(*text, field.value, field.length);
      kept = *text;
      *text += field.length + 1;
    }
  }
  return kept;
}

static struct warm *keep(struct agent *agent, const struct frame *frame, char *name) {
  struct warm *warm = calloc(1, sizeof *warm);
  size_t words = 4, bytes = 0; /* four vectors, each with its end */
  struct cursor cursor = cursor_of(frame);
  struct field field;
  while (field_next(&cursor, &field) == FIELD_FOUND) {
    words++;
    bytes += field.length + 1;
  }
  char **block = calloc(1, words * sizeof *block + bytes);
  if (warm == NULL || block == NULL) {
    free(warm);
    free(block);
    return NULL;
  }
  char *text = (char *)(block + words);
  *warm = (struct warm){.agent = agent, .name = name, .argv = block, .backoff_us = BACKOFF_FIRST_US};
  warm->control = (struct watch){.fd = -1, .ready = warm_interpreter_ready};
  warm->env = keep_vector(block, &text, cursor_of(frame), WARM_ARGV);
  warm->command = keep_vector(warm->env, &text, cursor_of(frame), WARM_ENV);
  warm->fixed = keep_vector(warm->command, &text, cursor_of(frame), WARM_COMMAND);
  keep_vector(warm->fixed, &text, cursor_of(frame), WARM_FIXED);
  warm->cwd = keep_string(&text, cursor_of(frame), WARM_CWD);
  list_init(&warm->spares);
  list_append(&agent->warms, &warm->order);
  return warm;
}

static bool same_vector(char *const *left, char *const *right) {
  for (; *left != NULL && *right != NULL; left++, right++) {
    if (strcmp(*left, *right) != 0) {
      return false;
    }
  }
  return *left == *right;
}

static bool is_same(const struct warm *known, const struct warm *made) {
  return known->strategy == made->strategy && known->fixed_cwd == made->fixed_cwd &&
         same_vector(known->argv, made->argv) && same_vector(known->env, made->env) &&
         same_vector(known->command, made->command) && same_vector(known->fixed, made->fixed);
}

struct warm_request {
  char *name;
  enum warm_strategy strategy;
  bool known_strategy, has_argv, right;
  uint64_t spares, fixed_cwd;
};

static bool is_word(const struct field *field, const char *word) {
  return field->length == strlen(word) && memcmp(field->value, word, field->length) == 0;
}

static struct warm_request read_request(const struct frame *frame) {
  struct warm_request request = {.known_strategy = true, .right = true, .spares = 1};
  struct cursor cursor = cursor_of(frame);
  struct field field;
  while (field_next(&cursor, &field) == FIELD_FOUND) {
    if (field.tag == WARM_SPARES) {
      request.right &= field_u64(&field, &request.spares);
    } else if (field.tag == WARM_FIXED_CWD) {
      request.right &= field_u64(&field, &request.fixed_cwd);
    } else {
      request.right &= field_is_string(&field);
    }
    request.has_argv |= field.tag == WARM_ARGV;
    if (field.tag == WARM_STRATEGY) {
      request.strategy = is_word(&field, "prestarted") ? WARM_PRESTARTED : WARM_FORK;
      request.known_strategy = request.strategy == WARM_PRESTARTED || is_word(&field, "fork");
    }
    if (field.tag == WARM_NAME && request.name == NULL) {
      request.name = strndup((const char *)field.value, field.length);
    }
  }
  request.right &= request.name != NULL && (request.has_argv || request.spares == 0);
  return request;
}

void warm_answer(struct connection *connection, const struct frame *frame) {
  struct agent *agent = connection_agent(connection);
  struct warm_request request = read_request(frame);
  cleanup_free char *unused = request.name;
  if (!request.right || !request.known_strategy) {
    connection_reply_failed(connection, frame->channel, request.right ? "not_supported" : "bad_request",
                            request.right ? "this strategy" : "name, argv, env or spares", EINVAL);
    return;
  }
  struct warm *known = warm_find(agent, request.name);
  if (request.spares != 0) {
    struct warm *made = keep(agent, frame, request.name);
    if (made == NULL) {
      connection_reply_failed(connection, frame->channel, "no_memory", "no memory for it", ENOMEM);
      return;
    }
    unused = NULL;
    made->strategy = request.strategy;
    made->fixed_cwd = request.fixed_cwd != 0;
    if (known != NULL && is_same(known, made)) {
      warm_forget(made);
      made = known;
      known = NULL;
    }
    made->wanted = request.spares < SPARES_MAX ? (unsigned)request.spares : SPARES_MAX;
  }
  if (known != NULL) {
    warm_forget(known);
  }
  message_raw(connection_out(connection), MESSAGE_DONE, STREAM_NONE, frame->channel, 0, 0);
}
