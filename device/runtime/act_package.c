/* Loads model.actpkg and checks all of it before anything is used: see check_all. */
#include "act_internal.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether [offset, offset + size) lies in [0, limit), without overflow. */
static bool in_range(uint64_t offset, uint64_t size, uint64_t limit) {
  return offset <= limit && size <= limit - offset;
}

static bool multiply(uint64_t a, uint64_t b, uint64_t *product) {
  if (a != 0 && b > UINT64_MAX / a) return false;
  *product = a * b;
  return true;
}

static const unsigned char *section(const act_package *package, unsigned index) {
  return package->data + package->sections[index].offset;
}

/* A text of the string table, which must end with a zero and hold no other. */
static bool get_text(const act_package *package, uint32_t offset, uint32_t length, act_text *text) {
  const act_file_section *pool = &package->sections[ACT_SECTION_STRINGS];
  if (length > ACT_MAX_TEXT_BYTES || !in_range(offset, (uint64_t)length + 1, pool->size)) return false;
  text->text = (const char *)section(package, ACT_SECTION_STRINGS) + offset;
  text->length = length;
  return text->text[length] == 0 && memchr(text->text, 0, length) == NULL;
}

static act_status check_header(act_package *package, act_error *error) {
  static const unsigned char magic[8] = ACT_MAGIC_BYTES;
  if (package->size < sizeof magic || memcmp(package->data, magic, sizeof magic) != 0)
    return act_fail(error, ACT_ERROR_PACKAGE, "not a package: wrong first bytes");
  if (package->size < sizeof package->header)
    return act_fail(error, ACT_ERROR_PACKAGE, "cut short: %zu bytes, the header alone has %zu", package->size,
                    sizeof package->header);
  memcpy(&package->header, package->data, sizeof package->header);
  const act_file_header *header = &package->header;
  if (header->version != ACT_FORMAT_VERSION)
    return act_fail(error, ACT_ERROR_PACKAGE, "format version %u, this runtime reads %u", header->version,
                    ACT_FORMAT_VERSION);
  if (act_crc32(0, package->data, offsetof(act_file_header, header_crc32)) != header->header_crc32)
    return act_fail(error, ACT_ERROR_PACKAGE, "altered: the header's checksum does not match");
  if (header->file_bytes != package->size)
    return act_fail(error, ACT_ERROR_PACKAGE, "cut short or grown: %zu bytes, the header says %llu", package->size,
                    (unsigned long long)header->file_bytes);
  if (act_crc32(0, package->data + sizeof *header, package->size - sizeof *header) != header->body_crc32)
    return act_fail(error, ACT_ERROR_PACKAGE, "altered: the contents' checksum does not match");
  if (header->header_bytes != sizeof *header ||
      (header->backend != ACT_BACKEND_OPENCL && header->backend != ACT_BACKEND_VULKAN))
    return act_fail(error, ACT_ERROR_PACKAGE, "unknown header size %u or backend %u", header->header_bytes,
                    header->backend);
  return ACT_OK;
}

static act_status check_sections(act_package *package, act_error *error) {
  const act_file_header *header = &package->header;
  const uint32_t counts[] = {header->buffer_count, header->kernel_count, header->step_count, header->input_count,
                             header->output_count};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    uint32_t most = i < 3 ? ACT_MAX_RECORDS : ACT_MAX_IO;
    if (counts[i] < 1 || counts[i] > most)
      return act_fail(error, ACT_ERROR_PACKAGE, "a table has %u records, allowed are 1 to %u", counts[i], most);
  }
  uint64_t expected[ACT_SECTION_COUNT];
  memset(expected, 0xff, sizeof expected); /* all ones: any size */
  expected[ACT_SECTION_BUFFERS] = (uint64_t)header->buffer_count * sizeof(act_file_buffer);
  expected[ACT_SECTION_KERNELS] = (uint64_t)header->kernel_count * sizeof(act_file_kernel);
  expected[ACT_SECTION_STEPS] = (uint64_t)header->step_count * sizeof(act_file_step);
  expected[ACT_SECTION_ARGUMENTS] = (uint64_t)header->argument_count * sizeof(uint32_t);
  expected[ACT_SECTION_IO] = ((uint64_t)header->input_count + header->output_count) * sizeof(uint32_t);
  memcpy(package->sections, header->sections, sizeof package->sections);
  uint64_t end = sizeof *header;
  for (unsigned i = 0; i < ACT_SECTION_COUNT; i++) {
    const act_file_section *entry = &package->sections[i];
    if (entry->offset % ACT_SECTION_ALIGNMENT != 0 || entry->offset < end ||
        !in_range(entry->offset, entry->size, package->size))
      return act_fail(error, ACT_ERROR_PACKAGE, "section %u is outside the file or misplaced", i);
    if (expected[i] != UINT64_MAX && entry->size != expected[i])
      return act_fail(error, ACT_ERROR_PACKAGE, "section %u has %llu bytes, its count asks for %llu", i,
                      (unsigned long long)entry->size, (unsigned long long)expected[i]);
    end = entry->offset + entry->size;
  }
  if (package->sections[ACT_SECTION_METADATA].size > ACT_MAX_METADATA_BYTES)
    return act_fail(error, ACT_ERROR_PACKAGE, "its metadata is larger than %u bytes", ACT_MAX_METADATA_BYTES);
  if (!get_text(package, header->target_offset, header->target_length, &package->target))
    return act_fail(error, ACT_ERROR_PACKAGE, "the target's name is outside the string table");
  return ACT_OK;
}

