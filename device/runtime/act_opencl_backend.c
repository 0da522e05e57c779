/* A package on an OpenCL device: one program for each kernel, one kernel object with bound arguments for each step. */
#include "act_backend.h"
#include "act_opencl.h"

#include <stdlib.h>
#include <string.h>

struct act_placement {
  const act_package *package;
  const act_opencl *cl;
  act_device_info info;
  cl_device_id device;
  cl_context context;
  cl_command_queue queue;
  cl_command_queue profile_queue; /* made when first needed */
  cl_mem arena;
  cl_mem *buffers;      /* one for each of the package's; parts of the arena, or weights */
  cl_program *programs; /* one for each kernel source: large programs crash some phones' compilers */
  cl_kernel *kernels;   /* one for each step, with its arguments bound */
  cl_event *events;     /* one for each step, for profiling */
};

static act_status create_queue(act_placement *placement, act_error *error) {
  cl_int code = CL_SUCCESS;
  placement->context = placement->cl->CreateContext(NULL, 1, &placement->device, NULL, NULL, &code);
  if (placement->context == NULL)
    return act_fail(error, ACT_ERROR_DEVICE, "the device gives no context: %s (%d)", act_opencl_error_name(code), code);
  placement->queue = placement->cl->CreateCommandQueue(placement->context, placement->device, 0, &code);
  if (placement->queue == NULL)
    return act_fail(error, ACT_ERROR_DEVICE, "the device gives no queue: %s (%d)", act_opencl_error_name(code), code);
  return ACT_OK;
}

/* Whether arena and weights fit the device, before any is allocated. */
static act_status check_memory(const act_placement *placement, act_error *error) {
  const act_package *package = placement->package;
  uint64_t largest = package->header.arena_bytes, total = largest;
  for (uint32_t i = 0; i < package->header.buffer_count; i++) {
    const act_file_buffer *buffer = &package->buffers[i];
    if (buffer->role != ACT_ROLE_WEIGHT) continue;
    if (buffer->size_bytes > largest) largest = buffer->size_bytes;
    total = buffer->size_bytes > UINT64_MAX - total ? UINT64_MAX : total + buffer->size_bytes;
  }
  if (largest > placement->info.max_allocation_bytes || total > placement->info.global_memory_bytes || total > SIZE_MAX)
    return act_fail(error, ACT_ERROR_MEMORY,
                    "the package needs %llu bytes, %llu of them in one piece; the device has %llu and allows %llu",
                    (unsigned long long)total, (unsigned long long)largest,
                    (unsigned long long)placement->info.global_memory_bytes,
                    (unsigned long long)placement->info.max_allocation_bytes);
  return ACT_OK;
}

/* The arena starts as zeros: tensors with a halo rely on it, and their kernels write the interior only. */
static act_status create_arena(act_placement *placement, act_error *error) {
  static const cl_uint zero = 0;
  size_t size = ((size_t)placement->package->header.arena_bytes + 3) / 4 * 4;
  cl_int code = CL_SUCCESS;
  placement->arena = placement->cl->CreateBuffer(placement->context, CL_MEM_READ_WRITE, size, NULL, &code);
  if (placement->arena != NULL)
    code = placement->cl->EnqueueFillBuffer(placement->queue, placement->arena, &zero, sizeof zero, 0, size, 0, NULL,
                                          NULL);
  if (placement->arena == NULL || code != CL_SUCCESS)
    return act_fail(error, ACT_ERROR_MEMORY, "no arena of %zu bytes: %s (%d)", size, act_opencl_error_name(code), code);
  return ACT_OK;
}

