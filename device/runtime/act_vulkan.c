/* Opens libvulkan at run time and describes the devices behind it that can compute. */
#include "act_vulkan.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*act_function)(void);
typedef act_function (*act_get_function)(VkInstance, const char *);

/* ISO C has no conversion between object and function pointers; POSIX promises the same representation. */
static void assign(void *function, const void *pointer) { memcpy(function, pointer, sizeof(act_function)); }

static act_get_function open_library(char *attempts, size_t size) {
  const char *names[] = {getenv("ACT_VULKAN_LIBRARY"), "libvulkan.so.1", "libvulkan.so"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (names[i] == NULL || *names[i] == 0) continue;
    void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    void *symbol = library != NULL ? dlsym(library, "vkGetInstanceProcAddr") : NULL;
    act_get_function get;
    if (symbol != NULL) {
      assign(&get, &symbol);
      return get;
    }
    size_t used = strlen(attempts);
    const char *reason = dlerror();
    snprintf(attempts + used, size - used, "\n  %s: %s", names[i], reason != NULL ? reason : "cannot be opened");
  }
  return NULL;
}

/* The instance has the version that the runtime is written for: SPIR-V 1.3 came with Vulkan 1.1. */
static act_status create_instance(act_vulkan *vk, act_error *error) {
  VkApplicationInfo application = {
      .sType = VK_TYPE_APPLICATION_INFO, .pApplicationName = "act", .apiVersion = VK_VERSION(1, 1)};
  VkInstanceCreateInfo create = {.sType = VK_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application};
  VkResult code = vk->CreateInstance(&create, NULL, &vk->instance);
  if (code == VK_SUCCESS) return ACT_OK;
  return act_fail(error, ACT_ERROR_DEVICE, "the Vulkan library was opened, but it gives no instance: %s (%d)",
                  act_vulkan_error_name(code), code);
}