/* A copy of a section as an array whose size check_sections has compared with its count; NULL when memory is short. */
static void *copy_section(const act_package *package, unsigned index) {
  size_t size = (size_t)package->sections[index].size;
  void *copy = malloc(size > 0 ? size : 1);
  if (copy != NULL) memcpy(copy, section(package, index), size);
  return copy;
}

static act_status copy_tables(act_package *package, act_error *error) {
  package->buffers = copy_section(package, ACT_SECTION_BUFFERS);
  package->steps = copy_section(package, ACT_SECTION_STEPS);
  package->arguments = copy_section(package, ACT_SECTION_ARGUMENTS);
  package->io = copy_section(package, ACT_SECTION_IO);
  package->kernels = calloc(package->header.kernel_count, sizeof *package->kernels);
  package->operators = calloc(package->header.step_count, sizeof *package->operators);
  if (!package->buffers || !package->steps || !package->arguments || !package->io || !package->kernels ||
      !package->operators)
    return act_fail(error, ACT_ERROR_MEMORY, "out of memory for the package's tables");
  return ACT_OK;
}

/* An image holds weights for OpenCL, in texels of float values: height, width, 4. */
static act_status check_image(const act_package *package, uint32_t index, act_error *error) {
  const act_file_buffer *buffer = &package->buffers[index];
  if (package->header.backend != ACT_BACKEND_OPENCL || buffer->role != ACT_ROLE_WEIGHT ||
      buffer->dtype == ACT_DTYPE_INT32 || buffer->rank != 3 || buffer->shape[2] != ACT_TEXEL_VALUES ||
      buffer->shape[0] > ACT_MAX_IMAGE_SIZE || buffer->shape[1] > ACT_MAX_IMAGE_SIZE)
    return act_fail(error, ACT_ERROR_PACKAGE, "buffer %u: an image that is not %u float values a texel of a weight, or "
                    "is larger than %u on a side", index, ACT_TEXEL_VALUES, ACT_MAX_IMAGE_SIZE);
  return ACT_OK;
}

