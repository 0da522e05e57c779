/* Shared by the runtime's own files. */
#ifndef ACT_INTERNAL_H
#define ACT_INTERNAL_H

#include "act_package.h"
#include "act_runtime.h"
#include "act_spirv.h"

typedef struct {
  const char *text; /* zero-terminated, inside the file's bytes */
  size_t length;
} act_text;

typedef struct {
  act_text name, options;
  const unsigned char *program; /* OpenCL C with a zero behind it, or SPIR-V */
  size_t program_size;
  act_spirv_interface interface; /* of SPIR-V */
} act_kernel;

struct act_package {
  unsigned char *data; /* the whole file */
  size_t size;
  act_file_header header;
  act_file_section sections[ACT_SECTION_COUNT];
  act_file_buffer *buffers;
  act_kernel *kernels;
  act_file_step *steps;
  act_text *operators; /* one for each step */
  uint32_t *arguments;
  uint32_t *io; /* inputs, then outputs */
  act_text target;
  size_t input_bytes, output_bytes;
  uint64_t program_bytes; /* of all kernels checked so far */
};

/* Fills `error` and returns `status`. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
act_status act_fail(act_error *error, act_status status, const char *format, ...);

uint32_t act_crc32(uint32_t crc, const void *data, size_t size);
double act_now_ms(void);

/* Held while a graphics library is opened, which all sessions share. */
void act_lock(void);
void act_unlock(void);

#endif
