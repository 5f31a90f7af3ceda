/* The wire format, pure: no I/O, no allocation but into a `bytes`.  Everything read is hostile. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

/* One frame; `payload` points into the bytes it was parsed from. */
struct frame {
  uint32_t length;
  uint8_t type;
  uint8_t stream;
  uint64_t channel;
  uint64_t offset;
  const uint8_t *payload;
};

enum frame_result { FRAME_INCOMPLETE, FRAME_COMPLETE, FRAME_TOO_LONG };

/* The frame at the start of `size` bytes.  FRAME_TOO_LONG is told from the header alone. */
enum frame_result frame_parse(const uint8_t *bytes, size_t size, struct frame *frame);

/* The same of the header alone, whether or not its payload is there. */
enum frame_result frame_header(const uint8_t *bytes, size_t size, struct frame *frame);

/* A field of a payload; `value` points into the payload. */
struct field {
  uint16_t tag;
  uint32_t length;
  const uint8_t *value;
};

struct cursor {
  const uint8_t *at;
  size_t left;
};

enum field_result { FIELD_END, FIELD_FOUND, FIELD_MALFORMED };

struct cursor cursor_of(const struct frame *frame);
enum field_result field_next(struct cursor *cursor, struct field *field);

/* False unless the field is exactly 8 bytes. */
bool field_u64(const struct field *field, uint64_t *value);

/* True if it may be a path or a program argument: no NUL inside. */
bool field_is_string(const struct field *field);

uint64_t load_u64(const uint8_t *bytes);

/* Bytes that grow.  A failed allocation is remembered in `failed`, so that callers check once, at the end. */
struct bytes {
  uint8_t *data;
  size_t size;
  size_t capacity;
  bool failed;
};

bool bytes_reserve(struct bytes *bytes, size_t more);
void bytes_append(struct bytes *bytes, const void *data, size_t size);
void bytes_consume(struct bytes *bytes, size_t size);
void bytes_free(struct bytes *bytes);

/* Writing a message: begin, fields, end.  `begin` returns the position `end` wants. */
size_t message_begin(struct bytes *out, enum message type, uint64_t channel);
void message_u64(struct bytes *out, unsigned tag, uint64_t value);
void message_bytes(struct bytes *out, unsigned tag, const void *data, size_t size);
void message_text(struct bytes *out, unsigned tag, const char *text);
void message_end(struct bytes *out, size_t begun);

/* A message without fields, or the header of raw data that the caller appends. */
void message_raw(struct bytes *out, enum message type, enum stream_number stream, uint64_t channel, uint64_t offset,
                 size_t length);
