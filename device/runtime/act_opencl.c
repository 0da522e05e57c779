/* Opens libOpenCL at run time and describes the devices behind it. */
#include "act_opencl.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*act_function)(void);
typedef struct {
  void *library;
  void *(*load_pointer)(const char *); /* Pixel phones hide the entry points behind this */
} act_library;

/* ISO C has no conversion from an object pointer to a function pointer; POSIX promises the same representation. */
static void assign(void *function, void *pointer) { memcpy(function, &pointer, sizeof pointer); }

static void *find(const act_library *library, const char *name) {
  void *pointer = library->load_pointer != NULL ? library->load_pointer(name) : NULL;
  return pointer != NULL ? pointer : dlsym(library->library, name);
}

/* Opens one name; on failure appends the reason to `attempts`. */
static int try_open(const char *name, act_library *library, char *attempts, size_t size) {
  library->load_pointer = NULL;
  library->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library->library == NULL) {
    size_t used = strlen(attempts);
    const char *reason = dlerror();
    snprintf(attempts + used, size - used, "\n  %s: %s", name, reason != NULL ? reason : "cannot be opened");
    return 0;
  }
  void *enable = dlsym(library->library, "enableOpenCL");
  void *load = dlsym(library->library, "loadOpenCLPointer");
  if (enable != NULL && load != NULL) {
    void (*enable_opencl)(void);
    assign(&enable_opencl, enable);
    enable_opencl();
    assign(&library->load_pointer, load);
  }
  return 1;
}

static int open_library(act_library *library, char *attempts, size_t size) {
  static const char *const names[] = {"libOpenCL.so", "libOpenCL.so.1", "/vendor/lib64/libOpenCL.so",
                                      "/system/vendor/lib64/libOpenCL.so", "/system/lib64/libOpenCL.so",
                                      "libOpenCL-pixel.so"};
  const char *chosen = getenv("ACT_OPENCL_LIBRARY");
  if (chosen != NULL && *chosen != 0 && try_open(chosen, library, attempts, size)) return 1;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (try_open(names[i], library, attempts, size)) return 1;
  return 0;
}

static const act_opencl *open_once(act_error *error) {
  static act_opencl functions;
  static int loaded;
  if (loaded) return &functions;
  act_library library;
  char attempts[4096] = "";
  if (!open_library(&library, attempts, sizeof attempts)) {
    act_fail(error, ACT_ERROR_DEVICE, "no OpenCL library could be opened:%s", attempts);
    return NULL;
  }
#define ACT_OPENCL_LOAD(name, result, parameters)                                                     \
  {                                                                                                   \
    void *pointer = find(&library, "cl" #name);                                                       \
    if (pointer == NULL) {                                                                            \
      act_fail(error, ACT_ERROR_DEVICE, "the OpenCL library lacks cl%s (OpenCL 1.2 is needed)", #name); \
      return NULL;                                                                                    \
    }                                                                                                 \
    assign(&functions.name, pointer);                                                                 \
  }
  ACT_OPENCL_FUNCTIONS(ACT_OPENCL_LOAD)
#undef ACT_OPENCL_LOAD
  loaded = 1;
  return &functions;
}

const act_opencl *act_opencl_open(act_error *error) {
  act_lock();
  const act_opencl *cl = open_once(error);
  act_unlock();
  return cl;
}

#define ACT_TEXT(target, call)                                  \
  {                                                             \
    char *text = (target);                                      \
    if ((call) != CL_SUCCESS) text[0] = 0;                      \
    text[sizeof(target) - 1] = 0;                               \
  }

static void describe(const act_opencl *cl, cl_platform_id platform, cl_device_id device, uint32_t index,
                     act_device_info *info) {
  memset(info, 0, sizeof *info);
  snprintf(info->id, sizeof info->id, "opencl:%u", index);
  ACT_TEXT(info->platform,
           cl->GetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof info->platform, info->platform, NULL))
  ACT_TEXT(info->platform_version, cl->GetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof info->platform_version,
                                                       info->platform_version, NULL))
  ACT_TEXT(info->name, cl->GetDeviceInfo(device, CL_DEVICE_NAME, sizeof info->name, info->name, NULL))
  ACT_TEXT(info->vendor, cl->GetDeviceInfo(device, CL_DEVICE_VENDOR, sizeof info->vendor, info->vendor, NULL))
  ACT_TEXT(info->version, cl->GetDeviceInfo(device, CL_DEVICE_VERSION, sizeof info->version, info->version, NULL))
  ACT_TEXT(info->driver, cl->GetDeviceInfo(device, CL_DRIVER_VERSION, sizeof info->driver, info->driver, NULL))
  cl_bits type = 0;
  cl_uint units = 0, alignment_bits = 0;
  cl_ulong memory = 0, allocation = 0, local = 0;
  size_t group = 0;
  cl->GetDeviceInfo(device, CL_DEVICE_TYPE, sizeof type, &type, NULL);
  cl->GetDeviceInfo(device, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL);
  cl->GetDeviceInfo(device, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, NULL);
  cl->GetDeviceInfo(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof allocation, &allocation, NULL);
  cl->GetDeviceInfo(device, CL_DEVICE_LOCAL_MEM_SIZE, sizeof local, &local, NULL);
  cl->GetDeviceInfo(device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof group, &group, NULL);
  cl->GetDeviceInfo(device, CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof alignment_bits, &alignment_bits, NULL);
  info->type = type & CL_DEVICE_TYPE_GPU           ? "gpu"
               : type & CL_DEVICE_TYPE_CPU         ? "cpu"
               : type & CL_DEVICE_TYPE_ACCELERATOR ? "accelerator"
                                                   : "other";
  info->compute_units = units;
  info->global_memory_bytes = memory;
  info->max_allocation_bytes = allocation;
  info->local_memory_bytes = local;
  info->max_work_group_size = group;
  info->base_alignment_bytes = alignment_bits >= 8 ? alignment_bits / 8 : 1;
  size_t length = 0;
  if (cl->GetDeviceInfo(device, CL_DEVICE_EXTENSIONS, 0, NULL, &length) == CL_SUCCESS && length > 0) {
    char *extensions = calloc(length + 1, 1);
    if (extensions != NULL &&
        cl->GetDeviceInfo(device, CL_DEVICE_EXTENSIONS, length, extensions, NULL) == CL_SUCCESS)
      info->has_fp16 = strstr(extensions, "cl_khr_fp16") != NULL;
    free(extensions);
  }
}

