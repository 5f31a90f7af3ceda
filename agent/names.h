/* Addresses that stand for names.  An address is not given to a second name before all others were. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NAMES_MAX = 2048, NAME_MAX_BYTES = 253 };

struct name;

/* `first` and `count`: the range of addresses, in host order. */
struct names {
  uint32_t first, count, given;
  struct name **table; /* NAMES_MAX once the first name was asked for */
  size_t used;
  uint64_t clock;
};

void names_init(struct names *names, uint32_t first, uint32_t count);
void names_free(struct names *names);

/* The address that stands for `name`; 0 when there is no memory.  The name asked for longest ago is forgotten
   for it when there are NAMES_MAX. */
uint32_t names_address(struct names *names, const char *name);

/* NULL if none is known. */
const char *names_find(struct names *names, uint32_t address);
