/* libFuzzer on the codec: hostile bytes as a stream of frames, and as the payload of START. */
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "start.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct frame *frame) {
  struct cursor cursor = cursor_of(frame);
  struct field field;
  uint64_t sum = 0;
  while (field_next(&cursor, &field) == FIELD_FOUND) {
    uint64_t number;
    sum += field_u64(&field, &number) ? number : 0;
    sum += field_is_string(&field);
    sum += field.length ? field.value[field.length - 1] : 0;
  }
  if (sum == 0x6b6e6f7773746869) {
    abort(); /* never: keeps the reads from being optimised away */
  }
}

static void start(const uint8_t *data, size_t size) {
  struct start decoded;
  const char *problem = NULL;
  switch (start_decode(data, size, &decoded, &problem)) {
    case START_OK:
      if (decoded.argv[0] == NULL || decoded.limit_count > LIMITS_MAX) {
        abort();
      }
      environment_value(decoded.env, "PATH");
      start_free(&decoded);
      break;
    case START_BAD:
      if (problem == NULL) {
        abort();
      }
      break;
    default:
      break;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  size_t taken = 0;
  struct frame frame;
  while (frame_parse(data + taken, size - taken, &frame) == FRAME_COMPLETE) {
    if (frame.payload + frame.length > data + size) {
      abort();
    }
    walk(&frame);
    start(frame.payload, frame.length);
    taken += FRAME_HEADER_BYTES + frame.length;
  }
  start(data, size);
  return 0;
}

#ifdef WITHOUT_LIBFUZZER
/* Where there is no clang: random bytes that are often nearly right. */
int main(void) {
  static uint8_t data[4096];
  uint64_t state = 88172645463325252;
  for (int round = 0; round < 300000; round++) {
    size_t size = 0;
    for (size_t wanted = round % sizeof data; size < wanted; size++) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      bool small = state >> 62 != 0;
      data[size] = small ? (uint8_t)(state >> 60 == 15 ? state >> 40 & 31 : 0) : (uint8_t)(state >> 32);
    }
    LLVMFuzzerTestOneInput(data, size);
  }
  return 0;
}
#endif
