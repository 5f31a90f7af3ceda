/* What the agent and the supervisor of an execution tell one another, over a SOCK_SEQPACKET pair. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum report_kind {
  REPORT_READY = 1,   /* warm: the supervisor stands and its program waits; `pid` is the program's */
  REPORT_STARTED,     /* `pid` runs (the build first, then the program) */
  REPORT_FAILED,      /* nothing ran: `stage` and `error` say why; the supervisor ends */
  REPORT_MAIN_ENDED,  /* the main process ended: `status` and its use; and all of REPORT_TREE_GONE if `tree_gone` */
  REPORT_TREE_GONE,   /* no descendant is left and the files are removed; the supervisor ends */
};

enum stage { STAGE_SPAWN, STAGE_CWD, STAGE_SOURCE, STAGE_SCRATCH, STAGE_MEMORY, STAGE_SPARE };

struct report {
  uint32_t kind;
  int32_t pid;
  int32_t status; /* as wait4 gives it */
  int32_t error;
  uint32_t stage;
  uint32_t build_failed;
  uint32_t tree_gone;
  uint64_t user_us, system_us, max_rss_bytes;
};

enum order_kind {
  ORDER_START = 1, /* warm: run what the START payload in the attached memory file says */
  ORDER_SIGNAL,    /* `signal` to the main process, or to it and every descendant if `tree` */
  ORDER_END,       /* end everything now */
};

struct order {
  uint32_t kind;
  int32_t signal;
  uint32_t tree;
  uint32_t payload_bytes;
};

enum { CONTROL_FDS_MAX = 4 };

/* 0, or -1 with errno; never blocks longer than the socket does. */
int control_send(int socket, const void *message, size_t size, const int *fds, size_t count);

/* Bytes, 0 at the end, -1 with errno.  `*fd` is -1 or a received descriptor the caller now owns;
   `*peer` (may be NULL) the kernel's word for who sent it. */
ssize_t control_receive(int socket, void *message, size_t size, int *fd, pid_t *peer);
