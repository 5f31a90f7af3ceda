/* The pieces of a system call filter, for seccomp.c and guard.c. */
#pragma once

#include <stdint.h>

/* linux/filter.h, linux/seccomp.h and linux/audit.h, which a libc need not bring. */
struct instruction {
  uint16_t code;
  uint8_t if_true, if_false;
  uint32_t operand;
};
struct program {
  uint16_t length;
  struct instruction *instructions;
};
struct call {
  int number;
  uint32_t machine;
  uint64_t instruction_pointer;
  uint64_t arguments[6];
};

enum {
  LOAD = 0x20,       /* BPF_LD | BPF_W | BPF_ABS */
  JUMP_EQUAL = 0x15, /* BPF_JMP | BPF_JEQ | BPF_K */
  JUMP_ABOVE = 0x35, /* BPF_JMP | BPF_JGE | BPF_K */
  JUMP_BITS = 0x45,  /* BPF_JMP | BPF_JSET | BPF_K */
  RETURN = 0x06,     /* BPF_RET | BPF_K */
};

#define ALLOW 0x7fff0000U
#define REFUSE(error) (0x00050000U | (uint32_t)(error))

enum { FILTER_MODE = 2 };