static act_status check_buffer(const act_package *package, uint32_t index, act_error *error) {
  static const uint64_t sizes[] = ACT_DTYPE_SIZES;
  const act_file_buffer *buffer = &package->buffers[index];
  act_text name;
  if (!get_text(package, buffer->name_offset, buffer->name_length, &name))
    return act_fail(error, ACT_ERROR_PACKAGE, "buffer %u: its name is outside the string table", index);
  if (buffer->role > ACT_ROLE_ACTIVATION || buffer->dtype >= sizeof sizes / sizeof *sizes ||
      buffer->storage > ACT_STORAGE_IMAGE || buffer->rank > ACT_MAX_RANK)
    return act_fail(error, ACT_ERROR_PACKAGE, "buffer %u: unknown role %u, type %u, storage %u or rank %u", index,
                    buffer->role, buffer->dtype, buffer->storage, buffer->rank);
  uint64_t bytes = sizes[buffer->dtype];
  for (unsigned i = 0; i < buffer->rank; i++)
    if (buffer->shape[i] == 0 || !multiply(bytes, buffer->shape[i], &bytes))
      return act_fail(error, ACT_ERROR_PACKAGE, "buffer %u: its shape has a zero or overflows", index);
  if (bytes != buffer->size_bytes)
    return act_fail(error, ACT_ERROR_PACKAGE, "buffer %u: %llu bytes, its shape needs %llu", index,
                    (unsigned long long)buffer->size_bytes, (unsigned long long)bytes);
  uint64_t alignment = buffer->alignment;
  if (alignment == 0 || alignment > ACT_MAX_ALIGNMENT || (alignment & (alignment - 1)) != 0)
    return act_fail(error, ACT_ERROR_PACKAGE, "buffer %u: alignment %u is no power of two up to %u", index,
                    buffer->alignment, ACT_MAX_ALIGNMENT);
  bool weight = buffer->role == ACT_ROLE_WEIGHT;
  uint64_t limit = weight ? package->sections[ACT_SECTION_WEIGHTS].size : package->header.arena_bytes;
  if (buffer->offset % (weight ? sizes[buffer->dtype] : alignment) != 0 || !in_range(buffer->offset, bytes, limit))
    return act_fail(error, ACT_ERROR_PACKAGE, "buffer %u: offset %llu is misaligned or past the end (%llu bytes)",
                    index, (unsigned long long)buffer->offset, (unsigned long long)limit);
  return buffer->storage == ACT_STORAGE_IMAGE ? check_image(package, index, error) : ACT_OK;
}

/* A program starts at a multiple of four bytes: SPIR-V is words. OpenCL C ends with a zero and holds no other. Programs
 * share no bytes, so that the time to read them all is bounded by the file. */
static act_status check_program(act_package *package, const act_file_kernel *record, uint32_t index,
                                act_error *error) {
  const act_file_section *pool = &package->sections[ACT_SECTION_PROGRAMS];
  act_kernel *kernel = &package->kernels[index];
  bool is_text = package->header.backend == ACT_BACKEND_OPENCL;
  if (record->program_length == 0 || record->program_offset % 4 != 0 ||
      !in_range(record->program_offset, (uint64_t)record->program_length + is_text, pool->size))
    return act_fail(error, ACT_ERROR_PACKAGE, "kernel %u: its program is empty, misaligned, or outside its section",
                    index);
  if (record->program_length > pool->size - package->program_bytes)
    return act_fail(error, ACT_ERROR_PACKAGE, "kernel %u: the programs are longer than their section", index);
  package->program_bytes += record->program_length;
  kernel->program = section(package, ACT_SECTION_PROGRAMS) + record->program_offset;
  kernel->program_size = record->program_length;
  if (is_text) {
    if (memchr(kernel->program, 0, kernel->program_size + 1) != kernel->program + kernel->program_size)
      return act_fail(error, ACT_ERROR_PACKAGE, "kernel %u: its source does not end with its only zero", index);
    return ACT_OK;
  }
  const char *problem = act_spirv_read(kernel->program, kernel->program_size, &kernel->interface);
  if (problem != NULL) return act_fail(error, ACT_ERROR_PACKAGE, "kernel %u: %s", index, problem);
  return ACT_OK;
}

static act_status check_kernel(act_package *package, uint32_t index, act_error *error) {
  act_file_kernel record;
  memcpy(&record, section(package, ACT_SECTION_KERNELS) + (size_t)index * sizeof record, sizeof record);
  act_kernel *kernel = &package->kernels[index];
  if (!get_text(package, record.name_offset, record.name_length, &kernel->name) ||
      !get_text(package, record.options_offset, record.options_length, &kernel->options))
    return act_fail(error, ACT_ERROR_PACKAGE, "kernel %u: a text is outside the string table", index);
  if (kernel->name.length == 0) return act_fail(error, ACT_ERROR_PACKAGE, "kernel %u: no name", index);
  return check_program(package, &record, index, error);
}

