/* The resolver's messages, pure.  Everything read is hostile. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "names.h"

enum { DNS_QUERY_MAX = 512, DNS_ANSWER_MAX = DNS_QUERY_MAX + 16 };

/* Answer a query into `answer` (of DNS_ANSWER_MAX bytes); its size, 0 for what deserves no answer. */
size_t dns_answer(const uint8_t *query, size_t size, struct names *names, uint8_t *answer);
