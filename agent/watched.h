/* Which directory each descriptor of an inotify instance means, and which are still to be looked through. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Both arrays own their paths, which are relative to what is watched; "" is that itself. */
struct watched {
  struct watched_directory {
    int descriptor;
    char *path;
  } *directories; /* by descriptor */
  size_t count, capacity;
  struct watched_pending {
    char *path;
    bool told; /* what is found in it is news */
  } *pending; /* last first */
  size_t pending_count, pending_capacity;
  size_t path_bytes; /* of both */
};

/* Everything below that returns false found no memory, or the bound reached. */
enum { WATCHED_MAX = 8192, WATCHED_PATH_BYTES_MAX = 4194304 };

/* The path a descriptor means, or NULL. */
const char *watched_path(const struct watched *watched, int descriptor);
/* A descriptor means this path from now on. */
bool watched_set(struct watched *watched, int descriptor, const char *path);
void watched_remove(struct watched *watched, int descriptor);

/* Take any one that lies at or below `path`: its descriptor, or -1. */
int watched_take_below(struct watched *watched, const char *path);
/* What lay at or below `from` lies below `to`; `*found`: whether there was any.  */
bool watched_move(struct watched *watched, const char *from, const char *to, bool *found);

bool watched_push(struct watched *watched, const char *path, bool told);
/* The caller owns its path; false where there is none. */
bool watched_pop(struct watched *watched, struct watched_pending *pending);

void watched_free(struct watched *watched);

/* directory/name, or name alone where the directory is ""; owned by the caller, NULL without memory. */
char *watched_join(const char *directory, const char *name);
