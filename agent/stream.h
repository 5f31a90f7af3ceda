/* The window of output of one stream: bytes between what the host has and what the program wrote. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "frame.h"

/* A frame is small against the window, so that connections that break early still bring something over. */
enum { OUTPUT_FRAME_BYTES = 8192 };

enum { CHUNK_BYTES = 32768, CHUNKS_MAX = 2048, CHUNKS_KEPT = 32 };

struct chunk;

/* All output of all executions comes from here.  Above CHUNKS_MAX (64 MiB) a stream gets a further chunk only
   if it has none, so that no execution can starve another. */
struct chunk_pool {
  struct chunk *kept;
  unsigned kept_count;
  unsigned used;
};

struct stream {
  struct chunk *head, *tail;
  uint64_t base; /* acknowledged up to here; offset of nothing earlier is kept */
  uint64_t sent; /* handed to the attached connection */
  uint64_t end;  /* read from the program */
};

enum fill_result { FILL_SOME, FILL_NOTHING_NOW, FILL_END, FILL_FULL };

/* Read once from the program's pipe. */
enum fill_result stream_fill(struct stream *stream, struct chunk_pool *pool, int fd);

/* Append a run of unsent bytes as one OUTPUT frame; false if there are none. */
bool stream_emit(struct stream *stream, struct bytes *out, enum stream_number number, uint64_t channel);

/* Forget up to `offset`; beyond what was sent counts as what was sent. */
void stream_acknowledge(struct stream *stream, struct chunk_pool *pool, uint64_t offset);

/* Send again from `offset`; false if that is acknowledged already or not written yet. */
bool stream_rewind(struct stream *stream, uint64_t offset);

void stream_drop(struct stream *stream, struct chunk_pool *pool);
