/* A file is named by a hash of its key and holds: the head below, the key, the driver's binary. The key is everything
 * that decides the binary, in full, so that two keys of one hash are told apart; the checksum finds files that were cut
 * short or damaged. Whatever is wrong with a file, the program is built from source and the file written anew. */
#include "act_opencl_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_ROOM = 4096, MOST_BYTES = 64 << 20 };

typedef struct {
  char magic[8];
  uint64_t key_bytes, binary_bytes;
  uint32_t crc32; /* of key and binary */
  uint32_t reserved;
} file_head;

static const file_head expected_head = {.magic = {'A', 'C', 'T', 'P', 'R', 'O', 'G', '1'}};

typedef struct {
  unsigned char *bytes;
  size_t size;
} bytes_t;

/* All texts with their zeros between them. */
static bytes_t make_key(const act_device_info *info, const act_kernel *kernel) {
  const char *texts[] = {info->platform, info->platform_version, info->name,           info->vendor, info->version,
                         info->driver,   kernel->name.text,      kernel->options.text};
  enum { TEXTS = sizeof texts / sizeof *texts };
  bytes_t key = {NULL, kernel->program_size};
  for (size_t i = 0; i < TEXTS; i++) key.size += strlen(texts[i]) + 1;
  key.bytes = malloc(key.size);
  if (key.bytes == NULL) return key;
  unsigned char *at = key.bytes;
  for (size_t i = 0; i < TEXTS; i++) {
    size_t size = strlen(texts[i]) + 1;
    memcpy(at, texts[i], size);
    at += size;
  }
  memcpy(at, kernel->program, kernel->program_size);
  return key;
}

/* FNV-1a. */
static uint64_t hash(const bytes_t *key) {
  uint64_t value = 14695981039346656037u;
  for (size_t i = 0; i < key->size; i++) value = (value ^ key->bytes[i]) * 1099511628211u;
  return value;
}

static const char *cache_folder(void) {
  const char *folder = getenv("ACT_KERNEL_CACHE");
  return folder != NULL && *folder != 0 ? folder : NULL;
}

/* The file of a key; 0 where its name is too long. */
static int file_name(const bytes_t *key, char *name) {
  int length = snprintf(name, NAME_ROOM, "%s/kernel-%016llx", cache_folder(), (unsigned long long)hash(key));
  return length > 0 && length < NAME_ROOM;
}

static bytes_t read_file(const char *name) {
  bytes_t content = {NULL, 0};
  FILE *file = fopen(name, "rb");
  if (file == NULL) return content;
  long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
  if (size > 0 && size <= MOST_BYTES && fseek(file, 0, SEEK_SET) == 0) content.bytes = malloc((size_t)size);
  if (content.bytes != NULL) content.size = fread(content.bytes, 1, (size_t)size, file);
  fclose(file);
  return content;
}

/* The binary inside a file's content, if that is whole and of this key. */
static bytes_t find_binary(const bytes_t *content, const bytes_t *key) {
  bytes_t nothing = {NULL, 0};
  file_head head;
  if (content->size < sizeof head) return nothing;
  memcpy(&head, content->bytes, sizeof head);
  size_t rest = content->size - sizeof head;
  if (memcmp(head.magic, expected_head.magic, sizeof head.magic) != 0 || head.key_bytes != key->size ||
      head.key_bytes > rest || head.binary_bytes == 0 || head.binary_bytes != rest - head.key_bytes)
    return nothing;
  unsigned char *body = content->bytes + sizeof head;
  if (act_crc32(0, body, rest) != head.crc32 || memcmp(body, key->bytes, key->size) != 0) return nothing;
  return (bytes_t){body + key->size, (size_t)head.binary_bytes};
}

/* A program that builds and has its kernel, or NULL. */
static cl_program build_binary(const act_opencl_place *place, const act_kernel *kernel, const bytes_t *binary) {
  const act_opencl *cl = place->cl;
  const unsigned char *bytes = binary->bytes;
  cl_int status = CL_SUCCESS, code = CL_SUCCESS;
  cl_program program =
      cl->CreateProgramWithBinary(place->context, 1, &place->device, &binary->size, &bytes, &status, &code);
  if (program == NULL) return NULL;
  if (code == CL_SUCCESS && status == CL_SUCCESS &&
      cl->BuildProgram(program, 1, &place->device, kernel->options.text, NULL, NULL) == CL_SUCCESS) {
    cl_kernel found = cl->CreateKernel(program, kernel->name.text, &code);
    if (found != NULL) {
      cl->ReleaseKernel(found);
      return program;
    }
  }
  cl->ReleaseProgram(program);
  return NULL;
}

cl_program act_opencl_cached_program(const act_opencl_place *place, const act_kernel *kernel) {
  char name[NAME_ROOM];
  cl_program program = NULL;
  if (cache_folder() == NULL) return NULL;
  bytes_t key = make_key(place->info, kernel);
  if (key.bytes != NULL && file_name(&key, name)) {
    bytes_t content = read_file(name), binary = {NULL, 0};
    if (content.bytes != NULL) binary = find_binary(&content, &key);
    if (binary.bytes != NULL) program = build_binary(place, kernel, &binary);
    free(content.bytes);
  }
  free(key.bytes);
  return program;
}

static bytes_t binary_of(const act_opencl *cl, cl_program program) {
  bytes_t binary = {NULL, 0};
  if (cl->GetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof binary.size, &binary.size, NULL) != CL_SUCCESS ||
      binary.size == 0 || binary.size > MOST_BYTES / 2)
    return binary;
  binary.bytes = malloc(binary.size);
  if (binary.bytes != NULL &&
      cl->GetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary.bytes, &binary.bytes, NULL) != CL_SUCCESS) {
    free(binary.bytes);
    binary.bytes = NULL;
  }
  return binary;
}

/* Under a name of its own, which is then renamed: other programs may write the same file now. */
static void write_file(const char *name, const bytes_t *key, const bytes_t *binary) {
  char part[NAME_ROOM + 64];
  snprintf(part, sizeof part, "%s.part-%llx%llx", name, (unsigned long long)(act_now_ms() * 1e6),
           (unsigned long long)(uintptr_t)binary->bytes);
  file_head head = expected_head;
  head.key_bytes = key->size;
  head.binary_bytes = binary->size;
  head.crc32 = act_crc32(act_crc32(0, key->bytes, key->size), binary->bytes, binary->size);
  FILE *file = fopen(part, "wb");
  if (file == NULL) return;
  int whole = fwrite(&head, sizeof head, 1, file) == 1 && fwrite(key->bytes, 1, key->size, file) == key->size &&
              fwrite(binary->bytes, 1, binary->size, file) == binary->size;
  whole = fclose(file) == 0 && whole;
  if (!whole || rename(part, name) != 0) remove(part);
}

void act_opencl_keep_program(const act_opencl_place *place, const act_kernel *kernel, cl_program program) {
  char name[NAME_ROOM];
  if (cache_folder() == NULL) return;
  bytes_t key = make_key(place->info, kernel), binary = {NULL, 0};
  if (key.bytes != NULL && file_name(&key, name)) binary = binary_of(place->cl, program);
  if (binary.bytes != NULL) write_file(name, &key, &binary);
  free(binary.bytes);
  free(key.bytes);
}
