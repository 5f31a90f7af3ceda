/* `connect PATH`: what an engine's exec runs to reach an agent whose socket the host cannot open. */
#pragma once

/* Role: a carrier of bytes.  Parent: outside the VM.  Ends: when the agent closes, or when standard input ends
   and the agent has closed in turn.  Returns the exit status. */
int bridge_run(const char *path);
