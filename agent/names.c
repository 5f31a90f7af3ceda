#include "names.h"

#include <stdlib.h>
#include <string.h>

struct name {
  uint64_t asked; /* by the table's clock */
  uint32_t address;
  uint32_t hash;
  char text[];
};

void names_init(struct names *names, uint32_t first, uint32_t count) {
  *names = (struct names){.first = first, .count = count};
}

void names_free(struct names *names) {
  for (size_t i = 0; i < names->used; i++) {
    free(names->table[i]);
  }
  free(names->table);
  names_init(names, names->first, names->count);
}

static uint32_t hash_of(const char *text) {
  uint32_t hash = 2166136261U;
  for (; *text != '\0'; text++) {
    hash = (hash ^ (uint8_t)*text) * 16777619U;
  }
  return hash;
}

/* Where the next name goes: a free place, else that of the one asked for longest ago. */
static struct name **place(struct names *names) {
  if (names->table == NULL) {
    names->table = calloc(NAMES_MAX, sizeof *names->table);
    if (names->table == NULL) {
      return NULL;
    }
  }
  if (names->used < NAMES_MAX) {
    return &names->table[names->used++];
  }
  struct name **oldest = &names->table[0];
  for (size_t i = 1; i < NAMES_MAX; i++) {
    if (names->table[i]->asked < (*oldest)->asked) {
      oldest = &names->table[i];
    }
  }
  return oldest;
}

/* The next address nobody has: there are many times more than names. */
static uint32_t fresh_address(struct names *names) {
  uint32_t address;
  do {
    address = names->first + names->given;
    names->given = names->given + 1 < names->count ? names->given + 1 : 0;
  } while (names_find(names, address) != NULL);
  return address;
}

uint32_t names_address(struct names *names, const char *name) {
  uint32_t hash = hash_of(name);
  for (size_t i = 0; i < names->used; i++) {
    struct name *known = names->table[i];
    if (known->hash == hash && strcmp(known->text, name) == 0) {
      known->asked = ++names->clock;
      return known->address;
    }
  }
  size_t size = strlen(name) + 1;
  struct name *fresh = malloc(sizeof *fresh + size);
  if (fresh == NULL) {
    return 0;
  }
  uint32_t address = fresh_address(names);
  struct name **where = place(names);
  if (where == NULL) {
    free(fresh);
    return 0;
  }
  *fresh = (struct name){.asked = ++names->clock, .address = address, .hash = hash};
  memcpy(fresh->text, name, size);
  free(*where);
  *where = fresh;
  return address;
}

const char *names_find(struct names *names, uint32_t address) {
  for (size_t i = 0; i < names->used; i++) {
    if (names->table[i]->address == address) {
      names->table[i]->asked = ++names->clock;
      return names->table[i]->text;
    }
  }
  return NULL;
}
