/* Names of the world, for programs in a VM without one: every name is an address that stands for it. */
#pragma once

#include "agent.h"

struct resolver;

/* Answer at port 53, UDP and TCP; NULL with errno. */
struct resolver *resolver_open(struct agent *agent);
void resolver_close(struct resolver *resolver);

/* The name this address was handed out for, NULL if none; good until the next name is asked for. */
const char *resolver_name(struct resolver *resolver, uint32_t address);

void resolver_due(struct resolver *resolver, uint64_t now);
uint64_t resolver_next_due(const struct resolver *resolver);
