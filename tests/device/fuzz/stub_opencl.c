/* OpenCL's entry points, as the runtime uses them. */
#include "act_opencl.h"
#include "stub_gpu.h"

#define DECLARE(name, result, parameters) result cl##name parameters;
ACT_OPENCL_FUNCTIONS(DECLARE)

stub_state stub;

typedef enum { CONTEXT = 0x51, QUEUE, BUFFER, SUB_BUFFER, IMAGE, PROGRAM, KERNEL, EVENT } kind_t;

typedef struct object {
  kind_t kind;
  size_t size;
  uint32_t arguments, bound;
  int profiles, declares_group;
} object_t;

static object_t *get(void *handle, kind_t kind) {
  object_t *object = handle;
  STUB_CHECK(object != NULL && object->kind == kind);
  return object;
}

static object_t *get_buffer(cl_mem handle) {
  object_t *object = (object_t *)(void *)handle;
  STUB_CHECK(object != NULL && (object->kind == BUFFER || object->kind == SUB_BUFFER || object->kind == IMAGE));
  return object;
}

static void *create(kind_t kind, cl_int failure, cl_int *code) {
  object_t *object = stub_fails() ? NULL : calloc(1, sizeof *object);
  *code = object != NULL ? CL_SUCCESS : failure;
  if (object == NULL) return NULL;
  object->kind = kind;
  stub.live++;
  return object;
}

static cl_int release(void *handle, kind_t kind) {
  free(get(handle, kind));
  stub.live--;
  return CL_SUCCESS;
}

static cl_int give(const void *value, size_t value_size, size_t size, void *result, size_t *needed) {
  if (stub_fails()) return -5;
  if (needed != NULL) *needed = value_size;
  if (result == NULL) return CL_SUCCESS;
  if (size < value_size) return -30;
  memcpy(result, value, value_size);
  return CL_SUCCESS;
}

static cl_int give_text(const char *text, size_t size, void *result, size_t *needed) {
  return give(text, strlen(text) + 1, size, result, needed);
}

static cl_int give_number(uint64_t value, size_t size, void *result, size_t *needed) {
  return give(&value, size < sizeof value ? size : sizeof value, size, result, needed);
}

cl_int clGetPlatformIDs(cl_uint room, cl_platform_id *platforms, cl_uint *count) {
  static int platform;
  if (stub_fails()) return -1001;
  STUB_CHECK(room > 0);
  platforms[0] = (cl_platform_id)(void *)&platform;
  *count = 1;
  return CL_SUCCESS;
}

cl_int clGetDeviceIDs(cl_platform_id platform, cl_bits type, cl_uint room, cl_device_id *devices, cl_uint *count) {
  static int device;
  if (stub_fails()) return -1;
  STUB_CHECK(platform != NULL && type != 0 && room > 0);
  devices[0] = (cl_device_id)(void *)&device;
  *count = 1;
  return CL_SUCCESS;
}

cl_int clGetPlatformInfo(cl_platform_id platform, cl_uint what, size_t size, void *result, size_t *needed) {
  STUB_CHECK(platform != NULL && what != 0);
  return give_text("stub", size, result, needed);
}

