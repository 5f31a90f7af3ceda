/* libFuzzer on the resolver: hostile bytes as queries, over names that stay. */
#include <stdlib.h>
#include <string.h>

#include "dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct names names;

/* What is said must be an answer to what was asked, and its address lead back to a name. */
static void check(const uint8_t *query, const uint8_t *answer, size_t size) {
  if (size < 12 || size > DNS_ANSWER_MAX || memcmp(query, answer, 2) != 0 || (answer[2] & 0x80) == 0) {
    abort();
  }
  if (answer[7] == 0) {
    return;
  }
  const uint8_t *last = answer + size - 4;
  uint32_t address = (uint32_t)last[0] << 24 | (uint32_t)last[1] << 16 | (uint32_t)last[2] << 8 | last[3];
  const char *name = names_find(&names, address);
  if (address != 0x7f000001 && (name == NULL || strlen(name) > NAME_MAX_BYTES)) {
    abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (names.count == 0) {
    names_init(&names, 0xc6120002, 4000);
  }
  uint8_t *query = malloc(size + 1); /* of its exact size, so that a byte too far is seen */
  uint8_t answer[DNS_ANSWER_MAX];
  if (query == NULL) {
    return 0;
  }
  query = realloc(query, size > 0 ? size : 1);
  memcpy(query, data, size);
  size_t answered = dns_answer(query, size, &names, answer);
  if (answered != 0) {
    check(query, answer, answered);
  }
  free(query);
  return 0;
}

#ifdef WITHOUT_LIBFUZZER
/* Where there is no clang: a query, with some bytes changed. */
int main(void) {
  static const uint8_t begin[] = "\0\1\1\0\0\1\0\0\0\0\0\0\3www\7example\3org\0\0\1\0\1";
  uint64_t state = 88172645463325252;
  for (int round = 0; round < 1000000; round++) {
    uint8_t data[sizeof begin - 1];
    memcpy(data, begin, sizeof data);
    for (int i = 0; i < round % 8; i++) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      data[state % sizeof data] = (uint8_t)(state >> 32);
    }
    LLVMFuzzerTestOneInput(data, round % 3 == 0 ? state % sizeof data : sizeof data);
  }
  return 0;
}
#endif
