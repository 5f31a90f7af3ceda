#include "stream.h"

#include <errno.h>
#include <sys/mman.h>

#include "base.h"

/* `begin` is the stream offset of data[0]. */
struct chunk {
  struct chunk *next;
  uint64_t begin;
  uint32_t used;
  uint8_t data[CHUNK_BYTES - sizeof(struct chunk *) - sizeof(uint64_t) - sizeof(uint32_t) - 4];
};

/* Not in a supervisor's copy: a fork stays cheap and a program's peak memory its own. */
static struct chunk *take_chunk(struct chunk_pool *pool) {
  struct chunk *chunk = pool->kept;
  if (chunk != NULL) {
    pool->kept = chunk->next;
    pool->kept_count--;
  } else {
    chunk = mmap(NULL, sizeof *chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (chunk == MAP_FAILED) {
      return NULL;
    }
    madvise(chunk, sizeof *chunk, MADV_DONTFORK);
  }
  pool->used++;
  chunk->next = NULL;
  chunk->used = 0;
  return chunk;
}

static void give_chunk(struct chunk_pool *pool, struct chunk *chunk) {
  pool->used--;
  if (pool->kept_count < CHUNKS_KEPT) {
    chunk->next = pool->kept;
    pool->kept = chunk;
    pool->kept_count++;
  } else {
    munmap(chunk, sizeof *chunk);
  }
}

/* The chunk with room, making one if allowed. */
static struct chunk *room(struct stream *stream, struct chunk_pool *pool) {
  struct chunk *tail = stream->tail;
  if (tail != NULL && tail->used < sizeof tail->data) {
    return tail;
  }
  if (tail != NULL && pool->used >= CHUNKS_MAX) {
    return NULL;
  }
  struct chunk *chunk = take_chunk(pool);
  if (chunk == NULL) {
    return NULL;
  }
  chunk->begin = stream->end;
  if (tail == NULL) {
    stream->head = chunk;
  } else {
    tail->next = chunk;
  }
  stream->tail = chunk;
  return chunk;
}

enum fill_result stream_fill(struct stream *stream, struct chunk_pool *pool, int fd) {
  uint64_t free_window = WINDOW_BYTES - (stream->end - stream->base);
  struct chunk *chunk = free_window ? room(stream, pool) : NULL;
  if (chunk == NULL) {
    return FILL_FULL;
  }
  size_t most = sizeof chunk->data - chunk->used;
  ssize_t got = read_some(fd, chunk->data + chunk->used, most < free_window ? most : (size_t)free_window);
  if (got > 0) {
    chunk->used += (uint32_t)got;
    stream->end += (uint64_t)got;
    return FILL_SOME;
  }
  return got < 0 && errno == EAGAIN ? FILL_NOTHING_NOW : FILL_END;
}

bool stream_emit(struct stream *stream, struct bytes *out, enum stream_number number, uint64_t channel) {
  if (stream->sent == stream->end) {
    return false;
  }
  const struct chunk *chunk = stream->head;
  while (chunk->begin + chunk->used <= stream->sent) {
    chunk = chunk->next;
  }
  size_t from = (size_t)(stream->sent - chunk->begin);
  size_t size = chunk->used - from < OUTPUT_FRAME_BYTES ? chunk->used - from : OUTPUT_FRAME_BYTES;
  message_raw(out, MESSAGE_OUTPUT, number, channel, stream->sent, size);
  bytes_append(out, chunk->data + from, size);
  stream->sent += size;
  return true;
}

void stream_acknowledge(struct stream *stream, struct chunk_pool *pool, uint64_t offset) {
  if (offset > stream->sent) {
    offset = stream->sent;
  }
  if (offset <= stream->base) {
    return;
  }
  stream->base = offset;
  while (stream->head != NULL && stream->head->begin + stream->head->used <= offset) {
    struct chunk *chunk = stream->head;
    stream->head = chunk->next;
    give_chunk(pool, chunk);
  }
  if (stream->head == NULL) {
    stream->tail = NULL;
  }
}

bool stream_rewind(struct stream *stream, uint64_t offset) {
  if (offset < stream->base || offset > stream->end) {
    return false;
  }
  stream->sent = offset;
  return true;
}

void stream_drop(struct stream *stream, struct chunk_pool *pool) {
  while (stream->head != NULL) {
    struct chunk *chunk = stream->head;
    stream->head = chunk->next;
    give_chunk(pool, chunk);
  }
  stream->tail = NULL;
  stream->base = stream->sent = stream->end;
}
