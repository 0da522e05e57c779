/* A GPU library that computes nothing and believes nothing: it aborts where a driver might reboot the phone, fails the
 * call that it is told to fail, and counts what it has given away. */
#ifndef STUB_GPU_H
#define STUB_GPU_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  uint32_t fail_at; /* the call that fails, from 1; 0: none */
  uint32_t calls;   /* made so far that could fail */
  long live;        /* objects not given back */
  const unsigned char *outputs; /* what networks compute */
  size_t output_bytes, position;
} stub_state;

extern stub_state stub;

static inline int stub_fails(void) { return ++stub.calls == stub.fail_at; }
static inline int stub_has_failed(void) { return stub.fail_at > 0 && stub.calls >= stub.fail_at; }

#define STUB_CHECK(condition)                                                        \
  do {                                                                               \
    if (!(condition)) {                                                              \
      fprintf(stderr, "stub GPU: %s: not true: %s\n", __func__, #condition);         \
      abort();                                                                       \
    }                                                                                \
  } while (0)

/* Reads every byte, so that a sanitizer sees each. */
static inline void stub_read(const void *data, size_t size) {
  static volatile unsigned sink;
  const unsigned char *bytes = data;
  for (size_t i = 0; i < size; i++) sink += bytes[i];
}

enum { STUB_ALIGNMENT = 128, STUB_MAX_GROUP = 256, STUB_LOCAL_MEMORY = 32768, STUB_MAX_IMAGE = 1024 };
#define STUB_MAX_ALLOCATION ((uint64_t)1 << 30)
#define STUB_GLOBAL_MEMORY ((uint64_t)3 << 30)

#endif
