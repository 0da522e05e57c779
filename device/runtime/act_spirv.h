/* What a SPIR-V program says of itself, read before any driver sees it. */
#ifndef ACT_SPIRV_H
#define ACT_SPIRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Arguments of a kernel, and bindings: the second half are arguments once more, as texels of four values. */
enum { ACT_SPIRV_MAX_BINDINGS = 128, ACT_SPIRV_ALL_BINDINGS = 2 * ACT_SPIRV_MAX_BINDINGS };

/* What a binding is: nothing, a storage buffer, or a uniform texel buffer. */
typedef enum { ACT_UNBOUND, ACT_STORAGE, ACT_FLOAT_TEXELS, ACT_INT_TEXELS } act_bound;

typedef struct {
  uint32_t local_size[3];
  uint32_t bindings; /* arguments, each with a binding or two of descriptor set 0 */
  act_bound bound[ACT_SPIRV_ALL_BINDINGS];
  bool read_only[ACT_SPIRV_MAX_BINDINGS];
  uint64_t shared_bytes;
  bool half_storage; /* buffers of 16-bit floats */
} act_spirv_interface;

/* Reads the interface of one compute program with the entry point `main`. NULL if it is a program that the runtime can
 * run, else why not. `data` need not be aligned. */
const char *act_spirv_read(const unsigned char *data, size_t size, act_spirv_interface *result);

#endif
