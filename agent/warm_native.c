/* The native half of the warm Python interpreter, as the agent carries it. */
#include "warm_native.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base.h"

__asm__(".section .rodata\n"
        ".balign 16\n"
        ".globl warm_native_begin\n"
        "warm_native_begin: .incbin \"" WARM_NATIVE "\"\n"
        ".globl warm_native_end\n"
        "warm_native_end: .byte 0\n"
        ".previous\n");

extern const uint8_t warm_native_begin[], warm_native_end[];

int warm_native_open(void) {
  cleanup_fd int file = memfd_create("vmpool-warm", MFD_CLOEXEC);
  if (file < 0 || write_all(file, warm_native_begin, (size_t)(warm_native_end - warm_native_begin)) != 0) {
    return -1;
  }
  return take_fd(&file);
}
