/* Places a package on a device and runs it. */
#include "act_session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static act_status create_queue(act_session *session, act_error *error) {
  cl_int code = CL_SUCCESS;
  session->context = session->cl->CreateContext(NULL, 1, &session->device, NULL, NULL, &code);
  if (session->context == NULL)
    return act_fail(error, ACT_ERROR_DEVICE, "the device gives no context: %s (%d)", act_opencl_error_name(code), code);
  session->queue = session->cl->CreateCommandQueue(session->context, session->device, 0, &code);
  if (session->queue == NULL)
    return act_fail(error, ACT_ERROR_DEVICE, "the device gives no queue: %s (%d)", act_opencl_error_name(code), code);
  return ACT_OK;
}

/* Whether arena and weights fit the device, before any is allocated. */
static act_status check_memory(const act_session *session, act_error *error) {
  const act_package *package = session->package;
  uint64_t largest = package->header.arena_bytes, total = largest;
  for (uint32_t i = 0; i < package->header.buffer_count; i++) {
    const act_file_buffer *buffer = &package->buffers[i];
    if (buffer->role != ACT_ROLE_WEIGHT) continue;
    if (buffer->size_bytes > largest) largest = buffer->size_bytes;
    total = buffer->size_bytes > UINT64_MAX - total ? UINT64_MAX : total + buffer->size_bytes;
  }
  if (largest > session->info.max_allocation_bytes || total > session->info.global_memory_bytes || total > SIZE_MAX)
    return act_fail(error, ACT_ERROR_MEMORY,
                    "the package needs %llu bytes, %llu of them in one piece; the device has %llu and allows %llu",
                    (unsigned long long)total, (unsigned long long)largest,
                    (unsigned long long)session->info.global_memory_bytes,
                    (unsigned long long)session->info.max_allocation_bytes);
  return ACT_OK;
}

/* The arena starts as zeros: tensors with a halo rely on it, and their kernels write the interior only. */
static act_status create_arena(act_session *session, act_error *error) {
  static const cl_uint zero = 0;
  size_t size = ((size_t)session->package->header.arena_bytes + 3) / 4 * 4;
  cl_int code = CL_SUCCESS;
  session->arena = session->cl->CreateBuffer(session->context, CL_MEM_READ_WRITE, size, NULL, &code);
  if (session->arena != NULL)
    code = session->cl->EnqueueFillBuffer(session->queue, session->arena, &zero, sizeof zero, 0, size, 0, NULL,
                                          NULL);
  if (code != CL_SUCCESS)
    return act_fail(error, ACT_ERROR_MEMORY, "no arena of %zu bytes: %s (%d)", size, act_opencl_error_name(code), code);
  return ACT_OK;
}

