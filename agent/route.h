/* The one thing the network of a VM needs a privilege for. */
#pragma once

/* In this process's network namespace: bring `lo` up, make every address the namespace's own, and let any user
   listen at any port.  0, or -1 with errno and `*failed` saying at what.

   Then whoever listens at a port of every address is reached by whoever connects to that port of any address
   whatever, and `getsockname` tells which.  Where there is IPv6 it is so too. */
int route_every_address_here(const char **failed);

/* The same in the network namespace `path` leads to; this process stays there.  EINVAL where that is the one it is
   in already: then `path` does not lead to a VM (any more), and every address of the host would be its own. */
int route_in_namespace(const char *path, const char **failed);
