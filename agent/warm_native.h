/* What an interpreter is given that its own language cannot do. */
#pragma once

/* A file in memory with the extension module for Python (native/warm_python.c), or -1. */
int warm_native_open(void);
