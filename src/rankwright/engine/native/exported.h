// What the shared library shows.
#pragma once
#include <stdlib.h>

#define EXPORTED extern "C" __attribute__((visibility("default")))

// Room for `count` floats at an address that vectors can be read from; null for lack of memory.
static inline float *floats(int64_t count) {
  const size_t bytes = ((size_t)(count > 0 ? count : 1) * sizeof(float) + 63) / 64 * 64;
  return (float *)aligned_alloc(64, bytes);
}
