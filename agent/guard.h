/* Process 1 cannot be killed or stopped from inside, on any kernel.  0, or -1 with errno; wants no_new_privs. */
#pragma once

int guard_apply(void);