/* Whether the device has images of that size: phones do, some devices do not. */
static act_status check_image_size(const act_placement *placement, uint32_t index, size_t width, size_t height,
                                   act_error *error) {
  const act_opencl *cl = placement->cl;
  cl_uint supported = 0;
  size_t most_width = 0, most_height = 0;
  cl_int code = cl->GetDeviceInfo(placement->device, CL_DEVICE_IMAGE_SUPPORT, sizeof supported, &supported, NULL);
  if (code == CL_SUCCESS)
    code = cl->GetDeviceInfo(placement->device, CL_DEVICE_IMAGE2D_MAX_WIDTH, sizeof most_width, &most_width, NULL);
  if (code == CL_SUCCESS)
    code = cl->GetDeviceInfo(placement->device, CL_DEVICE_IMAGE2D_MAX_HEIGHT, sizeof most_height, &most_height, NULL);
  if (code == CL_SUCCESS && supported && width <= most_width && height <= most_height) return ACT_OK;
  return act_fail(error, ACT_ERROR_MEMORY, "buffer %u is an image of %zu x %zu texels, the device takes %zu x %zu",
                  index, width, height, supported ? most_width : 0, supported ? most_height : 0);
}

static act_status create_image(act_placement *placement, uint32_t index, unsigned char *content, act_error *error) {
  const act_file_buffer *buffer = &placement->package->buffers[index];
  cl_image_format format = {CL_RGBA, buffer->dtype == ACT_DTYPE_FLOAT16 ? CL_HALF_FLOAT : CL_FLOAT};
  cl_image_desc desc = {.type = CL_MEM_OBJECT_IMAGE2D, .width = buffer->shape[1], .height = buffer->shape[0]};
  act_status status = check_image_size(placement, index, desc.width, desc.height, error);
  if (status != ACT_OK) return status;
  cl_int code = CL_SUCCESS;
  placement->buffers[index] = placement->cl->CreateImage(placement->context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR,
                                                         &format, &desc, content, &code);
  if (placement->buffers[index] == NULL)
    return act_fail(error, ACT_ERROR_MEMORY, "buffer %u, an image of %zu x %zu texels, cannot be made: %s (%d)", index,
                    desc.width, desc.height, act_opencl_error_name(code), code);
  return ACT_OK;
}

