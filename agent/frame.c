#include "frame.h"

#include <stdlib.h>
#include <string.h>

enum { FIELD_HEADER_BYTES = 8, BYTES_KEPT_WHEN_EMPTY = 524288 };

static uint16_t load_u16(const uint8_t *bytes) {
  return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static uint32_t load_u32(const uint8_t *bytes) {
  return (uint32_t)load_u16(bytes) | (uint32_t)load_u16(bytes + 2) << 16;
}

uint64_t load_u64(const uint8_t *bytes) {
  return (uint64_t)load_u32(bytes) | (uint64_t)load_u32(bytes + 4) << 32;
}

static void store(uint8_t *bytes, uint64_t value, size_t width) {
  for (size_t i = 0; i < width; i++) {
    bytes[i] = (uint8_t)(value >> (8 * i));
  }
}

enum frame_result frame_header(const uint8_t *bytes, size_t size, struct frame *frame) {
  if (size < FRAME_HEADER_BYTES) {
    return FRAME_INCOMPLETE;
  }
  uint32_t length = load_u32(bytes);
  if (length > FRAME_MAX_PAYLOAD_BYTES) {
    return FRAME_TOO_LONG;
  }
  *frame = (struct frame){
    .length = length,
    .type = bytes[4],
    .stream = bytes[5],
    .channel = load_u64(bytes + 8),
    .offset = load_u64(bytes + 16),
    .payload = bytes + FRAME_HEADER_BYTES,
  };
  return FRAME_COMPLETE;
}

enum frame_result frame_parse(const uint8_t *bytes, size_t size, struct frame *frame) {
  enum frame_result result = frame_header(bytes, size, frame);
  return result == FRAME_COMPLETE && size - FRAME_HEADER_BYTES < frame->length ? FRAME_INCOMPLETE : result;
}

struct cursor cursor_of(const struct frame *frame) {
  return (struct cursor){.at = frame->payload, .left = frame->length};
}

enum field_result field_next(struct cursor *cursor, struct field *field) {
  if (cursor->left == 0) {
    return FIELD_END;
  }
  if (cursor->left < FIELD_HEADER_BYTES) {
    return FIELD_MALFORMED;
  }
  uint32_t length = load_u32(cursor->at + 4);
  if (cursor->left - FIELD_HEADER_BYTES < length) {
    return FIELD_MALFORMED;
  }
  *field = (struct field){
    .tag = load_u16(cursor->at),
    .length = length,
    .value = cursor->at + FIELD_HEADER_BYTES,
  };
  cursor->at += FIELD_HEADER_BYTES + length;
  cursor->left -= FIELD_HEADER_BYTES + length;
  return FIELD_FOUND;
}

bool field_u64(const struct field *field, uint64_t *value) {
  if (field->length != 8) {
    return false;
  }
  *value = load_u64(field->value);
  return true;
}

bool field_is_string(const struct field *field) {
  return field->length == 0 || memchr(field->value, 0, field->length) == NULL;
}

bool bytes_reserve(struct bytes *bytes, size_t more) {
  if (bytes->failed) {
    return false;
  }
  if (bytes->capacity - bytes->size >= more) {
    return true;
  }
  size_t capacity = bytes->capacity ? bytes->capacity : 4096;
  while (capacity - bytes->size < more) {
    capacity *= 2;
  }
  uint8_t *data = realloc(bytes->data, capacity);
  if (data == NULL) {
    bytes->failed = true;
    return false;
  }
  bytes->data = data;
  bytes->capacity = capacity;
  return true;
}

void bytes_append(struct bytes *bytes, const void *data, size_t size) {
  if (size != 0 && bytes_reserve(bytes, size)) {
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
  }
}

void bytes_consume(struct bytes *bytes, size_t size) {
  bytes->size -= size;
  if (bytes->size == 0) {
    if (bytes->capacity > BYTES_KEPT_WHEN_EMPTY) {
      bytes_free(bytes);
    }
  } else if (size != 0) {
    memmove(bytes->data, bytes->data + size, bytes->size);
  }
}

void bytes_free(struct bytes *bytes) {
  free(bytes->data);
  *bytes = (struct bytes){.failed = bytes->failed};
}

void message_raw(struct bytes *out, enum message type, enum stream_number stream, uint64_t channel, uint64_t offset,
                 size_t length) {
  uint8_t header[FRAME_HEADER_BYTES] = {0};
  store(header, length, 4);
  header[4] = (uint8_t)type;
  header[5] = (uint8_t)stream;
  store(header + 8, channel, 8);
  store(header + 16, offset, 8);
  bytes_append(out, header, sizeof header);
}

size_t message_begin(struct bytes *out, enum message type, uint64_t channel) {
  size_t begun = out->size;
  message_raw(out, type, STREAM_NONE, channel, 0, 0);
  return begun;
}

void message_bytes(struct bytes *out, unsigned tag, const void *data, size_t size) {
  uint8_t header[FIELD_HEADER_BYTES] = {0};
  store(header, tag, 2);
  store(header + 4, size, 4);
  bytes_append(out, header, sizeof header);
  bytes_append(out, data, size);
}

void message_u64(struct bytes *out, unsigned tag, uint64_t value) {
  uint8_t raw[8];
  store(raw, value, sizeof raw);
  message_bytes(out, tag, raw, sizeof raw);
}

void message_text(struct bytes *out, unsigned tag, const char *text) {
  message_bytes(out, tag, text, strlen(text));
}

void message_end(struct bytes *out, size_t begun) {
  if (!out->failed) {
    store(out->data + begun, out->size - begun - FRAME_HEADER_BYTES, 4);
  }
}
