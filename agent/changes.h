/* Changes below a directory, told as they happen, over a connection of their own: inotify(7). */
#pragma once

#include "agent.h"

struct changes;

/* Begin to watch.  On a connection with nothing else under way; FILE_WATCHING follows once all is watched. */
void changes_begin(struct connection *connection, const struct frame *frame);

/* One bounded piece of what is to be done; called whenever the connection is flushed and has room. */
void changes_step(struct changes *changes);

/* Be woken for the next: at once while there is something to look through, else when something happens.
   False when the kernel has no memory for it. */
bool changes_wait(struct changes *changes);

/* Stop; NULL is none. */
void changes_end(struct changes *changes);
