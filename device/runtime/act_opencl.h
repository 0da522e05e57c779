/* The few OpenCL declarations that the runtime uses, so that no OpenCL header or library is needed to build it.
 * Values are those of the OpenCL 1.2 specification. */
#ifndef ACT_OPENCL_H
#define ACT_OPENCL_H

#include "act_internal.h"

typedef int32_t cl_int;
typedef uint32_t cl_uint;
typedef uint64_t cl_ulong;
typedef cl_ulong cl_bits; /* every bit field and flag type */
typedef struct cl_platform *cl_platform_id;
typedef struct cl_device *cl_device_id;
typedef struct cl_context_ *cl_context;
typedef struct cl_queue *cl_command_queue;
typedef struct cl_memory *cl_mem;
typedef struct cl_program_ *cl_program;
typedef struct cl_kernel_ *cl_kernel;
typedef struct cl_event_ *cl_event;

typedef struct {
  size_t origin;
  size_t size;
} cl_buffer_region;

typedef struct {
  cl_uint channel_order;
  cl_uint channel_type;
} cl_image_format;

typedef struct {
  cl_uint type;
  size_t width, height, depth, array_size, row_pitch, slice_pitch;
  cl_uint mip_levels, samples;
  cl_mem memory;
} cl_image_desc;

enum {
  CL_SUCCESS = 0,
  CL_TRUE = 1,
  CL_PLATFORM_VERSION = 0x0901,
  CL_PLATFORM_NAME = 0x0902,
  CL_DEVICE_TYPE = 0x1000,
  CL_DEVICE_MAX_COMPUTE_UNITS = 0x1002,
  CL_DEVICE_MAX_WORK_GROUP_SIZE = 0x1004,
  CL_DEVICE_MAX_WORK_ITEM_SIZES = 0x1005,
  CL_DEVICE_MAX_MEM_ALLOC_SIZE = 0x1010,
  CL_DEVICE_IMAGE2D_MAX_WIDTH = 0x1011,
  CL_DEVICE_IMAGE2D_MAX_HEIGHT = 0x1012,
  CL_DEVICE_IMAGE_SUPPORT = 0x1016,
  CL_DEVICE_MEM_BASE_ADDR_ALIGN = 0x1019, /* in bits */
  CL_DEVICE_GLOBAL_MEM_SIZE = 0x101F,
  CL_DEVICE_LOCAL_MEM_SIZE = 0x1023,
  CL_DEVICE_NAME = 0x102B,
  CL_DEVICE_VENDOR = 0x102C,
  CL_DRIVER_VERSION = 0x102D,
  CL_DEVICE_VERSION = 0x102F,
  CL_DEVICE_EXTENSIONS = 0x1030,
  CL_RGBA = 0x10B5,
  CL_HALF_FLOAT = 0x10DD,
  CL_FLOAT = 0x10DE,
  CL_MEM_OBJECT_IMAGE2D = 0x10F1,
  CL_PROGRAM_BUILD_LOG = 0x1183,
  CL_KERNEL_NUM_ARGS = 0x1191,
  CL_KERNEL_WORK_GROUP_SIZE = 0x11B0,
  CL_KERNEL_COMPILE_WORK_GROUP_SIZE = 0x11B1,
  CL_KERNEL_LOCAL_MEM_SIZE = 0x11B2,
  CL_BUFFER_CREATE_TYPE_REGION = 0x1220,
  CL_PROFILING_COMMAND_START = 0x1282,
  CL_PROFILING_COMMAND_END = 0x1283
};
#define CL_DEVICE_TYPE_ALL 0xFFFFFFFFu
#define CL_DEVICE_TYPE_CPU 2u
#define CL_DEVICE_TYPE_GPU 4u
#define CL_DEVICE_TYPE_ACCELERATOR 8u
#define CL_QUEUE_PROFILING_ENABLE 2u
#define CL_MEM_READ_WRITE 1u
#define CL_MEM_READ_ONLY 4u
#define CL_MEM_COPY_HOST_PTR 32u