cl_int clGetDeviceInfo(cl_device_id device, cl_uint what, size_t size, void *result, size_t *needed) {
  static const size_t items[3] = {STUB_MAX_GROUP, STUB_MAX_GROUP, 64};
  STUB_CHECK(device != NULL);
  switch (what) {
    case CL_DEVICE_TYPE: return give_number(CL_DEVICE_TYPE_GPU, size, result, needed);
    case CL_DEVICE_MAX_COMPUTE_UNITS: return give_number(2, size, result, needed);
    case CL_DEVICE_MAX_WORK_GROUP_SIZE: return give_number(STUB_MAX_GROUP, size, result, needed);
    case CL_DEVICE_MAX_WORK_ITEM_SIZES: return give(items, sizeof items, size, result, needed);
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE: return give_number(STUB_MAX_ALLOCATION, size, result, needed);
    case CL_DEVICE_GLOBAL_MEM_SIZE: return give_number(STUB_GLOBAL_MEMORY, size, result, needed);
    case CL_DEVICE_LOCAL_MEM_SIZE: return give_number(STUB_LOCAL_MEMORY, size, result, needed);
    case CL_DEVICE_IMAGE_SUPPORT: return give_number(1, size, result, needed);
    case CL_DEVICE_IMAGE2D_MAX_WIDTH:
    case CL_DEVICE_IMAGE2D_MAX_HEIGHT: return give_number(STUB_MAX_IMAGE, size, result, needed);
    case CL_DEVICE_MEM_BASE_ADDR_ALIGN: return give_number(STUB_ALIGNMENT * 8, size, result, needed);
    default: return give_text("stub cl_khr_fp16", size, result, needed);
  }
}

cl_context clCreateContext(const intptr_t *properties, cl_uint count, const cl_device_id *devices,
                           void (*notify)(const char *, const void *, size_t, void *), void *data, cl_int *code) {
  STUB_CHECK(properties == NULL && count == 1 && devices[0] != NULL && notify == NULL && data == NULL);
  return create(CONTEXT, -6, code);
}

cl_int clReleaseContext(cl_context context) { return release(context, CONTEXT); }

cl_command_queue clCreateCommandQueue(cl_context context, cl_device_id device, cl_bits properties, cl_int *code) {
  get(context, CONTEXT);
  STUB_CHECK(device != NULL);
  object_t *queue = create(QUEUE, -6, code);
  if (queue != NULL) queue->profiles = properties == CL_QUEUE_PROFILING_ENABLE;
  return (cl_command_queue)(void *)queue;
}

cl_int clReleaseCommandQueue(cl_command_queue queue) { return release(queue, QUEUE); }

cl_mem clCreateBuffer(cl_context context, cl_bits flags, size_t size, void *content, cl_int *code) {
  get(context, CONTEXT);
  STUB_CHECK(size > 0 && size <= STUB_MAX_ALLOCATION);
  STUB_CHECK((content != NULL) == ((flags & CL_MEM_COPY_HOST_PTR) != 0));
  if (content != NULL) stub_read(content, size);
  object_t *buffer = create(BUFFER, -4, code);
  if (buffer != NULL) buffer->size = size;
  return (cl_mem)(void *)buffer;
}

cl_mem clCreateSubBuffer(cl_mem handle, cl_bits flags, cl_uint type, const void *info, cl_int *code) {
  const cl_buffer_region *region = info;
  const object_t *parent = get((void *)handle, BUFFER);
  STUB_CHECK(flags != 0 && type == CL_BUFFER_CREATE_TYPE_REGION);
  STUB_CHECK(region->size > 0 && region->origin <= parent->size && region->size <= parent->size - region->origin);
  *code = -13;
  /* Where a question has failed, the runtime may not know the alignment. */
  if (region->origin % STUB_ALIGNMENT != 0 && stub_has_failed()) return NULL;
  STUB_CHECK(region->origin % STUB_ALIGNMENT == 0);
  object_t *buffer = create(SUB_BUFFER, -4, code);
  if (buffer != NULL) buffer->size = region->size;
  return (cl_mem)(void *)buffer;
}

cl_mem clCreateImage(cl_context context, cl_bits flags, const cl_image_format *format, const cl_image_desc *desc,
                     void *content, cl_int *code) {
  get(context, CONTEXT);
  STUB_CHECK(flags == (CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR) && content != NULL);
  STUB_CHECK(format->channel_order == CL_RGBA && desc->type == CL_MEM_OBJECT_IMAGE2D && desc->row_pitch == 0);
  STUB_CHECK(desc->width > 0 && desc->width <= STUB_MAX_IMAGE && desc->height > 0 && desc->height <= STUB_MAX_IMAGE);
  STUB_CHECK(format->channel_type == CL_FLOAT || format->channel_type == CL_HALF_FLOAT);
  size_t size = desc->width * desc->height * (format->channel_type == CL_FLOAT ? 16 : 8);
  stub_read(content, size);
  object_t *image = create(IMAGE, -4, code);
  if (image != NULL) image->size = size;
  return (cl_mem)(void *)image;
}

