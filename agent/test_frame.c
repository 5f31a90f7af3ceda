/* Unit tests of the codec: `make check`. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "start.h"

#undef NDEBUG

static void a_message_survives_the_round_trip(void) {
  struct bytes out = {0};
  size_t begun = message_begin(&out, MESSAGE_START, 0x1122334455667788);
  message_u64(&out, START_TIMEOUT_MS, 0xfedcba9876543210);
  message_text(&out, START_CWD, "/tmp");
  message_bytes(&out, START_SOURCE_DATA, "a\0b", 3);
  message_end(&out, begun);

  struct frame frame;
  assert(frame_parse(out.data, out.size, &frame) == FRAME_COMPLETE);
  assert(frame.type == MESSAGE_START && frame.channel == 0x1122334455667788);
  assert(frame.length == out.size - FRAME_HEADER_BYTES);

  struct cursor cursor = cursor_of(&frame);
  struct field field;
  uint64_t number;
  assert(field_next(&cursor, &field) == FIELD_FOUND && field.tag == START_TIMEOUT_MS);
  assert(field_u64(&field, &number) && number == 0xfedcba9876543210);
  assert(field_next(&cursor, &field) == FIELD_FOUND && field.length == 4 && field_is_string(&field));
  assert(!field_u64(&field, &number));
  assert(field_next(&cursor, &field) == FIELD_FOUND && field.length == 3 && !field_is_string(&field));
  assert(field_next(&cursor, &field) == FIELD_END);
  bytes_free(&out);
}

static void every_prefix_is_incomplete(void) {
  struct bytes out = {0};
  message_raw(&out, MESSAGE_STDIN, STREAM_NONE, 7, 9, 5);
  bytes_append(&out, "hello", 5);
  struct frame frame;
  for (size_t size = 0; size < out.size; size++) {
    uint8_t *exact = malloc(size ? size : 1); /* its end is watched by the sanitizer */
    memcpy(exact, out.data, size);
    assert(frame_parse(exact, size, &frame) == FRAME_INCOMPLETE);
    free(exact);
  }
  assert(frame_parse(out.data, out.size, &frame) == FRAME_COMPLETE);
  assert(frame.offset == 9 && memcmp(frame.payload, "hello", 5) == 0);
  bytes_free(&out);
}

static void a_length_is_refused_from_the_header_alone(void) {
  uint8_t header[FRAME_HEADER_BYTES] = {0x01, 0x00, 0x10, 0x00};
  struct frame frame;
  assert(frame_parse(header, sizeof header, &frame) == FRAME_TOO_LONG);
  header[0] = 0;
  assert(frame_parse(header, sizeof header, &frame) == FRAME_INCOMPLETE);
  memset(header, 0xff, 4);
  assert(frame_parse(header, sizeof header, &frame) == FRAME_TOO_LONG);
}

static void a_field_past_the_end_is_malformed(void) {
  const uint8_t payload[] = {1, 0, 0, 0, 9, 0, 0, 0, 'x'};
  struct frame frame = {.length = sizeof payload, .payload = payload};
  struct cursor cursor = cursor_of(&frame);
  struct field field;
  assert(field_next(&cursor, &field) == FIELD_MALFORMED);
  frame.length = 7;
  cursor = cursor_of(&frame);
  assert(field_next(&cursor, &field) == FIELD_MALFORMED);
}

static void bytes_grow_and_are_consumed(void) {
  struct bytes bytes = {0};
  for (int i = 0; i < 100000; i++) {
    bytes_append(&bytes, "0123456789", 10);
  }
  assert(bytes.size == 1000000 && !bytes.failed);
  bytes_consume(&bytes, 999990);
  assert(bytes.size == 10 && memcmp(bytes.data, "0123456789", 10) == 0);
  bytes_consume(&bytes, 10);
  assert(bytes.size == 0);
  bytes_free(&bytes);
}

static enum start_result decode(const struct bytes *message, struct start *start) {
  const char *problem = NULL;
  return start_decode(message->data + FRAME_HEADER_BYTES, message->size - FRAME_HEADER_BYTES, start, &problem);
}

static void a_start_is_decoded(void) {
  struct bytes out = {0};
  struct start start;
  size_t begun = message_begin(&out, MESSAGE_START, 1);
  message_end(&out, begun);
  assert(decode(&out, &start) == START_BAD); /* no argv */
  message_text(&out, START_ARGV, "sh");
  message_text(&out, START_ENV, "A=1");
  message_text(&out, START_ARGV, "-c");
  message_text(&out, START_SCRATCH_PATH, "/s");
  message_u64(&out, START_BACKGROUND, 1);
  message_u64(&out, 999, 1); /* unknown: skipped */
  assert(decode(&out, &start) == START_OK);
  assert(strcmp(start.argv[1], "-c") == 0 && start.argv[2] == NULL && start.build[0] == NULL);
  assert(strcmp(environment_value(start.env, "A"), "1") == 0 && environment_value(start.env, "B") == NULL);
  assert(start.background && start.umask == 022 && start.stdin_data == NULL);
  start_free(&start);
  message_text(&out, START_ENV, "no equals sign");
  assert(decode(&out, &start) == START_BAD);
  bytes_free(&out);
}

int main(void) {
  a_message_survives_the_round_trip();
  every_prefix_is_incomplete();
  a_length_is_refused_from_the_header_alone();
  a_field_past_the_end_is_malformed();
  bytes_grow_and_are_consumed();
  a_start_is_decoded();
  puts("ok");
  return 0;
}
