#include "watched.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 16 };

static bool reserve(void **array, size_t *capacity, size_t count, size_t size) {
  if (count < *capacity) {
    return true;
  }
  size_t wanted = *capacity != 0 ? *capacity * 2 : FIRST_CAPACITY;
  void *grown = realloc(*array, wanted * size);
  if (grown == NULL) {
    return false;
  }
  *array = grown;
  *capacity = wanted;
  return true;
}

/* Where the descriptor is, or where it belongs. */
static size_t place_of(const struct watched *watched, int descriptor) {
  size_t low = 0, high = watched->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (watched->directories[middle].descriptor < descriptor) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static bool is_at(const struct watched *watched, size_t place, int descriptor) {
  return place < watched->count && watched->directories[place].descriptor == descriptor;
}

const char *watched_path(const struct watched *watched, int descriptor) {
  size_t place = place_of(watched, descriptor);
  return is_at(watched, place, descriptor) ? watched->directories[place].path : NULL;
}

/* A path of our own, counted; NULL past the bound. */
static char *own_path(struct watched *watched, const char *path) {
  size_t bytes = strlen(path) + 1;
  char *own = watched->path_bytes + bytes <= WATCHED_PATH_BYTES_MAX ? strdup(path) : NULL;
  watched->path_bytes += own != NULL ? bytes : 0;
  return own;
}

static void disown(struct watched *watched, const char *path) {
  watched->path_bytes -= strlen(path) + 1;
}

static void drop_path(struct watched *watched, char *path) {
  disown(watched, path);
  free(path);
}

bool watched_set(struct watched *watched, int descriptor, const char *path) {
  size_t place = place_of(watched, descriptor);
  bool known = is_at(watched, place, descriptor);
  if (!known && (watched->count == WATCHED_MAX || !reserve((void **)&watched->directories, &watched->capacity,
                                                           watched->count, sizeof *watched->directories))) {
    return false;
  }
  char *own = own_path(watched, path);
  if (own == NULL) {
    return false;
  }
  struct watched_directory *at = watched->directories + place;
  if (known) {
    drop_path(watched, at->path);
  } else {
    memmove(at + 1, at, (watched->count - place) * sizeof *at);
    watched->count++;
  }
  *at = (struct watched_directory){.descriptor = descriptor, .path = own};
  return true;
}

static void remove_at(struct watched *watched, size_t place) {
  struct watched_directory *at = watched->directories + place;
  drop_path(watched, at->path);
  watched->count--;
  memmove(at, at + 1, (watched->count - place) * sizeof *at);
}

void watched_remove(struct watched *watched, int descriptor) {
  size_t place = place_of(watched, descriptor);
  if (is_at(watched, place, descriptor)) {
    remove_at(watched, place);
  }
}

/* What follows `directory` in a path at or below it; NULL for one elsewhere. */
static const char *rest_below(const char *path, const char *directory) {
  size_t length = strlen(directory);
  bool below = strncmp(path, directory, length) == 0 && (path[length] == '\0' || path[length] == '/');
  return below ? path + length : NULL;
}

int watched_take_below(struct watched *watched, const char *path) {
  for (size_t place = watched->count; place-- > 0;) {
    if (rest_below(watched->directories[place].path, path) != NULL) {
      int descriptor = watched->directories[place].descriptor;
      remove_at(watched, place);
      return descriptor;
    }
  }
  return -1;
}

/* 1 moved, 0 it lies elsewhere, -1 no memory. */
static int move_one(struct watched *watched, char **path, const char *from, const char *to) {
  const char *rest = rest_below(*path, from);
  if (rest == NULL) {
    return 0;
  }
  char *moved = NULL;
  if (asprintf(&moved, "%s%s", to, rest) < 0) {
    return -1;
  }
  watched->path_bytes += strlen(moved) + 1;
  drop_path(watched, *path);
  *path = moved;
  return 1;
}

bool watched_move(struct watched *watched, const char *from, const char *to, bool *found) {
  bool complete = true;
  *found = false;
  for (size_t i = 0; i < watched->count; i++) {
    int result = move_one(watched, &watched->directories[i].path, from, to);
    *found |= result > 0;
    complete &= result >= 0;
  }
  for (size_t i = 0; i < watched->pending_count; i++) {
    int result = move_one(watched, &watched->pending[i].path, from, to);
    *found |= result > 0;
    complete &= result >= 0;
  }
  return complete;
}

bool watched_push(struct watched *watched, const char *path, bool told) {
  if (!reserve((void **)&watched->pending, &watched->pending_capacity, watched->pending_count,
               sizeof *watched->pending)) {
    return false;
  }
  char *own = own_path(watched, path);
  if (own == NULL) {
    return false;
  }
  watched->pending[watched->pending_count++] = (struct watched_pending){.path = own, .told = told};
  return true;
}

bool watched_pop(struct watched *watched, struct watched_pending *pending) {
  if (watched->pending_count == 0) {
    return false;
  }
  *pending = watched->pending[--watched->pending_count];
  disown(watched, pending->path);
  return true;
}

void watched_free(struct watched *watched) {
  for (size_t i = 0; i < watched->count; i++) {
    free(watched->directories[i].path);
  }
  for (size_t i = 0; i < watched->pending_count; i++) {
    free(watched->pending[i].path);
  }
  free(watched->directories);
  free(watched->pending);
  *watched = (struct watched){0};
}

char *watched_join(const char *directory, const char *name) {
  char *joined = NULL;
  int written = directory[0] == '\0' ? asprintf(&joined, "%s", name) : asprintf(&joined, "%s/%s", directory, name);
  return written < 0 ? NULL : joined;
}