cl_int clReleaseMemObject(cl_mem handle) { return release(handle, get_buffer(handle)->kind); }

static uint32_t count_word(const char *source, size_t size, const char *word) {
  uint32_t count = 0;
  for (size_t i = 0; i + strlen(word) <= size; i++) count += memcmp(source + i, word, strlen(word)) == 0;
  return count;
}

/* A kernel takes as many arguments as its program says __global or __read_only. */
static uint32_t count_arguments(const char *source, size_t size) {
  return count_word(source, size, "__global") + count_word(source, size, "__read_only");
}

cl_program clCreateProgramWithSource(cl_context context, cl_uint count, const char **texts, const size_t *sizes,
                                     cl_int *code) {
  get(context, CONTEXT);
  STUB_CHECK(count == 1 && sizes[0] > 0 && strlen(texts[0]) == sizes[0]);
  object_t *program = create(PROGRAM, -6, code);
  if (program == NULL) return NULL;
  program->arguments = count_arguments(texts[0], sizes[0]);
  program->declares_group = strstr(texts[0], "reqd") != NULL;
  return (cl_program)(void *)program;
}

cl_int clBuildProgram(cl_program program, cl_uint count, const cl_device_id *devices, const char *options,
                      void (*notify)(cl_program, void *), void *data) {
  get(program, PROGRAM);
  STUB_CHECK(count == 1 && devices[0] != NULL && notify == NULL && data == NULL);
  stub_read(options, strlen(options) + 1);
  return stub_fails() ? -11 : CL_SUCCESS;
}

cl_int clGetProgramBuildInfo(cl_program program, cl_device_id device, cl_uint what, size_t size, void *result,
                             size_t *needed) {
  get(program, PROGRAM);
  STUB_CHECK(device != NULL && what == CL_PROGRAM_BUILD_LOG);
  return give_text("line 1: a driver's words", size, result, needed);
}

cl_int clReleaseProgram(cl_program program) { return release(program, PROGRAM); }

cl_kernel clCreateKernel(cl_program handle, const char *name, cl_int *code) {
  const object_t *program = get(handle, PROGRAM);
  stub_read(name, strlen(name) + 1);
  object_t *kernel = create(KERNEL, -46, code);
  if (kernel == NULL) return NULL;
  kernel->arguments = program->arguments;
  kernel->declares_group = program->declares_group;
  return (cl_kernel)(void *)kernel;
}

cl_int clReleaseKernel(cl_kernel kernel) { return release(kernel, KERNEL); }

cl_int clSetKernelArg(cl_kernel handle, cl_uint index, size_t size, const void *value) {
  object_t *kernel = get(handle, KERNEL);
  cl_mem buffer;
  if (stub_fails()) return -51;
  STUB_CHECK(index < kernel->arguments && size == sizeof buffer);
  memcpy(&buffer, value, sizeof buffer);
  get_buffer(buffer);
  kernel->bound++;
  return CL_SUCCESS;
}

cl_int clGetKernelInfo(cl_kernel kernel, cl_uint what, size_t size, void *result, size_t *needed) {
  STUB_CHECK(what == CL_KERNEL_NUM_ARGS);
  return give_number(get(kernel, KERNEL)->arguments, size, result, needed);
}

cl_int clGetKernelWorkGroupInfo(cl_kernel kernel, cl_device_id device, cl_uint what, size_t size, void *result,
                                size_t *needed) {
  size_t group[3] = {0, 0, 0};
  STUB_CHECK(device != NULL);
  if (get(kernel, KERNEL)->declares_group) group[0] = 4, group[1] = group[2] = 1;
  if (what == CL_KERNEL_COMPILE_WORK_GROUP_SIZE) return give(group, sizeof group, size, result, needed);
  return give_number(what == CL_KERNEL_WORK_GROUP_SIZE ? STUB_MAX_GROUP : 1024, size, result, needed);
}

cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel handle, cl_uint dimensions, const size_t *offset,
                              const size_t *global, const size_t *local, cl_uint waits, const cl_event *wait,
                              cl_event *event) {
  object_t *kernel = get(handle, KERNEL);
  size_t items = 1;
  get(queue, QUEUE);
  STUB_CHECK(dimensions == 3 && offset == NULL && waits == 0 && wait == NULL && kernel->bound == kernel->arguments);
  for (int i = 0; i < 3; i++) {
    STUB_CHECK(local[i] > 0 && local[i] <= (i == 2 ? 64 : STUB_MAX_GROUP) && global[i] > 0 &&
               global[i] % local[i] == 0);
    items *= local[i];
  }
  STUB_CHECK(items <= STUB_MAX_GROUP && (!kernel->declares_group || (local[0] == 4 && items == 4)));
  cl_int code = CL_SUCCESS;
  if (event != NULL) {
    STUB_CHECK(get(queue, QUEUE)->profiles);
    *event = create(EVENT, -5, &code);
  } else if (stub_fails()) {
    code = -5;
  }
  return code;
}

cl_int clEnqueueReadBuffer(cl_command_queue queue, cl_mem buffer, cl_uint blocking, size_t offset, size_t size,
                           void *to, cl_uint waits, const cl_event *wait, cl_event *event) {
  get(queue, QUEUE);
  STUB_CHECK(blocking == CL_TRUE && offset == 0 && waits == 0 && wait == NULL && event == NULL);
  STUB_CHECK(size > 0 && size <= get_buffer(buffer)->size);
  if (stub_fails()) return -5;
  if (size > stub.output_bytes - stub.position) stub.position = 0;
  if (size <= stub.output_bytes) memcpy(to, stub.outputs + stub.position, size);
  else memset(to, 0, size);
  if (size <= stub.output_bytes) stub.position += size;
  return CL_SUCCESS;
}

cl_int clEnqueueWriteBuffer(cl_command_queue queue, cl_mem buffer, cl_uint blocking, size_t offset, size_t size,
                            const void *from, cl_uint waits, const cl_event *wait, cl_event *event) {
  get(queue, QUEUE);
  STUB_CHECK(blocking == CL_TRUE && offset == 0 && waits == 0 && wait == NULL && event == NULL);
  STUB_CHECK(size > 0 && size <= get_buffer(buffer)->size);
  stub_read(from, size);
  return stub_fails() ? -5 : CL_SUCCESS;
}

cl_int clEnqueueFillBuffer(cl_command_queue queue, cl_mem buffer, const void *pattern, size_t pattern_size,
                           size_t offset, size_t size, cl_uint waits, const cl_event *wait, cl_event *event) {
  get(queue, QUEUE);
  STUB_CHECK(waits == 0 && wait == NULL && event == NULL && offset == 0 && size % pattern_size == 0);
  STUB_CHECK(size <= get_buffer(buffer)->size);
  stub_read(pattern, pattern_size);
  return stub_fails() ? -5 : CL_SUCCESS;
}

cl_int clFlush(cl_command_queue queue) { return get(queue, QUEUE) != NULL ? CL_SUCCESS : -36; }
cl_int clFinish(cl_command_queue queue) { return get(queue, QUEUE) != NULL && stub_fails() ? -14 : CL_SUCCESS; }

cl_int clGetEventProfilingInfo(cl_event event, cl_uint what, size_t size, void *result, size_t *needed) {
  get(event, EVENT);
  return give_number(what == CL_PROFILING_COMMAND_START ? 1000 : 3000, size, result, needed);
}

cl_int clReleaseEvent(cl_event event) { return release(event, EVENT); }
