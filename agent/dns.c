#include "dns.h"

#include <string.h>

enum { HEADER_BYTES = 12, LABEL_MAX = 63, TTL_SECONDS = 60 };
enum { TYPE_A = 1, TYPE_ANY = 255, CLASS_IN = 1, CLASS_ANY = 255 };
enum { FLAG_RESPONSE = 0x80, FLAG_RECURSION_DESIRED = 0x01, FLAG_RECURSION_AVAILABLE = 0x80, OPCODE = 0x78 };
enum { NO_ERROR = 0, FORMAT_ERROR = 1, SERVER_FAILURE = 2, NAME_ERROR = 3, NOT_IMPLEMENTED = 4 };

/* name: lower case, without the last dot, empty for the root.  end: behind the question in the query. */
struct question {
  char name[NAME_MAX_BYTES + 1];
  unsigned type, class;
  size_t end;
  bool odd; /* letters no host's name has */
};

static unsigned load_u16(const uint8_t *bytes) {
  return (unsigned)(bytes[0] << 8 | bytes[1]);
}

static void store_u16(uint8_t *bytes, unsigned value) {
  bytes[0] = (uint8_t)(value >> 8);
  bytes[1] = (uint8_t)value;
}

/* One letter of a name in lower case; 0 for one no host's name has. */
static char letter(uint8_t byte) {
  if (byte >= 'A' && byte <= 'Z') {
    return (char)(byte + 'a' - 'A');
  }
  bool usual = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '_';
  return usual ? (char)byte : '\0';
}

/* The one question of a query; false where it is none.  A question is not compressed. */
static bool read_question(const uint8_t *query, size_t size, struct question *question) {
  size_t at = HEADER_BYTES, length = 0;
  question->odd = false;
  for (;;) {
    if (at >= size) {
      return false;
    }
    size_t label = query[at++];
    if (label == 0) {
      break;
    }
    if (label > LABEL_MAX || size - at < label || length + (length != 0) + label > NAME_MAX_BYTES) {
      return false;
    }
    if (length != 0) {
      question->name[length++] = '.';
    }
    for (size_t i = 0; i < label; i++) {
      char usual = letter(query[at + i]);
      question->odd |= usual == '\0';
      question->name[length++] = usual != '\0' ? usual : '?';
    }
    at += label;
  }
  if (size - at < 4) {
    return false;
  }
  question->name[length] = '\0';
  question->type = load_u16(query + at);
  question->class = load_u16(query + at + 2);
  question->end = at + 4;
  return true;
}

/* Whether the name is `domain` or lies under it. */
static bool is_under(const char *name, const char *domain) {
  size_t length = strlen(name), tail = strlen(domain);
  return length >= tail && strcmp(name + length - tail, domain) == 0 && (length == tail || name[length - tail - 1] == '.');
}

/* The name's address; 0 with a code: none of this type, or no such name.  What exists in the world only the
   host can say, and says when the address is connected to. */
static uint32_t address_of(const struct question *question, struct names *names, unsigned *code) {
  *code = NO_ERROR;
  if (question->odd || is_under(question->name, "arpa") || is_under(question->name, "invalid")) {
    *code = NAME_ERROR;
    return 0;
  }
  bool of_type = question->type == TYPE_A || question->type == TYPE_ANY;
  bool of_class = question->class == CLASS_IN || question->class == CLASS_ANY;
  if (!of_type || !of_class || question->name[0] == '\0') {
    return 0;
  }
  if (is_under(question->name, "localhost")) {
    return 0x7f000001;
  }
  uint32_t address = names_address(names, question->name);
  *code = address != 0 ? NO_ERROR : SERVER_FAILURE;
  return address;
}

static size_t append_address(uint8_t *answer, size_t size, uint32_t address) {
  uint8_t *record = answer + size;
  store_u16(record, 0xc000 | HEADER_BYTES); /* the question's name */
  store_u16(record + 2, TYPE_A);
  store_u16(record + 4, CLASS_IN);
  store_u16(record + 6, 0);
  store_u16(record + 8, TTL_SECONDS);
  store_u16(record + 10, 4);
  store_u16(record + 12, address >> 16);
  store_u16(record + 14, address & 0xffff);
  return size + 16;
}

size_t dns_answer(const uint8_t *query, size_t size, struct names *names, uint8_t *answer) {
  if (size < HEADER_BYTES || size > DNS_QUERY_MAX || (query[2] & FLAG_RESPONSE) != 0) {
    return 0;
  }
  struct question question;
  unsigned code = NO_ERROR;
  uint32_t address = 0;
  size_t length = HEADER_BYTES;
  if ((query[2] & OPCODE) != 0) {
    code = NOT_IMPLEMENTED;
  } else if (load_u16(query + 4) != 1 || !read_question(query, size, &question)) {
    code = FORMAT_ERROR;
  } else {
    address = address_of(&question, names, &code);
    length = question.end;
  }
  memcpy(answer, query, length);
  answer[2] = (uint8_t)(FLAG_RESPONSE | (query[2] & (OPCODE | FLAG_RECURSION_DESIRED)));
  answer[3] = (uint8_t)(FLAG_RECURSION_AVAILABLE | code);
  store_u16(answer + 4, length > HEADER_BYTES);
  store_u16(answer + 6, address != 0);
  memset(answer + 8, 0, 4);
  return address != 0 ? append_address(answer, length, address) : length;
}
