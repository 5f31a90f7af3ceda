/* Unit tests of the resolver's messages and of the names behind its addresses. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "dns.h"

enum { FIRST = 0xc6120002 };

/* A query for `name` as it is written with lengths ("\3www\0" needs its end), of `type`. */
static size_t query_of(uint8_t *query, const char *name, size_t name_size, unsigned type) {
  static const uint8_t header[12] = {0xab, 0xcd, 1, 0, 0, 1};
  memcpy(query, header, sizeof header);
  memcpy(query + 12, name, name_size);
  const uint8_t tail[4] = {(uint8_t)(type >> 8), (uint8_t)type, 0, 1};
  memcpy(query + 12 + name_size, tail, sizeof tail);
  return 12 + name_size + sizeof tail;
}

#define NAMED(text) text, sizeof text /* with the zero that ends it */

static uint32_t address_in(const uint8_t *answer, size_t size) {
  const uint8_t *last = answer + size - 4;
  return (uint32_t)last[0] << 24 | (uint32_t)last[1] << 16 | (uint32_t)last[2] << 8 | last[3];
}

static void a_name_has_an_address_that_leads_back(void) {
  struct names names;
  uint8_t query[DNS_QUERY_MAX], answer[DNS_ANSWER_MAX];
  names_init(&names, FIRST, 1000);
  size_t size = dns_answer(query, query_of(query, NAMED("\3WWW\7Example\3org"), 1), &names, answer);
  assert(answer[0] == 0xab && answer[1] == 0xcd && answer[2] == 0x81 && answer[3] == 0x80 && answer[7] == 1);
  assert(memcmp(answer + 12, query + 12, 21) == 0); /* in the letters it was asked in */
  assert(strcmp(names_find(&names, address_in(answer, size)), "www.example.org") == 0);
  uint32_t before = address_in(answer, size);
  size = dns_answer(query, query_of(query, NAMED("\3www\7example\3ORG"), 1), &names, answer);
  assert(address_in(answer, size) == before);
  names_free(&names);
}

static void other_types_have_no_records(void) {
  struct names names;
  uint8_t query[DNS_QUERY_MAX], answer[DNS_ANSWER_MAX];
  names_init(&names, FIRST, 1000);
  static const unsigned types[] = {2, 15, 16, 28, 33, 65};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    size_t asked = query_of(query, NAMED("\7example\3org"), types[i]);
    assert(dns_answer(query, asked, &names, answer) == asked);
    assert(answer[3] == 0x80 && answer[7] == 0);
  }
  assert(names.used == 0);
}

static void some_names_are_not_of_the_world(void) {
  struct names names;
  uint8_t query[DNS_QUERY_MAX], answer[DNS_ANSWER_MAX];
  names_init(&names, FIRST, 1000);
  size_t size = dns_answer(query, query_of(query, NAMED("\3any\11localhost"), 1), &names, answer);
  assert(address_in(answer, size) == 0x7f000001);
  dns_answer(query, query_of(query, NAMED("\1""1\1""0\2""18\3""198\7in-addr\4arpa"), 12), &names, answer);
  assert((answer[3] & 15) == 3);
  dns_answer(query, query_of(query, NAMED("\6a name\3org"), 1), &names, answer);
  assert((answer[3] & 15) == 3);
  assert(names.used == 0);
}

static void what_is_no_query_is_refused(void) {
  struct names names;
  uint8_t query[DNS_QUERY_MAX], answer[DNS_ANSWER_MAX];
  names_init(&names, FIRST, 1000);
  size_t size = query_of(query, NAMED("\3www\7example\3org"), 1);
  for (size_t part = 0; part < size; part++) {
    assert(dns_answer(query, part, &names, answer) == (part < 12 ? 0 : 12));
    assert(part < 12 || (answer[3] & 15) == 1);
  }
  query[12] = 0xc0; /* a pointer */
  assert(dns_answer(query, size, &names, answer) == 12);
  query[2] |= 0x80; /* an answer */
  assert(dns_answer(query, size, &names, answer) == 0);
  assert(names.used == 0);
}

static void the_name_asked_for_longest_ago_goes_first(void) {
  struct names names;
  char name[32];
  names_init(&names, FIRST, NAMES_MAX + 500);
  uint32_t first = names_address(&names, "first"), second = names_address(&names, "second");
  for (int i = 0; i < NAMES_MAX - 1; i++) {
    assert(names_find(&names, first) != NULL); /* looked up, it is young again */
    snprintf(name, sizeof name, "name%d", i);
    assert(names_address(&names, name) >= FIRST);
  }
  assert(names.used == NAMES_MAX);
  assert(strcmp(names_find(&names, first), "first") == 0);
  assert(names_find(&names, second) == NULL);
  for (int i = 0; i < 2000; i++) { /* past the end of the range: no address has two names */
    snprintf(name, sizeof name, "more%d", i);
    uint32_t address = names_address(&names, name);
    assert(strcmp(names_find(&names, address), name) == 0);
    assert(strcmp(names_find(&names, first), "first") == 0);
  }
  names_free(&names);
}

int main(void) {
  a_name_has_an_address_that_leads_back();
  other_types_have_no_records();
  some_names_are_not_of_the_world();
  what_is_no_query_is_refused();
  the_name_asked_for_longest_ago_goes_first();
  puts("ok");
  return 0;
}