/* Whether a step launches its SPIR-V program as that declares itself. */
static act_status check_interface(const act_package *package, uint32_t index, act_error *error) {
  const act_file_step *step = &package->steps[index];
  const act_spirv_interface *interface = &package->kernels[step->kernel].interface;
  if (interface->bindings != step->argument_count)
    return act_fail(error, ACT_ERROR_PACKAGE, "step %u has %u arguments, its program takes %u", index,
                    step->argument_count, interface->bindings);
  for (int i = 0; i < 3; i++)
    if (interface->local_size[i] != step->local_size[i])
      return act_fail(error, ACT_ERROR_PACKAGE, "step %u: work-group size %u, its program declares %u", index,
                      step->local_size[i], interface->local_size[i]);
  return ACT_OK;
}

static act_status check_step(act_package *package, uint32_t index, act_error *error) {
  const act_file_header *header = &package->header;
  const act_file_step *step = &package->steps[index];
  if (!get_text(package, step->operator_offset, step->operator_length, &package->operators[index]))
    return act_fail(error, ACT_ERROR_PACKAGE, "step %u: its operator's name is outside the string table", index);
  if (step->kernel >= header->kernel_count)
    return act_fail(error, ACT_ERROR_PACKAGE, "step %u: kernel %u of %u", index, step->kernel, header->kernel_count);
  if (step->argument_count < 1 || step->argument_count > ACT_MAX_STEP_ARGUMENTS ||
      !in_range(step->first_argument, step->argument_count, header->argument_count))
    return act_fail(error, ACT_ERROR_PACKAGE, "step %u: arguments %u + %u of %u", index, step->first_argument,
                    step->argument_count, header->argument_count);
  for (uint32_t i = 0; i < step->argument_count; i++)
    if (package->arguments[step->first_argument + i] >= header->buffer_count)
      return act_fail(error, ACT_ERROR_PACKAGE, "step %u: argument %u is buffer %u of %u", index, i,
                      package->arguments[step->first_argument + i], header->buffer_count);
  uint64_t items = 1;
  for (int i = 0; i < 3; i++) {
    uint32_t global = step->global_size[i], local = step->local_size[i];
    if (local == 0 || global < local || global >= ACT_MAX_GLOBAL_SIZE || local > ACT_MAX_LOCAL_SIZE ||
        global % local != 0)
      return act_fail(error, ACT_ERROR_PACKAGE, "step %u: global size %u and work-group size %u", index, global,
                      local);
    items *= local; /* at most 4096 to the third power */
  }
  if (items > ACT_MAX_LOCAL_SIZE)
    return act_fail(error, ACT_ERROR_PACKAGE, "step %u: work-groups of %llu items, at most %u", index,
                    (unsigned long long)items, ACT_MAX_LOCAL_SIZE);
  return package->header.backend == ACT_BACKEND_VULKAN ? check_interface(package, index, error) : ACT_OK;
}

/* Checks one side of the interface: indices in range, of the right role, all of them, each once; sums their bytes. */
static act_status check_io(const act_package *package, const uint32_t *indices, uint32_t count, unsigned role,
                           unsigned data_section, size_t *bytes, act_error *error) {
  uint64_t total = 0;
  uint32_t declared = 0;
  for (uint32_t i = 0; i < package->header.buffer_count; i++) declared += package->buffers[i].role == role;
  for (uint32_t i = 0; i < count; i++) {
    bool repeated = false;
    for (uint32_t j = 0; j < i; j++) repeated = repeated || indices[j] == indices[i];
    if (repeated || indices[i] >= package->header.buffer_count || package->buffers[indices[i]].role != role ||
        package->buffers[indices[i]].dtype != ACT_DTYPE_FLOAT32)
      return act_fail(error, ACT_ERROR_PACKAGE, "input or output %u is not a fitting buffer (%u)", i, indices[i]);
    uint64_t size = package->buffers[indices[i]].size_bytes;
    if (size > SIZE_MAX - total) return act_fail(error, ACT_ERROR_PACKAGE, "inputs or outputs overflow");
    total += size;
  }
  if (declared != count)
    return act_fail(error, ACT_ERROR_PACKAGE, "%u buffers are inputs or outputs, %u are listed", declared, count);
  if (package->sections[data_section].size != total)
    return act_fail(error, ACT_ERROR_PACKAGE, "verification data has %llu bytes, needed are %llu",
                    (unsigned long long)package->sections[data_section].size, (unsigned long long)total);
  *bytes = (size_t)total;
  return ACT_OK;
}

