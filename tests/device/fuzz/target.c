/* One execution: repairs the checksums of a package, loads it, touches everything that the loader has accepted, and takes
 * it through a session with a stub GPU library. Nothing may be read outside the file or be left behind. */
#include "fuzz.h"

#include "act_internal.h"
#include "stub_gpu.h"

unsigned long fuzz_results[16];
static long live_allocations;
static uint32_t allocations_left; /* the allocation that fails; 0: none */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void __real_free(void *data);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void __wrap_free(void *data);

static void *counted(void *data) {
  live_allocations += data != NULL;
  return data;
}

static int allocation_fails(void) { return allocations_left > 0 && --allocations_left == 0; }
void *__wrap_malloc(size_t size) { return allocation_fails() ? NULL : counted(__real_malloc(size)); }
void *__wrap_calloc(size_t count, size_t size) {
  return allocation_fails() ? NULL : counted(__real_calloc(count, size));
}

void __wrap_free(void *data) {
  live_allocations -= data != NULL;
  __real_free(data);
}

static void repair(unsigned char *data, size_t size) {
  act_file_header header;
  memcpy(&header, data, sizeof header);
  if ((header.reserved & FUZZ_KEEP_CHECKSUMS) == 0) {
    header.file_bytes = size;
    header.body_crc32 = act_crc32(0, data + sizeof header, size - sizeof header);
    memcpy(data, &header, sizeof header);
  } else if (header.reserved & 1) {
    return; /* not even the header's */
  }
  header.header_crc32 = act_crc32(0, data, offsetof(act_file_header, header_crc32));
  memcpy(data, &header, sizeof header);
}

static void touch_text(const act_text *text) { STUB_CHECK(strlen(text->text) == text->length); }

/* All that a session may rely on. */
static void touch(const act_package *package) {
  const act_file_header *header = &package->header;
  stub_read(act_package_verification_input(package), act_package_input_bytes(package));
  stub_read(act_package_verification_output(package), act_package_output_bytes(package));
  for (uint32_t i = 0; i < header->buffer_count; i++) {
    const act_file_buffer *buffer = &package->buffers[i];
    uint64_t end = buffer->offset + buffer->size_bytes;
    STUB_CHECK(end >= buffer->offset && buffer->size_bytes > 0);
    if (buffer->role == ACT_ROLE_WEIGHT)
      stub_read(package->data + package->sections[ACT_SECTION_WEIGHTS].offset + buffer->offset, buffer->size_bytes);
    else STUB_CHECK(end <= act_package_arena_bytes(package));
  }
  for (uint32_t i = 0; i < header->kernel_count; i++) {
    touch_text(&package->kernels[i].name);
    touch_text(&package->kernels[i].options);
    stub_read(package->kernels[i].program, package->kernels[i].program_size);
    STUB_CHECK(package->kernels[i].interface.bindings <= ACT_SPIRV_MAX_BINDINGS);
  }
  for (uint32_t i = 0; i < header->step_count; i++) {
    const act_file_step *step = &package->steps[i];
    touch_text(&package->operators[i]);
    STUB_CHECK(act_package_step_operator(package, i) == package->operators[i].text &&
               step->kernel < header->kernel_count);
    for (uint32_t j = 0; j < step->argument_count; j++)
      STUB_CHECK(package->arguments[step->first_argument + j] < header->buffer_count);
  }
  for (uint32_t i = 0; i < header->input_count + header->output_count; i++)
    STUB_CHECK(package->buffers[package->io[i]].role <= ACT_ROLE_OUTPUT);
  STUB_CHECK(act_package_step_operator(package, header->step_count) == NULL);
  STUB_CHECK(act_package_step_count(package) == header->step_count &&
             act_package_weight_bytes(package) <= package->size);
  touch_text(&package->target);
  STUB_CHECK(act_package_target(package) == package->target.text);
}

/* Every failure says why. */
static act_status told(act_status status, act_error *error) {
  STUB_CHECK(status == ACT_OK || (error->status == status && error->message[0] != 0));
  STUB_CHECK(status == ACT_OK || strchr(error->message, 27) == NULL);
  error->message[0] = 0;
  return status;
}