static act_status create_buffer(act_placement *placement, uint32_t index, act_error *error) {
  const act_package *package = placement->package;
  const act_file_buffer *buffer = &package->buffers[index];
  cl_int code = CL_SUCCESS;
  if (buffer->role == ACT_ROLE_WEIGHT) {
    unsigned char *content = package->data + package->sections[ACT_SECTION_WEIGHTS].offset + buffer->offset;
    if (buffer->storage == ACT_STORAGE_IMAGE) return create_image(placement, index, content, error);
    placement->buffers[index] = placement->cl->CreateBuffer(placement->context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR,
                                                        (size_t)buffer->size_bytes, content, &code);
  } else {
    if (buffer->offset % placement->info.base_alignment_bytes != 0)
      return act_fail(error, ACT_ERROR_PACKAGE, "buffer %u is at offset %llu, this device needs multiples of %u bytes",
                      index, (unsigned long long)buffer->offset, placement->info.base_alignment_bytes);
    cl_buffer_region region = {(size_t)buffer->offset, (size_t)buffer->size_bytes};
    placement->buffers[index] = placement->cl->CreateSubBuffer(placement->arena, CL_MEM_READ_WRITE,
                                                           CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
  }
  if (placement->buffers[index] == NULL)
    return act_fail(error, ACT_ERROR_MEMORY, "buffer %u of %llu bytes cannot be made: %s (%d)", index,
                    (unsigned long long)buffer->size_bytes, act_opencl_error_name(code), code);
  return ACT_OK;
}

static act_status build_program(act_placement *placement, uint32_t index, act_error *error) {
  const act_opencl *cl = placement->cl;
  const act_kernel *kernel = &placement->package->kernels[index];
  const char *source = (const char *)kernel->program;
  cl_int code = CL_SUCCESS;
  cl_program program = cl->CreateProgramWithSource(placement->context, 1, &source, &kernel->program_size, &code);
  placement->programs[index] = program;
  if (program != NULL) code = cl->BuildProgram(program, 1, &placement->device, kernel->options.text, NULL, NULL);
  if (code == CL_SUCCESS) return ACT_OK;
  char log[6144] = "";
  size_t length = 0;
  if (program != NULL) cl->GetProgramBuildInfo(program, placement->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &length);
  char *whole = length > 0 ? calloc(length + 1, 1) : NULL;
  if (whole != NULL) {
    cl->GetProgramBuildInfo(program, placement->device, CL_PROGRAM_BUILD_LOG, length, whole, NULL);
    strncpy(log, whole, sizeof log - 1);
    free(whole);
  }
  return act_fail(error, ACT_ERROR_BUILD, "kernel %u (%.200s) does not build: %s (%d)\n%s", index, kernel->name.text,
                  act_opencl_error_name(code), code, log);
}

/* Refuses a launch that the device cannot do: illegal work-group sizes have rebooted phones. */
static act_status check_launch(const act_placement *placement, uint32_t index, act_error *error) {
  const act_opencl *cl = placement->cl;
  const act_file_step *step = &placement->package->steps[index];
  cl_kernel kernel = placement->kernels[index];
  size_t limit = 0, compiled[3] = {0, 0, 0}, item_limits[3] = {0, 0, 0};
  cl_ulong local_memory = 0;
  cl_int code = cl->GetKernelWorkGroupInfo(kernel, placement->device, CL_KERNEL_WORK_GROUP_SIZE, sizeof limit, &limit, NULL);
  if (code == CL_SUCCESS)
    code = cl->GetKernelWorkGroupInfo(kernel, placement->device, CL_KERNEL_COMPILE_WORK_GROUP_SIZE, sizeof compiled,
                                      compiled, NULL);
  if (code == CL_SUCCESS)
    code = cl->GetKernelWorkGroupInfo(kernel, placement->device, CL_KERNEL_LOCAL_MEM_SIZE, sizeof local_memory,
                                      &local_memory, NULL);
  if (code == CL_SUCCESS)
    code = cl->GetDeviceInfo(placement->device, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof item_limits, item_limits, NULL);
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
  if (local_memory > placement->info.local_memory_bytes)
    return act_fail(error, ACT_ERROR_LAUNCH, "step %u: the kernel needs %llu bytes of local memory, the device has %llu",
                    index, (unsigned long long)local_memory, (unsigned long long)placement->info.local_memory_bytes);
  return ACT_OK;
}

static act_status create_kernel(act_placement *placement, uint32_t index, act_error *error) {
  const act_opencl *cl = placement->cl;
  const act_package *package = placement->package;
  const act_file_step *step = &package->steps[index];
  const char *name = package->kernels[step->kernel].name.text;
  cl_int code = CL_SUCCESS;
  cl_uint parameters = 0;
  cl_kernel kernel = cl->CreateKernel(placement->programs[step->kernel], name, &code);
  placement->kernels[index] = kernel;
  if (kernel == NULL)
    return act_fail(error, ACT_ERROR_BUILD, "kernel %u: its source has no kernel %.200s: %s (%d)", step->kernel, name,
                    act_opencl_error_name(code), code);
  code = cl->GetKernelInfo(kernel, CL_KERNEL_NUM_ARGS, sizeof parameters, &parameters, NULL);
  if (code != CL_SUCCESS || parameters != step->argument_count)
    return act_fail(error, ACT_ERROR_PACKAGE, "step %u gives kernel %.200s %u arguments, it takes %u", index, name,
                    step->argument_count, parameters);
  for (cl_uint i = 0; i < step->argument_count; i++) {
    cl_mem buffer = placement->buffers[package->arguments[step->first_argument + i]];
    code = cl->SetKernelArg(kernel, i, sizeof buffer, &buffer);
    if (code != CL_SUCCESS)
      return act_fail(error, ACT_ERROR_PACKAGE, "step %u: kernel %.200s takes no buffer as argument %u: %s (%d)", index,
                      name, i, act_opencl_error_name(code), code);
  }
  return check_launch(placement, index, error);
}

static act_status finish_queue(act_placement *placement, cl_command_queue queue, act_error *error) {
  cl_int code = placement->cl->Finish(queue);
  if (code == CL_SUCCESS) return ACT_OK;
  return act_fail(error, ACT_ERROR_LAUNCH, "the device failed: %s (%d)", act_opencl_error_name(code), code);
}

static act_status finish(act_placement *placement, act_error *error) {
  return finish_queue(placement, placement->queue, error);
}

static act_status place(const act_package *package, uint32_t device_index, act_placement **result,
                        act_device_info *info, double *build_ms, act_error *error) {
  const act_file_header *header = &package->header;
  act_placement *placement = calloc(1, sizeof *placement);
  *result = placement;
  if (placement == NULL) return act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  placement->package = package;
  placement->cl = act_opencl_open(error);
  if (placement->cl == NULL) return error->status;
  placement->buffers = calloc(header->buffer_count, sizeof *placement->buffers);
  placement->programs = calloc(header->kernel_count, sizeof *placement->programs);
  placement->kernels = calloc(header->step_count, sizeof *placement->kernels);
  placement->events = calloc(header->step_count, sizeof(cl_event));
  if (placement->buffers == NULL || placement->programs == NULL || placement->kernels == NULL ||
      placement->events == NULL)
    return act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  act_status status = act_opencl_device(placement->cl, device_index, &placement->device, &placement->info, error);
  if (status == ACT_OK) status = check_memory(placement, error);
  if (status == ACT_OK) status = create_queue(placement, error);
  if (status == ACT_OK) status = create_arena(placement, error);
  for (uint32_t i = 0; status == ACT_OK && i < header->buffer_count; i++) status = create_buffer(placement, i, error);
  double began = act_now_ms();
  for (uint32_t i = 0; status == ACT_OK && i < header->kernel_count; i++) status = build_program(placement, i, error);
  for (uint32_t i = 0; status == ACT_OK && i < header->step_count; i++) status = create_kernel(placement, i, error);
  *build_ms = act_now_ms() - began;
  *info = placement->info;
  return status == ACT_OK ? finish(placement, error) : status;
}

static void release(act_placement *placement) {
  const act_opencl *cl = placement->cl;
  const act_file_header *header = &placement->package->header;
  if (placement->queue != NULL) cl->Finish(placement->queue);
  for (uint32_t i = 0; placement->kernels != NULL && i < header->step_count; i++)
    if (placement->kernels[i] != NULL) cl->ReleaseKernel(placement->kernels[i]);
  for (uint32_t i = 0; placement->programs != NULL && i < header->kernel_count; i++)
    if (placement->programs[i] != NULL) cl->ReleaseProgram(placement->programs[i]);
  for (uint32_t i = 0; placement->buffers != NULL && i < header->buffer_count; i++)
    if (placement->buffers[i] != NULL) cl->ReleaseMemObject(placement->buffers[i]);
  if (placement->arena != NULL) cl->ReleaseMemObject(placement->arena);
  if (placement->profile_queue != NULL) cl->ReleaseCommandQueue(placement->profile_queue);
  if (placement->queue != NULL) cl->ReleaseCommandQueue(placement->queue);
  if (placement->context != NULL) cl->ReleaseContext(placement->context);
  free(placement->kernels);
  free(placement->programs);
  free(placement->buffers);
  free(placement->events);
  free(placement);
}

/* Enqueues all steps; with `events` (one for each step) also asks for their device times. */
static act_status enqueue(act_placement *placement, cl_command_queue queue, cl_event *events, act_error *error) {
  for (uint32_t i = 0; i < placement->package->header.step_count; i++) {
    const act_file_step *step = &placement->package->steps[i];
    size_t global[3] = {step->global_size[0], step->global_size[1], step->global_size[2]};
    size_t local[3] = {step->local_size[0], step->local_size[1], step->local_size[2]};
    cl_int code = placement->cl->EnqueueNDRangeKernel(queue, placement->kernels[i], 3, NULL, global, local, 0, NULL,
                                                      events != NULL ? &events[i] : NULL);
    if (code != CL_SUCCESS)
      return act_fail(error, ACT_ERROR_LAUNCH, "step %u (%.200s) cannot be launched: %s (%d)", i,
                      placement->package->operators[i].text, act_opencl_error_name(code), code);
  }
  return ACT_OK;
}

static act_status start(act_placement *placement, act_error *error) {
  act_status status = enqueue(placement, placement->queue, NULL, error);
  if (status == ACT_OK) placement->cl->Flush(placement->queue); /* work starts while more is enqueued */
  return status;
}

/* Copies the host's tensors, one after another, to the inputs, or (`to_host`) the outputs to them. */
static act_status transfer(act_placement *placement, uint32_t first, uint32_t count, const float *from, float *to_host,
                           act_error *error) {
  cl_int code = CL_SUCCESS;
  size_t position = 0;
  for (uint32_t i = first; i < first + count && code == CL_SUCCESS; i++) {
    uint32_t index = placement->package->io[i];
    size_t size = (size_t)placement->package->buffers[index].size_bytes;
    cl_mem buffer = placement->buffers[index];
    if (to_host != NULL)
      code = placement->cl->EnqueueReadBuffer(placement->queue, buffer, CL_TRUE, 0, size, to_host + position, 0, NULL,
                                              NULL);
    else
      code = placement->cl->EnqueueWriteBuffer(placement->queue, buffer, CL_TRUE, 0, size, from + position, 0, NULL,
                                               NULL);
    position += size / sizeof(float);
  }
  if (code == CL_SUCCESS) return ACT_OK;
  return act_fail(error, ACT_ERROR_LAUNCH, "input or output cannot be copied: %s (%d)", act_opencl_error_name(code),
                  code);
}

static act_status write_inputs(act_placement *placement, const float *values, act_error *error) {
  return transfer(placement, 0, placement->package->header.input_count, values, NULL, error);
}

static act_status read_outputs(act_placement *placement, float *values, act_error *error) {
  const act_file_header *header = &placement->package->header;
  return transfer(placement, header->input_count, header->output_count, NULL, values, error);
}

static int can_profile(const act_placement *placement) {
  (void)placement;
  return 1;
}

static act_status profile(act_placement *placement, double *step_us, act_error *error) {
  const act_opencl *cl = placement->cl;
  cl_event *events = placement->events;
  uint32_t steps = placement->package->header.step_count;
  cl_int code = CL_SUCCESS;
  if (placement->profile_queue == NULL)
    placement->profile_queue =
        cl->CreateCommandQueue(placement->context, placement->device, CL_QUEUE_PROFILING_ENABLE, &code);
  if (placement->profile_queue == NULL)
    return act_fail(error, ACT_ERROR_LAUNCH, "the device gives no profiling queue: %s (%d)",
                    act_opencl_error_name(code), code);
  memset(events, 0, steps * sizeof *events);
  act_status status = enqueue(placement, placement->profile_queue, events, error);
  act_status finished = finish_queue(placement, placement->profile_queue, error);
  if (status == ACT_OK) status = finished;
  for (uint32_t i = 0; i < steps; i++) {
    if (events[i] == NULL) continue;
    cl_ulong begin = 0, end = 0;
    code = cl->GetEventProfilingInfo(events[i], CL_PROFILING_COMMAND_START, sizeof begin, &begin, NULL);
    if (code == CL_SUCCESS)
      code = cl->GetEventProfilingInfo(events[i], CL_PROFILING_COMMAND_END, sizeof end, &end, NULL);
    if (code != CL_SUCCESS && status == ACT_OK)
      status = act_fail(error, ACT_ERROR_LAUNCH, "step %u has no device time: %s (%d)", i, act_opencl_error_name(code),
                        code);
    step_us[i] = end > begin ? (double)(end - begin) * 1e-3 : 0;
    cl->ReleaseEvent(events[i]);
  }
  return status;
}

const act_backend act_opencl_backend = {
    .name = "opencl",
    .code = ACT_BACKEND_OPENCL,
    .list = act_opencl_list,
    .place = place,
    .release = release,
    .start = start,
    .finish = finish,
    .write_inputs = write_inputs,
    .read_outputs = read_outputs,
    .can_profile = can_profile,
    .profile = profile,
};