#define ACT_VULKAN_LOAD(result, name, parameters)                                                        \
  {                                                                                                      \
    act_function function = get(vk.instance, "vk" #name);                                                \
    if (function == NULL) {                                                                              \
      act_fail(error, ACT_ERROR_DEVICE, "the Vulkan library lacks vk%s (Vulkan 1.1 is needed)", #name);  \
      return NULL;                                                                                       \
    }                                                                                                    \
    assign(&vk.name, &function);                                                                         \
  }

static const act_vulkan *open_once(act_error *error) {
  static act_vulkan vk;
  static int opened;
  if (opened) return &vk;
  char attempts[4096] = "";
  act_get_function get = open_library(attempts, sizeof attempts);
  if (get == NULL) {
    act_fail(error, ACT_ERROR_DEVICE, "no Vulkan library could be opened:%s", attempts);
    return NULL;
  }
  vk.instance = NULL; /* as the global functions want it, also after an attempt that failed */
  ACT_VULKAN_GLOBAL_FUNCTIONS(ACT_VULKAN_LOAD)
  if (create_instance(&vk, error) != ACT_OK) return NULL;
  ACT_VULKAN_INSTANCE_FUNCTIONS(ACT_VULKAN_LOAD)
  opened = 1;
  return &vk;
}

const act_vulkan *act_vulkan_open(act_error *error) {
  act_lock();
  const act_vulkan *vk = open_once(error);
  act_unlock();
  return vk;
}

static const char *type_name(uint32_t type) {
  return type == VK_DEVICE_TYPE_CPU ? "cpu" : type >= VK_DEVICE_TYPE_INTEGRATED && type <= VK_DEVICE_TYPE_VIRTUAL ? "gpu" : "other";
}

/* Name and version of the driver; the number alone where the device does not tell more. */
static void describe_driver(const act_vulkan *vk, VkPhysicalDevice handle, const VkPhysicalDeviceProperties *properties,
                            act_device_info *info) {
  VkPhysicalDeviceDriverProperties driver = {.sType = VK_TYPE_DRIVER_PROPERTIES};
  VkPhysicalDeviceProperties2 query = {.sType = VK_TYPE_PROPERTIES_2, .pNext = &driver};
  if (properties->apiVersion >= VK_VERSION(1, 2)) vk->GetPhysicalDeviceProperties2(handle, &query);
  driver.driverName[sizeof driver.driverName - 1] = driver.driverInfo[sizeof driver.driverInfo - 1] = 0;
  if (driver.driverName[0] != 0)
    snprintf(info->driver, sizeof info->driver, "%.120s %.120s", driver.driverName, driver.driverInfo);
  else
    snprintf(info->driver, sizeof info->driver, "%u", properties->driverVersion);
}

static void describe_memory(const act_vulkan *vk, VkPhysicalDevice handle, act_device_info *info) {
  VkPhysicalDeviceMemoryProperties memory;
  vk->GetPhysicalDeviceMemoryProperties(handle, &memory);
  for (uint32_t i = 0; i < memory.memoryHeapCount; i++)
    if ((memory.memoryHeaps[i].flags & VK_MEMORY_DEVICE_LOCAL) && memory.memoryHeaps[i].size > info->global_memory_bytes)
      info->global_memory_bytes = memory.memoryHeaps[i].size;
}

static void describe(const act_vulkan *vk, uint32_t index, act_vulkan_device *device) {
  VkPhysicalDevice handle = device->handle;
  act_device_info *info = &device->info;
  VkPhysicalDevice16BitStorageFeatures half = {.sType = VK_TYPE_16BIT_STORAGE_FEATURES};
  VkPhysicalDeviceFeatures2 features = {.sType = VK_TYPE_FEATURES_2, .pNext = &half};
  VkPhysicalDeviceMaintenance3Properties most = {.sType = VK_TYPE_MAINTENANCE_3_PROPERTIES};
  VkPhysicalDeviceProperties2 query = {.sType = VK_TYPE_PROPERTIES_2, .pNext = &most};
  vk->GetPhysicalDeviceFeatures2(handle, &features);
  vk->GetPhysicalDeviceProperties2(handle, &query);
  const VkPhysicalDeviceProperties *properties = &query.properties;
  device->limits = properties->limits;
  device->max_allocation_bytes = most.maxMemoryAllocationSize;
  snprintf(info->id, sizeof info->id, "vulkan:%u", index);
  snprintf(info->platform, sizeof info->platform, "Vulkan");
  snprintf(info->platform_version, sizeof info->platform_version, "%u.%u.%u", properties->apiVersion >> 22 & 0x7f,
           properties->apiVersion >> 12 & 0x3ff, properties->apiVersion & 0xfff);
  snprintf(info->version, sizeof info->version, "%s", info->platform_version);
  snprintf(info->name, sizeof info->name, "%.255s", properties->deviceName);
  snprintf(info->vendor, sizeof info->vendor, "0x%04x", properties->vendorID);
  describe_driver(vk, handle, properties, info);
  describe_memory(vk, handle, info);
  info->type = type_name(properties->deviceType);
  info->max_allocation_bytes = most.maxMemoryAllocationSize;
  info->local_memory_bytes = properties->limits.maxComputeSharedMemorySize;
  info->max_work_group_size = properties->limits.maxComputeWorkGroupInvocations;
  info->base_alignment_bytes = (uint32_t)properties->limits.minStorageBufferOffsetAlignment;
  info->has_fp16 = half.storageBuffer16BitAccess != 0;
}

/* Whether a device has a queue for compute, and Vulkan 1.1. */
static int is_usable(const act_vulkan *vk, VkPhysicalDevice handle, act_vulkan_device *device) {
  VkPhysicalDeviceProperties properties;
  VkQueueFamilyProperties families[16];
  uint32_t count = sizeof families / sizeof *families;
  vk->GetPhysicalDeviceProperties(handle, &properties);
  vk->GetPhysicalDeviceQueueFamilyProperties(handle, &count, families);
  for (uint32_t i = 0; i < count && properties.apiVersion >= VK_VERSION(1, 1); i++) {
    if (!(families[i].queueFlags & VK_QUEUE_COMPUTE) || families[i].queueCount == 0) continue;
    memset(device, 0, sizeof *device);
    device->handle = handle;
    device->queue_family = i;
    device->has_clock = families[i].timestampValidBits >= 32;
    return 1;
  }
  return 0;
}

enum { MAX_DEVICES = 16 };

/* All usable devices, in the order of the loader; returns their number. */
static uint32_t enumerate(const act_vulkan *vk, act_vulkan_device *devices) {
  VkPhysicalDevice handles[MAX_DEVICES];
  uint32_t found = MAX_DEVICES, count = 0;
  VkResult code = vk->EnumeratePhysicalDevices(vk->instance, &found, handles);
  if (code != VK_SUCCESS && code != VK_INCOMPLETE) return 0;
  for (uint32_t i = 0; i < found; i++) {
    if (!is_usable(vk, handles[i], &devices[count])) continue;
    describe(vk, count, &devices[count]);
    count++;
  }
  return count;
}

act_status act_vulkan_list(act_device_info **list, size_t *count, act_error *error) {
  act_vulkan_device devices[MAX_DEVICES];
  *list = NULL;
  *count = 0;
  const act_vulkan *vk = act_vulkan_open(error);
  if (vk == NULL) return error->status;
  uint32_t found = enumerate(vk, devices);
  if (found == 0)
    return act_fail(error, ACT_ERROR_DEVICE,
                    "the Vulkan library was opened, but it offers no device with Vulkan 1.1 (no driver)");
  *list = calloc(found, sizeof **list);
  if (*list == NULL) return act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  for (uint32_t i = 0; i < found; i++) (*list)[i] = devices[i].info;
  *count = found;
  return ACT_OK;
}

act_status act_vulkan_find(const act_vulkan *vk, uint32_t index, act_vulkan_device *device, act_error *error) {
  act_vulkan_device devices[MAX_DEVICES];
  uint32_t found = enumerate(vk, devices);
  if (index >= found) return act_fail(error, ACT_ERROR_DEVICE, "no device vulkan:%u: there are %u", index, found);
  *device = devices[index];
  return ACT_OK;
}

const char *act_vulkan_error_name(VkResult code) {
  switch (code) {
    case -1: return "VK_ERROR_OUT_OF_HOST_MEMORY";
    case -2: return "VK_ERROR_OUT_OF_DEVICE_MEMORY";
    case -3: return "VK_ERROR_INITIALIZATION_FAILED";
    case -4: return "VK_ERROR_DEVICE_LOST";
    case -5: return "VK_ERROR_MEMORY_MAP_FAILED";
    case -6: return "VK_ERROR_LAYER_NOT_PRESENT";
    case -8: return "VK_ERROR_FEATURE_NOT_PRESENT";
    case -9: return "VK_ERROR_INCOMPATIBLE_DRIVER";
    case -10: return "VK_ERROR_TOO_MANY_OBJECTS";
    case -1000012000: return "VK_ERROR_INVALID_SHADER";
    case -1000069000: return "VK_ERROR_OUT_OF_POOL_MEMORY";
    default: return "Vulkan error";
  }
}
