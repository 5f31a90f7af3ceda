/* Which system calls nobody in a VM may make. */
#pragma once

/* Binds this process and all it will ever start, once and for all; 0 or -1 with errno. */
int seccomp_apply(void);
