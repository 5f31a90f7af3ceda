/* What a FILE_* message asks for.  Everything read is hostile. */
#pragma once

#include <sys/types.h>

#include "frame.h"

/* Where a field of any of these messages goes: its tag says which, see the tables in file_request.c. */
enum slot {
  SLOT_NONE,
  SLOT_PATH,
  SLOT_TO, /* also a link's target */
  SLOT_SOURCE,
  SLOT_DATA,
  SLOT_OFFSET,
  SLOT_LENGTH,
  SLOT_MODE,
  SLOT_MTIME,
  SLOT_TRUNCATE,
  SLOT_PARENTS,
  SLOT_FLAG, /* follow, existing, replace, tree, recursive: each message has one at most */
  SLOTS,
};

/* `path` is owned, without slashes at its end, and never empty or NULL; `to` and `source` are owned or NULL. */
struct file_request {
  char *path, *to, *source;
  const uint8_t *data;
  size_t size;
  uint64_t numbers[SLOTS]; /* 0 where not given */
  uint32_t given;          /* a bit for each slot */
};

#define cleanup_request __attribute__((cleanup(file_request_free)))

/* False for what makes no sense; what was taken is to be freed all the same. */
bool file_request_read(const struct frame *frame, struct file_request *request);
void file_request_free(struct file_request *request);
bool file_request_has(const struct file_request *request, enum slot slot);

/* Permission bits asked for, else these. */
mode_t file_request_mode(const struct file_request *request, mode_t otherwise);
