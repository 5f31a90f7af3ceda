/* The files an execution brings: its source text and its scratch directory. */
#pragma once

#include <stdint.h>

#include "start.h"

/* 0, or -1 with errno and `*stage` (enum stage); on failure nothing of it is left. */
int workspace_make(const struct start *start, uint32_t *stage);
void workspace_remove(const struct start *start);

/* Remove a file or a whole directory, never following a link. */
void remove_all(int directory, const char *name);
