#include "file_request.h"

#include <stdlib.h>
#include <string.h>

enum { TAGS_MAX = 8, PATH_END = 4096 };

/* The slot of each tag of each message. */
static const uint8_t TAGS[][TAGS_MAX] = {
  [MESSAGE_FILE_READ] =
    {[FILE_READ_PATH] = SLOT_PATH, [FILE_READ_OFFSET] = SLOT_OFFSET, [FILE_READ_LENGTH] = SLOT_LENGTH},
  [MESSAGE_FILE_WRITE] = {[FILE_WRITE_PATH] = SLOT_PATH,
                          [FILE_WRITE_OFFSET] = SLOT_OFFSET,
                          [FILE_WRITE_TRUNCATE] = SLOT_TRUNCATE,
                          [FILE_WRITE_MODE] = SLOT_MODE,
                          [FILE_WRITE_DATA] = SLOT_DATA,
                          [FILE_WRITE_PARENTS] = SLOT_PARENTS,
                          [FILE_WRITE_MTIME_NS] = SLOT_MTIME},
  [MESSAGE_FILE_STAT] = {[FILE_STAT_PATH] = SLOT_PATH, [FILE_STAT_FOLLOW] = SLOT_FLAG},
  [MESSAGE_FILE_LIST] =
    {[FILE_LIST_PATH] = SLOT_PATH, [FILE_LIST_CURSOR] = SLOT_OFFSET, [FILE_LIST_LENGTH] = SLOT_LENGTH},
  [MESSAGE_FILE_MAKE] = {[FILE_MAKE_PATH] = SLOT_PATH,
                         [FILE_MAKE_MODE] = SLOT_MODE,
                         [FILE_MAKE_PARENTS] = SLOT_PARENTS,
                         [FILE_MAKE_EXISTING] = SLOT_FLAG,
                         [FILE_MAKE_TARGET] = SLOT_TO,
                         [FILE_MAKE_SOURCE] = SLOT_SOURCE},
  [MESSAGE_FILE_CHANGE] =
    {[FILE_CHANGE_PATH] = SLOT_PATH, [FILE_CHANGE_MODE] = SLOT_MODE, [FILE_CHANGE_MTIME_NS] = SLOT_MTIME},
  [MESSAGE_FILE_MOVE] =
    {[FILE_MOVE_PATH] = SLOT_PATH, [FILE_MOVE_TO] = SLOT_TO, [FILE_MOVE_REPLACE] = SLOT_FLAG},
  [MESSAGE_FILE_REMOVE] = {[FILE_REMOVE_PATH] = SLOT_PATH, [FILE_REMOVE_TREE] = SLOT_FLAG},
  [MESSAGE_FILE_WATCH] = {[FILE_WATCH_PATH] = SLOT_PATH, [FILE_WATCH_RECURSIVE] = SLOT_FLAG},
  [MESSAGE_FILE_GET] =
    {[FILE_GET_PATH] = SLOT_PATH, [FILE_GET_OFFSET] = SLOT_OFFSET, [FILE_GET_LENGTH] = SLOT_LENGTH},
  [MESSAGE_FILE_PUT] = {[FILE_PUT_PATH] = SLOT_PATH,
                        [FILE_PUT_OFFSET] = SLOT_OFFSET,
                        [FILE_PUT_TRUNCATE] = SLOT_TRUNCATE,
                        [FILE_PUT_MODE] = SLOT_MODE,
                        [FILE_PUT_PARENTS] = SLOT_PARENTS,
                        [FILE_PUT_MTIME_NS] = SLOT_MTIME},
};

static bool take_text(const struct field *field, char **text) {
  if (field->length == 0 || field->length >= PATH_END || !field_is_string(field) || *text != NULL) {
    return false;
  }
  *text = strndup((const char *)field->value, field->length);
  return *text != NULL;
}

static bool take_path(const struct field *field, char **path) {
  if (!take_text(field, path)) {
    return false;
  }
  for (size_t length = strlen(*path); length > 1 && (*path)[length - 1] == '/'; length--) {
    (*path)[length - 1] = '\0';
  }
  return true;
}

static bool take(const struct field *field, enum slot slot, bool to_is_path, struct file_request *request) {
  request->given |= 1U << slot;
  switch (slot) {
    case SLOT_NONE:
      return true;
    case SLOT_PATH:
      return take_path(field, &request->path);
    case SLOT_TO:
      return to_is_path ? take_path(field, &request->to) : take_text(field, &request->to);
    case SLOT_SOURCE:
      return take_path(field, &request->source);
    case SLOT_DATA:
      request->data = field->value;
      request->size = field->length;
      return true;
    default:
      return field_u64(field, &request->numbers[slot]);
  }
}

bool file_request_read(const struct frame *frame, struct file_request *request) {
  if (frame->type >= sizeof TAGS / sizeof *TAGS) {
    return false;
  }
  struct cursor cursor = cursor_of(frame);
  struct field field;
  bool right = true;
  while (field_next(&cursor, &field) == FIELD_FOUND) {
    enum slot slot = field.tag < TAGS_MAX ? TAGS[frame->type][field.tag] : SLOT_NONE;
    right &= take(&field, slot, frame->type == MESSAGE_FILE_MOVE, request);
  }
  return right && request->path != NULL && request->numbers[SLOT_OFFSET] <= INT64_MAX;
}

void file_request_free(struct file_request *request) {
  free(request->path);
  free(request->to);
  free(request->source);
}

bool file_request_has(const struct file_request *request, enum slot slot) {
  return (request->given >> slot & 1) != 0;
}

mode_t file_request_mode(const struct file_request *request, mode_t otherwise) {
  return file_request_has(request, SLOT_MODE) ? request->numbers[SLOT_MODE] & 07777 : otherwise;
}