/* name, result, parameters: of every entry point that is used. */
#define ACT_OPENCL_FUNCTIONS(X)                                                                                   \
  X(GetPlatformIDs, cl_int, (cl_uint, cl_platform_id *, cl_uint *))                                               \
  X(GetPlatformInfo, cl_int, (cl_platform_id, cl_uint, size_t, void *, size_t *))                                 \
  X(GetDeviceIDs, cl_int, (cl_platform_id, cl_bits, cl_uint, cl_device_id *, cl_uint *))                          \
  X(GetDeviceInfo, cl_int, (cl_device_id, cl_uint, size_t, void *, size_t *))                                     \
  X(CreateContext, cl_context, (const intptr_t *, cl_uint, const cl_device_id *,                                  \
                                void (*)(const char *, const void *, size_t, void *), void *, cl_int *))          \
  X(ReleaseContext, cl_int, (cl_context))                                                                         \
  X(CreateCommandQueue, cl_command_queue, (cl_context, cl_device_id, cl_bits, cl_int *))                          \
  X(ReleaseCommandQueue, cl_int, (cl_command_queue))                                                              \
  X(CreateBuffer, cl_mem, (cl_context, cl_bits, size_t, void *, cl_int *))                                        \
  X(CreateSubBuffer, cl_mem, (cl_mem, cl_bits, cl_uint, const void *, cl_int *))                                  \
  X(CreateImage, cl_mem, (cl_context, cl_bits, const cl_image_format *, const cl_image_desc *, void *, cl_int *)) \
  X(ReleaseMemObject, cl_int, (cl_mem))                                                                           \
  X(CreateProgramWithSource, cl_program, (cl_context, cl_uint, const char **, const size_t *, cl_int *))          \
  X(BuildProgram, cl_int, (cl_program, cl_uint, const cl_device_id *, const char *, void (*)(cl_program, void *), \
                           void *))                                                                               \
  X(GetProgramBuildInfo, cl_int, (cl_program, cl_device_id, cl_uint, size_t, void *, size_t *))                   \
  X(ReleaseProgram, cl_int, (cl_program))                                                                         \
  X(CreateKernel, cl_kernel, (cl_program, const char *, cl_int *))                                                \
  X(ReleaseKernel, cl_int, (cl_kernel))                                                                           \
  X(SetKernelArg, cl_int, (cl_kernel, cl_uint, size_t, const void *))                                             \
  X(GetKernelInfo, cl_int, (cl_kernel, cl_uint, size_t, void *, size_t *))                                        \
  X(GetKernelWorkGroupInfo, cl_int, (cl_kernel, cl_device_id, cl_uint, size_t, void *, size_t *))                 \
  X(EnqueueNDRangeKernel, cl_int, (cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *,          \
                                   const size_t *, cl_uint, const cl_event *, cl_event *))                        \
  X(EnqueueReadBuffer, cl_int, (cl_command_queue, cl_mem, cl_uint, size_t, size_t, void *, cl_uint,               \
                                const cl_event *, cl_event *))                                                    \
  X(EnqueueWriteBuffer, cl_int, (cl_command_queue, cl_mem, cl_uint, size_t, size_t, const void *, cl_uint,        \
                                 const cl_event *, cl_event *))                                                   \
  X(EnqueueFillBuffer, cl_int, (cl_command_queue, cl_mem, const void *, size_t, size_t, size_t, cl_uint,          \
                                const cl_event *, cl_event *))                                                    \
  X(Flush, cl_int, (cl_command_queue))                                                                            \
  X(Finish, cl_int, (cl_command_queue))                                                                           \
  X(GetEventProfilingInfo, cl_int, (cl_event, cl_uint, size_t, void *, size_t *))                                 \
  X(ReleaseEvent, cl_int, (cl_event))

#define ACT_OPENCL_FIELD(name, result, parameters) result(*name) parameters;
typedef struct {
  ACT_OPENCL_FUNCTIONS(ACT_OPENCL_FIELD)
} act_opencl;
#undef ACT_OPENCL_FIELD

/* The library's entry points; opened once and never closed (drivers do not survive dlclose). NULL with `error`. */
const act_opencl *act_opencl_open(act_error *error);

act_status act_opencl_list(act_device_info **devices, size_t *count, act_error *error);

/* The handle of device `index` of act_opencl_list, with its description. */
act_status act_opencl_device(const act_opencl *cl, uint32_t index, cl_device_id *device, act_device_info *info,
                             act_error *error);

const char *act_opencl_error_name(cl_int code);

#endif