enum { MAX_PLATFORMS = 16, MAX_DEVICES = 64 };

/* Handles of all devices, platform after platform; returns their number. */
static uint32_t enumerate(const act_opencl *cl, cl_platform_id *platforms, cl_device_id *devices) {
  cl_platform_id found[MAX_PLATFORMS];
  cl_uint platform_count = 0;
  uint32_t count = 0;
  if (cl->GetPlatformIDs(MAX_PLATFORMS, found, &platform_count) != CL_SUCCESS) return 0;
  for (cl_uint i = 0; i < platform_count && i < MAX_PLATFORMS && count < MAX_DEVICES; i++) {
    cl_uint device_count = 0, room = MAX_DEVICES - count;
    if (cl->GetDeviceIDs(found[i], CL_DEVICE_TYPE_ALL, room, devices + count, &device_count) != CL_SUCCESS) continue;
    if (device_count > room) device_count = room;
    for (cl_uint j = 0; j < device_count; j++) platforms[count + j] = found[i];
    count += device_count;
  }
  return count;
}

act_status act_opencl_list(act_device_info **list, size_t *count, act_error *error) {
  cl_platform_id platforms[MAX_DEVICES];
  cl_device_id devices[MAX_DEVICES];
  *list = NULL;
  *count = 0;
  const act_opencl *cl = act_opencl_open(error);
  if (cl == NULL) return error->status;
  uint32_t found = enumerate(cl, platforms, devices);
  if (found == 0)
    return act_fail(error, ACT_ERROR_DEVICE, "the OpenCL library was opened, but it offers no device (no driver)");
  *list = calloc(found, sizeof **list);
  if (*list == NULL) return act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  for (uint32_t i = 0; i < found; i++) describe(cl, platforms[i], devices[i], i, *list + i);
  *count = found;
  return ACT_OK;
}

act_status act_opencl_device(const act_opencl *cl, uint32_t index, cl_device_id *device, act_device_info *info,
                             act_error *error) {
  cl_platform_id platforms[MAX_DEVICES];
  cl_device_id devices[MAX_DEVICES];
  uint32_t found = enumerate(cl, platforms, devices);
  if (index >= found) return act_fail(error, ACT_ERROR_DEVICE, "no device %u: there are %u", index, found);
  *device = devices[index];
  describe(cl, platforms[index], devices[index], index, info);
  return ACT_OK;
}

const char *act_opencl_error_name(cl_int code) {
  switch (code) {
    case -3: return "CL_COMPILER_NOT_AVAILABLE";
    case -4: return "CL_MEM_OBJECT_ALLOCATION_FAILURE";
    case -5: return "CL_OUT_OF_RESOURCES";
    case -6: return "CL_OUT_OF_HOST_MEMORY";
    case -11: return "CL_BUILD_PROGRAM_FAILURE";
    case -13: return "CL_MISALIGNED_SUB_BUFFER_OFFSET";
    case -14: return "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST";
    case -36: return "CL_INVALID_COMMAND_QUEUE";
    case -38: return "CL_INVALID_MEM_OBJECT";
    case -43: return "CL_INVALID_BUILD_OPTIONS";
    case -46: return "CL_INVALID_KERNEL_NAME";
    case -51: return "CL_INVALID_ARG_SIZE";
    case -52: return "CL_INVALID_KERNEL_ARGS";
    case -54: return "CL_INVALID_WORK_GROUP_SIZE";
    case -55: return "CL_INVALID_WORK_ITEM_SIZE";
    case -61: return "CL_INVALID_BUFFER_SIZE";
    case -63: return "CL_INVALID_GLOBAL_WORK_SIZE";
    default: return "OpenCL error";
  }
}