/* The list of devices, as a program shows it before it chooses one. */
static void list_devices(const char *backend, act_error *error) {
  act_device_info *devices;
  size_t count;
  if (told(act_device_list(backend, &devices, &count, error), error) != ACT_OK) return;
  for (size_t i = 0; i < count; i++) stub_read(devices[i].type, strlen(devices[i].name) > 0);
  free(devices);
}

static act_status use(const act_package *package, const char *device, act_error *error) {
  static const act_timing_options options = {.single_runs = 1, .bursts = 1, .burst_runs = 2, .profile_runs = 2};
  act_session *session = NULL;
  double relative_error = 0;
  stub.outputs = (const unsigned char *)act_package_verification_output(package);
  stub.output_bytes = act_package_output_bytes(package);
  stub.position = 0;
  act_status status = told(act_session_create(package, device, &session, error), error);
  STUB_CHECK((status == ACT_OK) == (session != NULL));
  if (session != NULL) STUB_CHECK(act_session_build_ms(session) >= 0 && act_session_device(session)->id[0] != 0);
  if (status == ACT_OK) status = told(act_session_verify(session, 1e-3, &relative_error, error), error);
  for (int i = 0; i < 2 && session != NULL; i++) { /* again, even after a failure: an app may try */
    act_timing timing;
    act_status timed = told(act_session_time(session, &options, &timing, error), error);
    STUB_CHECK(timed != ACT_OK || (timing.single_count == 1 && timing.burst_count == 1));
    if (timed == ACT_OK) act_timing_free(&timing);
    if (status == ACT_OK) status = timed;
  }
  act_session_free(session);
  return status;
}

static act_status load_from_file(const unsigned char *data, size_t size, act_package **package, act_error *error) {
  FILE *file = fopen(FUZZ_STUB ".actpkg", "wb");
  if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) exit(2);
  return act_package_load(FUZZ_STUB ".actpkg", package, error);
}

static act_status execute(const unsigned char *data, size_t size, uint32_t how, act_error *error) {
  static const char *const devices[] = {NULL, "opencl:0", "vulkan:0", "vulkan:1", "opencl:", "vulkan:0x", "metal:0",
                                        "gpu"};
  act_package *package = NULL;
  const char *device = devices[how >> FUZZ_DEVICE_SHIFT & FUZZ_DEVICE_BITS];
  act_status status = how & FUZZ_FROM_FILE ? load_from_file(data, size, &package, error)
                                           : act_package_parse(data, size, &package, error);
  status = told(status, error);
  STUB_CHECK((status == ACT_OK) == (package != NULL));
  if (status == ACT_OK) {
    touch(package);
    if (device != NULL) list_devices(device[0] == 'g' ? device : act_package_backend(package), error);
    status = use(package, device, error);
  }
  act_package_free(package);
  return status;
}

int LLVMFuzzerInitialize(int *count, char ***values) {
  (void)count, (void)values;
  setenv("ACT_OPENCL_LIBRARY", FUZZ_STUB, 1);
  setenv("ACT_VULKAN_LIBRARY", FUZZ_STUB, 1);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static act_error error;
  uint32_t how = 0;
  long before = live_allocations;
  unsigned char *copy = __real_malloc(size > 0 ? size : 1); /* of its own, so that one byte further is an error */
  if (copy == NULL) abort();
  memcpy(copy, data, size);
  if (size >= sizeof(act_file_header)) {
    repair(copy, size);
    memcpy(&how, copy + offsetof(act_file_header, reserved), sizeof how);
  }
  stub = (stub_state){.fail_at = how & FUZZ_CALL_BITS};
  allocations_left = how >> FUZZ_ALLOCATION_SHIFT & FUZZ_ALLOCATION_BITS;
  error.message[0] = 0;
  act_status status = execute(copy, size, how, &error);
  allocations_left = 0;
  STUB_CHECK((unsigned)status < sizeof fuzz_results / sizeof *fuzz_results);
  STUB_CHECK(stub.live == 0 && live_allocations == before);
  fuzz_results[status]++;
  __real_free(copy);
  return 0;
}