static act_status create_buffer(act_session *session, uint32_t index, act_error *error) {
  const act_package *package = session->package;
  const act_file_buffer *buffer = &package->buffers[index];
  cl_int code = CL_SUCCESS;
  if (buffer->role == ACT_ROLE_WEIGHT) {
    unsigned char *content = package->data + package->sections[ACT_SECTION_WEIGHTS].offset + buffer->offset;
    session->buffers[index] = session->cl->CreateBuffer(session->context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR,
                                                        (size_t)buffer->size_bytes, content, &code);
  } else {
    if (buffer->offset % session->info.base_alignment_bytes != 0)
      return act_fail(error, ACT_ERROR_PACKAGE, "buffer %u is at offset %llu, this device needs multiples of %u bytes",
                      index, (unsigned long long)buffer->offset, session->info.base_alignment_bytes);
    cl_buffer_region region = {(size_t)buffer->offset, (size_t)buffer->size_bytes};
    session->buffers[index] = session->cl->CreateSubBuffer(session->arena, CL_MEM_READ_WRITE,
                                                           CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
  }
  if (session->buffers[index] == NULL)
    return act_fail(error, ACT_ERROR_MEMORY, "buffer %u of %llu bytes cannot be made: %s (%d)", index,
                    (unsigned long long)buffer->size_bytes, act_opencl_error_name(code), code);
  return ACT_OK;
}

static act_status build_program(act_session *session, uint32_t index, act_error *error) {
  const act_opencl *cl = session->cl;
  const act_kernel *kernel = &session->package->kernels[index];
  const char *source = kernel->source.text;
  cl_int code = CL_SUCCESS;
  cl_program program = cl->CreateProgramWithSource(session->context, 1, &source, &kernel->source.length, &code);
  session->programs[index] = program;
  if (program != NULL) code = cl->BuildProgram(program, 1, &session->device, kernel->options.text, NULL, NULL);
  if (code == CL_SUCCESS) return ACT_OK;
  char log[6144] = "";
  size_t length = 0;
  if (program != NULL) cl->GetProgramBuildInfo(program, session->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &length);
  char *whole = length > 0 ? calloc(length + 1, 1) : NULL;
  if (whole != NULL) {
    cl->GetProgramBuildInfo(program, session->device, CL_PROGRAM_BUILD_LOG, length, whole, NULL);
    strncpy(log, whole, sizeof log - 1);
    free(whole);
  }
  return act_fail(error, ACT_ERROR_BUILD, "kernel %u (%.200s) does not build: %s (%d)\n%s", index, kernel->name.text,
                  act_opencl_error_name(code), code, log);
}

/* Refuses a launch that the device cannot do: illegal work-group sizes have rebooted phones. */
static act_status check_launch(const act_session *session, uint32_t index, act_error *error) {
  const act_opencl *cl = session->cl;
  const act_file_step *step = &session->package->steps[index];
  cl_kernel kernel = session->kernels[index];
  size_t limit = 0, compiled[3] = {0, 0, 0}, item_limits[3] = {0, 0, 0};
  cl_ulong local_memory = 0;
  cl_int code = cl->GetKernelWorkGroupInfo(kernel, session->device, CL_KERNEL_WORK_GROUP_SIZE, sizeof limit, &limit, NULL);
  if (code == CL_SUCCESS)
    code = cl->GetKernelWorkGroupInfo(kernel, session->device, CL_KERNEL_COMPILE_WORK_GROUP_SIZE, sizeof compiled,
                                      compiled, NULL);
  if (code == CL_SUCCESS)
    code = cl->GetKernelWorkGroupInfo(kernel, session->device, CL_KERNEL_LOCAL_MEM_SIZE, sizeof local_memory,
                                      &local_memory, NULL);
  if (code == CL_SUCCESS)
    code = cl->GetDeviceInfo(session->device, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof item_limits, item_limits, NULL);
  if (code != CL_SUCCESS)
    return act_fail(error, ACT_ERROR_LAUNCH, "step %u: the device does not tell its limits: %s (%d)", index,
                    act_opencl_error_name(code), code);
  size_t items = 1;
  for (int i = 0; i < 3; i++) {
    items *= step->local_size[i];
    if (step->local_size[i] > item_limits[i] || (compiled[0] != 0 && compiled[i] != step->local_size[i]))
      return act_fail(error, ACT_ERROR_LAUNCH, "step %u: work-group size %u in dimension %d, the %s %zu", index,
                      step->local_size[i], i, compiled[0] != 0 ? "kernel declares" : "device allows",
                      compiled[0] != 0 ? compiled[i] : item_limits[i]);
  }
  if (items > limit)
    return act_fail(error, ACT_ERROR_LAUNCH, "step %u: work-groups of %zu items, the device allows %zu for this kernel",
                    index, items, limit);
  if (local_memory > session->info.local_memory_bytes)
    return act_fail(error, ACT_ERROR_LAUNCH, "step %u: the kernel needs %llu bytes of local memory, the device has %llu",
                    index, (unsigned long long)local_memory, (unsigned long long)session->info.local_memory_bytes);
  return ACT_OK;
}

static act_status create_kernel(act_session *session, uint32_t index, act_error *error) {
  const act_opencl *cl = session->cl;
  const act_package *package = session->package;
  const act_file_step *step = &package->steps[index];
  const char *name = package->kernels[step->kernel].name.text;
  cl_int code = CL_SUCCESS;
  cl_uint parameters = 0;
  cl_kernel kernel = cl->CreateKernel(session->programs[step->kernel], name, &code);
  session->kernels[index] = kernel;
  if (kernel == NULL)
    return act_fail(error, ACT_ERROR_BUILD, "kernel %u: its source has no kernel %.200s: %s (%d)", step->kernel, name,
                    act_opencl_error_name(code), code);
  code = cl->GetKernelInfo(kernel, CL_KERNEL_NUM_ARGS, sizeof parameters, &parameters, NULL);
  if (code != CL_SUCCESS || parameters != step->argument_count)
    return act_fail(error, ACT_ERROR_PACKAGE, "step %u gives kernel %.200s %u arguments, it takes %u", index, name,
                    step->argument_count, parameters);
  for (cl_uint i = 0; i < step->argument_count; i++) {
    cl_mem buffer = session->buffers[package->arguments[step->first_argument + i]];
    code = cl->SetKernelArg(kernel, i, sizeof buffer, &buffer);
    if (code != CL_SUCCESS)
      return act_fail(error, ACT_ERROR_PACKAGE, "step %u: kernel %.200s takes no buffer as argument %u: %s (%d)", index,
                      name, i, act_opencl_error_name(code), code);
  }
  return check_launch(session, index, error);
}

static act_status prepare(act_session *session, uint32_t device_index, act_error *error) {
  const act_file_header *header = &session->package->header;
  session->cl = act_opencl_open(error);
  if (session->cl == NULL) return error->status;
  session->buffers = calloc(header->buffer_count, sizeof *session->buffers);
  session->programs = calloc(header->kernel_count, sizeof *session->programs);
  session->kernels = calloc(header->step_count, sizeof *session->kernels);
  if (session->buffers == NULL || session->programs == NULL || session->kernels == NULL)
    return act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  act_status status = act_opencl_device(session->cl, device_index, &session->device, &session->info, error);
  if (status == ACT_OK) status = check_memory(session, error);
  if (status == ACT_OK) status = create_queue(session, error);
  if (status == ACT_OK) status = create_arena(session, error);
  for (uint32_t i = 0; status == ACT_OK && i < header->buffer_count; i++) status = create_buffer(session, i, error);
  double start = act_now_ms();
  for (uint32_t i = 0; status == ACT_OK && i < header->kernel_count; i++) status = build_program(session, i, error);
  for (uint32_t i = 0; status == ACT_OK && i < header->step_count; i++) status = create_kernel(session, i, error);
  session->build_ms = act_now_ms() - start;
  return status == ACT_OK ? act_session_finish(session, session->queue, error) : status;
}

act_status act_session_create(const act_package *package, uint32_t device_index, act_session **result,
                              act_error *error) {
  *result = NULL;
  act_session *session = calloc(1, sizeof *session);
  if (session == NULL) return act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  session->package = package;
  act_status status = prepare(session, device_index, error);
  if (status != ACT_OK) {
    act_session_free(session);
    return status;
  }
  *result = session;
  return ACT_OK;
}

void act_session_free(act_session *session) {
  if (session == NULL) return;
  const act_opencl *cl = session->cl;
  const act_file_header *header = &session->package->header;
  if (session->queue != NULL) cl->Finish(session->queue);
  for (uint32_t i = 0; session->kernels != NULL && i < header->step_count; i++)
    if (session->kernels[i] != NULL) cl->ReleaseKernel(session->kernels[i]);
  for (uint32_t i = 0; session->programs != NULL && i < header->kernel_count; i++)
    if (session->programs[i] != NULL) cl->ReleaseProgram(session->programs[i]);
  for (uint32_t i = 0; session->buffers != NULL && i < header->buffer_count; i++)
    if (session->buffers[i] != NULL) cl->ReleaseMemObject(session->buffers[i]);
  if (session->arena != NULL) cl->ReleaseMemObject(session->arena);
  if (session->profile_queue != NULL) cl->ReleaseCommandQueue(session->profile_queue);
  if (session->queue != NULL) cl->ReleaseCommandQueue(session->queue);
  if (session->context != NULL) cl->ReleaseContext(session->context);
  free(session->kernels);
  free(session->programs);
  free(session->buffers);
  free(session);
}

const act_device_info *act_session_device(const act_session *session) { return &session->info; }
double act_session_build_ms(const act_session *session) { return session->build_ms; }

act_status act_session_enqueue(act_session *session, cl_command_queue queue, cl_event *events, act_error *error) {
  for (uint32_t i = 0; i < session->package->header.step_count; i++) {
    const act_file_step *step = &session->package->steps[i];
    size_t global[3] = {step->global_size[0], step->global_size[1], step->global_size[2]};
    size_t local[3] = {step->local_size[0], step->local_size[1], step->local_size[2]};
    cl_int code = session->cl->EnqueueNDRangeKernel(queue, session->kernels[i], 3, NULL, global, local, 0, NULL,
                                                    events != NULL ? &events[i] : NULL);
    if (code != CL_SUCCESS)
      return act_fail(error, ACT_ERROR_LAUNCH, "step %u (%.200s) cannot be launched: %s (%d)", i,
                      session->package->operators[i].text, act_opencl_error_name(code), code);
  }
  return ACT_OK;
}

act_status act_session_finish(act_session *session, cl_command_queue queue, act_error *error) {
  cl_int code = session->cl->Finish(queue);
  if (code == CL_SUCCESS) return ACT_OK;
  return act_fail(error, ACT_ERROR_LAUNCH, "the device failed: %s (%d)", act_opencl_error_name(code), code);
}

/* Copies the host's tensors, one after another, to the inputs, or (`to_host`) the outputs to them. */
static cl_int transfer(act_session *session, uint32_t first, uint32_t count, const float *from, float *to_host) {
  cl_int code = CL_SUCCESS;
  size_t position = 0;
  for (uint32_t i = first; i < first + count && code == CL_SUCCESS; i++) {
    uint32_t index = session->package->io[i];
    size_t size = (size_t)session->package->buffers[index].size_bytes;
    cl_mem buffer = session->buffers[index];
    if (to_host != NULL)
      code = session->cl->EnqueueReadBuffer(session->queue, buffer, CL_TRUE, 0, size, to_host + position, 0, NULL, NULL);
    else
      code = session->cl->EnqueueWriteBuffer(session->queue, buffer, CL_TRUE, 0, size, from + position, 0, NULL, NULL);
    position += size / sizeof(float);
  }
  return code;
}

act_status act_session_run(act_session *session, const float *input, size_t input_bytes, float *output,
                           size_t output_bytes, act_error *error) {
  const act_package *package = session->package;
  if (input_bytes != package->input_bytes || output_bytes != package->output_bytes)
    return act_fail(error, ACT_ERROR_USAGE, "input of %zu and output of %zu bytes, the package has %zu and %zu",
                    input_bytes, output_bytes, package->input_bytes, package->output_bytes);
  uint32_t inputs = package->header.input_count;
  cl_int code = transfer(session, 0, inputs, input, NULL);
  if (code == CL_SUCCESS) {
    act_status status = act_session_enqueue(session, session->queue, NULL, error);
    if (status != ACT_OK) return status;
    code = transfer(session, inputs, package->header.output_count, NULL, output);
  }
  if (code == CL_SUCCESS) return ACT_OK;
  return act_fail(error, ACT_ERROR_LAUNCH, "input or output cannot be copied: %s (%d)", act_opencl_error_name(code), code);
}

static double relative_error(const float *output, const float *expected, size_t count) {
  double difference = 0, largest = 0;
  for (size_t i = 0; i < count; i++) {
    if (!isfinite(output[i])) return INFINITY;
    difference = fmax(difference, fabs((double)output[i] - expected[i]));
    largest = fmax(largest, fabs((double)expected[i]));
  }
  return largest > 0 ? difference / largest : difference;
}

act_status act_session_verify(act_session *session, double tolerance, double *error_out, act_error *error) {
  const act_package *package = session->package;
  const float *expected = act_package_verification_output(package);
  const float *input = act_package_verification_input(package);
  float *output = malloc(package->output_bytes), *other = malloc(package->input_bytes);
  act_status status = ACT_OK;
  if (output == NULL || other == NULL) status = act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  for (size_t i = 0; status == ACT_OK && i < package->input_bytes / sizeof *other; i++) other[i] = 1 - 2 * input[i];
  *error_out = 0;
  for (int pass = 0; pass < 3 && status == ACT_OK; pass++) {
    status = act_session_run(session, pass == 1 ? other : input, package->input_bytes, output, package->output_bytes,
                             error);
    if (status == ACT_OK && pass != 1)
      *error_out = fmax(*error_out, relative_error(output, expected, package->output_bytes / sizeof *output));
  }
  free(output);
  free(other);
  if (status == ACT_OK && !(*error_out <= tolerance))
    return act_fail(error, ACT_ERROR_OUTPUT, "the output differs from the expected one by %.3g of its largest value, "
                    "allowed are %.3g", *error_out, tolerance);
  return status;
}