/* All checks of `package->data`, in the order in which one makes the next safe. */
static act_status check_all(act_package *package, act_error *error) {
  act_status status = check_header(package, error);
  if (status == ACT_OK) status = check_sections(package, error);
  if (status == ACT_OK) status = copy_tables(package, error);
  const act_file_header *header = &package->header;
  for (uint32_t i = 0; status == ACT_OK && i < header->buffer_count; i++) status = check_buffer(package, i, error);
  for (uint32_t i = 0; status == ACT_OK && i < header->kernel_count; i++) status = check_kernel(package, i, error);
  for (uint32_t i = 0; status == ACT_OK && i < header->step_count; i++) status = check_step(package, i, error);
  if (status == ACT_OK)
    status = check_io(package, package->io, header->input_count, ACT_ROLE_INPUT, ACT_SECTION_VERIFICATION_INPUT,
                      &package->input_bytes, error);
  if (status == ACT_OK)
    status = check_io(package, package->io + header->input_count, header->output_count, ACT_ROLE_OUTPUT,
                      ACT_SECTION_VERIFICATION_OUTPUT, &package->output_bytes, error);
  return status;
}

static act_status read_file(const char *path, act_package *package, act_error *error) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) return act_fail(error, ACT_ERROR_PACKAGE, "cannot open the package %s", path);
  long size = -1;
  if (fseek(file, 0, SEEK_END) == 0) size = ftell(file);
  if (size < 0 || size == LONG_MAX || fseek(file, 0, SEEK_SET) != 0) {
    fclose(file);
    return act_fail(error, ACT_ERROR_PACKAGE, "cannot read the package %s", path);
  }
  package->size = (size_t)size;
  package->data = malloc(package->size > 0 ? package->size : 1);
  size_t got = package->data != NULL ? fread(package->data, 1, package->size, file) : 0;
  fclose(file);
  if (package->data == NULL) return act_fail(error, ACT_ERROR_MEMORY, "out of memory for %ld bytes of package", size);
  if (got != package->size) return act_fail(error, ACT_ERROR_PACKAGE, "cannot read all of the package %s", path);
  return ACT_OK;
}

/* Checks a package whose bytes are in place and hands it over, or frees it. */
static act_status finish_loading(act_package *package, act_status status, act_package **result, act_error *error) {
  if (status == ACT_OK) status = check_all(package, error);
  if (status == ACT_OK) *result = package;
  else act_package_free(package);
  return status;
}

act_status act_package_load(const char *path, act_package **result, act_error *error) {
  *result = NULL;
  act_package *package = calloc(1, sizeof *package);
  if (package == NULL) return act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  return finish_loading(package, read_file(path, package, error), result, error);
}

act_status act_package_parse(const void *data, size_t size, act_package **result, act_error *error) {
  *result = NULL;
  act_package *package = calloc(1, sizeof *package);
  if (package == NULL) return act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  act_status status = ACT_OK;
  package->size = size;
  package->data = malloc(size > 0 ? size : 1);
  if (package->data == NULL) status = act_fail(error, ACT_ERROR_MEMORY, "out of memory for %zu bytes of package", size);
  else if (size > 0) memcpy(package->data, data, size);
  return finish_loading(package, status, result, error);
}

void act_package_free(act_package *package) {
  if (package == NULL) return;
  free(package->data);
  free(package->buffers);
  free(package->kernels);
  free(package->steps);
  free(package->operators);
  free(package->arguments);
  free(package->io);
  free(package);
}

size_t act_package_input_bytes(const act_package *package) { return package->input_bytes; }
size_t act_package_output_bytes(const act_package *package) { return package->output_bytes; }
size_t act_package_step_count(const act_package *package) { return package->header.step_count; }
uint64_t act_package_arena_bytes(const act_package *package) { return package->header.arena_bytes; }
const char *act_package_target(const act_package *package) { return package->target.text; }

uint64_t act_package_weight_bytes(const act_package *package) {
  return package->sections[ACT_SECTION_WEIGHTS].size;
}

const float *act_package_verification_input(const act_package *package) {
  return (const float *)(const void *)section(package, ACT_SECTION_VERIFICATION_INPUT);
}

const float *act_package_verification_output(const act_package *package) {
  return (const float *)(const void *)section(package, ACT_SECTION_VERIFICATION_OUTPUT);
}

const char *act_package_step_operator(const act_package *package, size_t index) {
  return index < package->header.step_count ? package->operators[index].text : NULL;
}
