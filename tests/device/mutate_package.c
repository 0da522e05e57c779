/* Parses damaged copies of a package, with size and checksums made right again, and touches all that a session would:
 * built with the address sanitizer, any read outside the bytes ends it. Prints how many were accepted and refused. */
#include "act_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long accepted, refused;
static volatile unsigned sink;

static void touch(const void *data, uint64_t size) {
  const unsigned char *bytes = data;
  for (uint64_t i = 0; i < size; i++) sink += bytes[i];
}

static void use(const act_package *package) {
  touch(act_package_verification_input(package), act_package_input_bytes(package));
  touch(act_package_verification_output(package), act_package_output_bytes(package));
  for (uint32_t i = 0; i < package->header.buffer_count; i++) {
    const act_file_buffer *buffer = &package->buffers[i];
    if (buffer->role == ACT_ROLE_WEIGHT)
      touch(package->data + package->sections[ACT_SECTION_WEIGHTS].offset + buffer->offset, buffer->size_bytes);
    else if (buffer->offset + buffer->size_bytes > act_package_arena_bytes(package))
      abort();
  }
  for (uint32_t i = 0; i < package->header.kernel_count; i++)
    sink += (unsigned)(strlen(package->kernels[i].name.text) + strlen(package->kernels[i].options.text));
  for (uint32_t i = 0; i < package->header.kernel_count; i++)
    touch(package->kernels[i].program, package->kernels[i].program_size);
  for (uint32_t i = 0; i < package->header.step_count; i++) {
    const act_file_step *step = &package->steps[i];
    sink += (unsigned)strlen(act_package_step_operator(package, i)) + (unsigned)package->kernels[step->kernel].name.length;
    for (uint32_t j = 0; j < step->argument_count; j++)
      sink += package->buffers[package->arguments[step->first_argument + j]].role;
  }
  for (uint32_t i = 0; i < package->header.input_count + package->header.output_count; i++)
    sink += package->buffers[package->io[i]].role;
  sink += (unsigned)strlen(act_package_target(package));
}

/* Parses exactly `size` bytes in an allocation of their own, so that one byte further is an error. */
static void try_bytes(const unsigned char *data, size_t size) {
  act_error error;
  act_package *package;
  unsigned char *copy = malloc(size > 0 ? size : 1);
  memcpy(copy, data, size);
  if (size >= sizeof(act_file_header)) {
    act_file_header header;
    memcpy(&header, copy, sizeof header);
    header.file_bytes = size;
    header.body_crc32 = act_crc32(0, copy + sizeof header, size - sizeof header);
    memcpy(copy, &header, sizeof header);
    header.header_crc32 = act_crc32(0, copy, offsetof(act_file_header, header_crc32));
    memcpy(copy, &header, sizeof header);
  }
  if (act_package_parse(copy, size, &package, &error) == ACT_OK) {
    use(package);
    accepted++;
  } else {
    refused++;
  }
  act_package_free(package);
  free(copy);
}

int main(int count, char **values) {
  static const uint64_t nasty[] = {0,          1,          0x7f,       0xff,       0xffff,     0x10000,    0x7fffffff,
                                   0x80000000, 0xffffffff, 0xfffffff0, UINT64_MAX, UINT64_MAX - 63, UINT64_MAX / 2 + 1};
  FILE *file = count == 2 ? fopen(values[1], "rb") : NULL;
  if (file == NULL) return 2;
  static unsigned char data[1 << 20];
  size_t size = fread(data, 1, sizeof data, file);
  fclose(file);
  act_package *package;
  act_error error;
  if (act_package_parse(data, size, &package, &error) != ACT_OK) return 3;
  size_t weights = package->sections[ACT_SECTION_WEIGHTS].offset;
  act_package_free(package);
  for (size_t length = 0; length <= size; length++) try_bytes(data, length); /* cut short */
  for (size_t position = 0; position < weights; position++) {
    for (int bit = 0; bit < 8; bit++) {
      data[position] ^= (unsigned char)(1 << bit);
      try_bytes(data, size);
      data[position] ^= (unsigned char)(1 << bit);
    }
  }
  for (size_t position = 0; position + 8 <= weights; position += 4)
    for (size_t i = 0; i < sizeof nasty / sizeof *nasty; i++)
      for (size_t width = 4; width <= 8; width += 4) { /* little-endian: the low bytes come first */
        unsigned char kept[8];
        memcpy(kept, data + position, 8);
        memcpy(data + position, &nasty[i], width);
        try_bytes(data, size);
        memcpy(data + position, kept, 8);
      }
  printf("%lu %lu\n", accepted, refused);
  return 0;
}
