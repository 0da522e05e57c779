/* The few Vulkan declarations that the runtime uses, so that no Vulkan header or library is needed to build it.
 * Layouts and values are those of the Vulkan 1.1 specification. */
#ifndef ACT_VULKAN_H
#define ACT_VULKAN_H

#include "act_internal.h"

typedef struct VkInstance_ *VkInstance;
typedef struct VkPhysicalDevice_ *VkPhysicalDevice;
typedef struct VkDevice_ *VkDevice;
typedef struct VkQueue_ *VkQueue;
typedef struct VkCommandBuffer_ *VkCommandBuffer;
typedef uint64_t VkHandle; /* of every object that has no dispatch table */
typedef uint64_t VkDeviceSize;
typedef uint32_t VkFlags;
typedef int32_t VkResult;

#define VK_VERSION(major, minor) ((uint32_t)(major) << 22 | (uint32_t)(minor) << 12)
enum {
  VK_SUCCESS = 0,
  VK_INCOMPLETE = 5,
  VK_TYPE_APPLICATION_INFO = 0,
  VK_TYPE_INSTANCE_CREATE_INFO = 1,
  VK_TYPE_DEVICE_QUEUE_CREATE_INFO = 2,
  VK_TYPE_DEVICE_CREATE_INFO = 3,
  VK_TYPE_SUBMIT_INFO = 4,
  VK_TYPE_MEMORY_ALLOCATE_INFO = 5,
  VK_TYPE_QUERY_POOL_CREATE_INFO = 11,
  VK_TYPE_BUFFER_CREATE_INFO = 12,
  VK_TYPE_BUFFER_VIEW_CREATE_INFO = 13,
  VK_TYPE_SHADER_MODULE_CREATE_INFO = 16,
  VK_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO = 18,
  VK_TYPE_COMPUTE_PIPELINE_CREATE_INFO = 29,
  VK_TYPE_PIPELINE_LAYOUT_CREATE_INFO = 30,
  VK_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO = 32,
  VK_TYPE_DESCRIPTOR_POOL_CREATE_INFO = 33,
  VK_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO = 34,
  VK_TYPE_WRITE_DESCRIPTOR_SET = 35,
  VK_TYPE_COMMAND_POOL_CREATE_INFO = 39,
  VK_TYPE_COMMAND_BUFFER_ALLOCATE_INFO = 40,
  VK_TYPE_COMMAND_BUFFER_BEGIN_INFO = 42,
  VK_TYPE_MEMORY_BARRIER = 46,
  VK_TYPE_FEATURES_2 = 1000059000,
  VK_TYPE_PROPERTIES_2 = 1000059001,
  VK_TYPE_16BIT_STORAGE_FEATURES = 1000083000,
  VK_TYPE_MAINTENANCE_3_PROPERTIES = 1000168000,
  VK_TYPE_DRIVER_PROPERTIES = 1000196000,
  VK_QUEUE_COMPUTE = 2,
  VK_MEMORY_DEVICE_LOCAL = 1,
  VK_MEMORY_HOST_VISIBLE = 2,
  VK_MEMORY_HOST_COHERENT = 4,
  VK_BUFFER_TRANSFER_SRC = 1,
  VK_BUFFER_TRANSFER_DST = 2,
  VK_BUFFER_UNIFORM_TEXEL = 4,
  VK_BUFFER_STORAGE = 0x20,
  VK_FORMAT_R32_SINT = 99,
  VK_FORMAT_R32_SFLOAT = 100,
  VK_FORMAT_R32G32B32A32_SINT = 108,
  VK_FORMAT_R32G32B32A32_SFLOAT = 109,
  VK_FORMAT_FEATURE_UNIFORM_TEXEL_BUFFER = 8,
  VK_DESCRIPTOR_UNIFORM_TEXEL_BUFFER = 4,
  VK_DESCRIPTOR_STORAGE_BUFFER = 7,
  VK_SHADER_STAGE_COMPUTE = 0x20,
  VK_BIND_POINT_COMPUTE = 1,
  VK_STAGE_COMPUTE = 0x800,
  VK_STAGE_TRANSFER = 0x1000,
  VK_STAGE_HOST = 0x4000,
  VK_ACCESS_SHADER_READ = 0x20,
  VK_ACCESS_SHADER_WRITE = 0x40,
  VK_ACCESS_TRANSFER_READ = 0x800,
  VK_ACCESS_TRANSFER_WRITE = 0x1000,
  VK_ACCESS_HOST_READ = 0x2000,
  VK_ACCESS_HOST_WRITE = 0x4000,
  VK_QUERY_TIMESTAMP = 2,
  VK_QUERY_RESULT_64 = 1,
  VK_QUERY_RESULT_WAIT = 2,
  VK_COMMAND_BUFFER_SIMULTANEOUS_USE = 4,
  VK_COMMAND_POOL_RESET = 2,
  VK_DEVICE_TYPE_INTEGRATED = 1,
  VK_DEVICE_TYPE_VIRTUAL = 3,
  VK_DEVICE_TYPE_CPU = 4
};

/* Limits by the names of the specification; those that are not used are skipped. */
typedef struct {
  uint32_t skipped0[5];
  uint32_t maxTexelBufferElements;
  uint32_t skipped11;
  uint32_t maxStorageBufferRange;
  uint32_t skipped1[3];
  VkDeviceSize skipped2[2];
  uint32_t skipped3[3];
  uint32_t maxPerStageDescriptorStorageBuffers;
  uint32_t maxPerStageDescriptorSampledImages;
  uint32_t skipped4[6];
  uint32_t maxDescriptorSetStorageBuffers;
  uint32_t skipped12;
  uint32_t maxDescriptorSetSampledImages;
  uint32_t skipped5[24];
  uint32_t maxComputeSharedMemorySize;
  uint32_t maxComputeWorkGroupCount[3];
  uint32_t maxComputeWorkGroupInvocations;
  uint32_t maxComputeWorkGroupSize[3];
  uint32_t skipped6[13];
  size_t minMemoryMapAlignment;
  VkDeviceSize minTexelBufferOffsetAlignment;
  VkDeviceSize skipped7;
  VkDeviceSize minStorageBufferOffsetAlignment;
  uint32_t skipped8[22];
  float timestampPeriod; /* nanoseconds of one tick */
  uint32_t skipped9[12];
  VkDeviceSize skipped10[3];
} VkPhysicalDeviceLimits;
#if UINTPTR_MAX == UINT64_MAX
_Static_assert(offsetof(VkPhysicalDeviceLimits, maxTexelBufferElements) == 20, "limits");
_Static_assert(offsetof(VkPhysicalDeviceLimits, maxPerStageDescriptorSampledImages) == 80, "limits");
_Static_assert(offsetof(VkPhysicalDeviceLimits, maxDescriptorSetSampledImages) == 116, "limits");
_Static_assert(offsetof(VkPhysicalDeviceLimits, maxComputeSharedMemorySize) == 216, "limits");
_Static_assert(offsetof(VkPhysicalDeviceLimits, minTexelBufferOffsetAlignment) == 312, "limits");
_Static_assert(offsetof(VkPhysicalDeviceLimits, minStorageBufferOffsetAlignment) == 328, "limits");
_Static_assert(offsetof(VkPhysicalDeviceLimits, timestampPeriod) == 424, "limits");
_Static_assert(sizeof(VkPhysicalDeviceLimits) == 504, "limits");
#endif

typedef struct {
  uint32_t apiVersion, driverVersion, vendorID, deviceID, deviceType;
  char deviceName[256];
  uint8_t pipelineCacheUUID[16];
  VkPhysicalDeviceLimits limits;
  uint32_t sparse[5];
} VkPhysicalDeviceProperties;

typedef struct {
  uint32_t sType;
  void *pNext;
  VkPhysicalDeviceProperties properties;
} VkPhysicalDeviceProperties2;

typedef struct {
  uint32_t sType;
  void *pNext;
  uint32_t driverID;
  char driverName[256], driverInfo[256];
  uint8_t conformanceVersion[4];
} VkPhysicalDeviceDriverProperties;

typedef struct {
  uint32_t sType;
  void *pNext;
  uint32_t maxPerSetDescriptors;
  VkDeviceSize maxMemoryAllocationSize;
} VkPhysicalDeviceMaintenance3Properties;

typedef struct {
  uint32_t sType;
  void *pNext;
  uint32_t features[55]; /* VkPhysicalDeviceFeatures: none of them is used */
} VkPhysicalDeviceFeatures2;

typedef struct {
  uint32_t sType;
  void *pNext;
  uint32_t storageBuffer16BitAccess, uniformAndStorageBuffer16BitAccess, storagePushConstant16, storageInputOutput16;
} VkPhysicalDevice16BitStorageFeatures;

typedef struct {
  VkFlags propertyFlags;
  uint32_t heapIndex;
} VkMemoryType;

typedef struct {
  VkDeviceSize size;
  VkFlags flags;
} VkMemoryHeap;

typedef struct {
  uint32_t memoryTypeCount;
  VkMemoryType memoryTypes[32];
  uint32_t memoryHeapCount;
  VkMemoryHeap memoryHeaps[16];
} VkPhysicalDeviceMemoryProperties;

typedef struct {
  VkFlags queueFlags;
  uint32_t queueCount, timestampValidBits, granularity[3];
} VkQueueFamilyProperties;

typedef struct {
  uint32_t sType;
  const void *pNext;
  const char *pApplicationName;
  uint32_t applicationVersion;
  const char *pEngineName;
  uint32_t engineVersion, apiVersion;
} VkApplicationInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags flags;
  const VkApplicationInfo *pApplicationInfo;
  uint32_t enabledLayerCount;
  const char *const *ppEnabledLayerNames;
  uint32_t enabledExtensionCount;
  const char *const *ppEnabledExtensionNames;
} VkInstanceCreateInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags flags;
  uint32_t queueFamilyIndex, queueCount;
  const float *pQueuePriorities;
} VkDeviceQueueCreateInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags flags;
  uint32_t queueCreateInfoCount;
  const VkDeviceQueueCreateInfo *pQueueCreateInfos;
  uint32_t enabledLayerCount;
  const char *const *ppEnabledLayerNames;
  uint32_t enabledExtensionCount;
  const char *const *ppEnabledExtensionNames;
  const void *pEnabledFeatures;
} VkDeviceCreateInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags flags;
  VkDeviceSize size;
  VkFlags usage;
  uint32_t sharingMode, queueFamilyIndexCount;
  const uint32_t *pQueueFamilyIndices;
} VkBufferCreateInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags flags;
  VkHandle buffer;
  uint32_t format;
  VkDeviceSize offset, range;
} VkBufferViewCreateInfo;

typedef struct {
  VkFlags linearTilingFeatures, optimalTilingFeatures, bufferFeatures;
} VkFormatProperties;

typedef struct {
  VkDeviceSize size, alignment;
  uint32_t memoryTypeBits;
} VkMemoryRequirements;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkDeviceSize allocationSize;
  uint32_t memoryTypeIndex;
} VkMemoryAllocateInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags flags;
  size_t codeSize;
  const uint32_t *pCode;
} VkShaderModuleCreateInfo;

typedef struct {
  uint32_t binding, descriptorType, descriptorCount;
  VkFlags stageFlags;
  const VkHandle *pImmutableSamplers;
} VkDescriptorSetLayoutBinding;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags flags;
  uint32_t bindingCount;
  const VkDescriptorSetLayoutBinding *pBindings;
} VkDescriptorSetLayoutCreateInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags flags;
  uint32_t setLayoutCount;
  const VkHandle *pSetLayouts;
  uint32_t pushConstantRangeCount;
  const void *pPushConstantRanges;
} VkPipelineLayoutCreateInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags flags;
  uint32_t stage;
  VkHandle module;
  const char *pName;
  const void *pSpecializationInfo;
} VkPipelineShaderStageCreateInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags flags;
  VkPipelineShaderStageCreateInfo stage;
  VkHandle layout, basePipelineHandle;
  int32_t basePipelineIndex;
} VkComputePipelineCreateInfo;

typedef struct {
  uint32_t type, descriptorCount;
} VkDescriptorPoolSize;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags flags;
  uint32_t maxSets, poolSizeCount;
  const VkDescriptorPoolSize *pPoolSizes;
} VkDescriptorPoolCreateInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkHandle descriptorPool;
  uint32_t descriptorSetCount;
  const VkHandle *pSetLayouts;
} VkDescriptorSetAllocateInfo;

typedef struct {
  VkHandle buffer;
  VkDeviceSize offset, range;
} VkDescriptorBufferInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkHandle dstSet;
  uint32_t dstBinding, dstArrayElement, descriptorCount, descriptorType;
  const void *pImageInfo;
  const VkDescriptorBufferInfo *pBufferInfo;
  const VkHandle *pTexelBufferView;
} VkWriteDescriptorSet;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags flags;
  uint32_t queueFamilyIndex;
} VkCommandPoolCreateInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkHandle commandPool;
  uint32_t level, commandBufferCount;
} VkCommandBufferAllocateInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags flags;
  const void *pInheritanceInfo;
} VkCommandBufferBeginInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags srcAccessMask, dstAccessMask;
} VkMemoryBarrier;

typedef struct {
  VkDeviceSize srcOffset, dstOffset, size;
} VkBufferCopy;

typedef struct {
  uint32_t sType;
  const void *pNext;
  uint32_t waitSemaphoreCount;
  const VkHandle *pWaitSemaphores;
  const VkFlags *pWaitDstStageMask;
  uint32_t commandBufferCount;
  const VkCommandBuffer *pCommandBuffers;
  uint32_t signalSemaphoreCount;
  const VkHandle *pSignalSemaphores;
} VkSubmitInfo;

typedef struct {
  uint32_t sType;
  const void *pNext;
  VkFlags flags;
  uint32_t queryType, queryCount;
  VkFlags pipelineStatistics;
} VkQueryPoolCreateInfo;

/* result, name, parameters: of every entry point that is used. */
#define ACT_VULKAN_GLOBAL_FUNCTIONS(X)                                                                   \
  X(VkResult, CreateInstance, (const VkInstanceCreateInfo *, const void *, VkInstance *))
#define ACT_VULKAN_INSTANCE_FUNCTIONS(X)                                                                 \
  X(void, DestroyInstance, (VkInstance, const void *))                                                   \
  X(VkResult, EnumeratePhysicalDevices, (VkInstance, uint32_t *, VkPhysicalDevice *))                    \
  X(void, GetPhysicalDeviceProperties, (VkPhysicalDevice, VkPhysicalDeviceProperties *))                 \
  X(void, GetPhysicalDeviceProperties2, (VkPhysicalDevice, VkPhysicalDeviceProperties2 *))               \
  X(void, GetPhysicalDeviceFeatures2, (VkPhysicalDevice, VkPhysicalDeviceFeatures2 *))                   \
  X(void, GetPhysicalDeviceFormatProperties, (VkPhysicalDevice, uint32_t, VkFormatProperties *))         \
  X(void, GetPhysicalDeviceMemoryProperties, (VkPhysicalDevice, VkPhysicalDeviceMemoryProperties *))     \
  X(void, GetPhysicalDeviceQueueFamilyProperties, (VkPhysicalDevice, uint32_t *, VkQueueFamilyProperties *)) \
  X(VkResult, CreateDevice, (VkPhysicalDevice, const VkDeviceCreateInfo *, const void *, VkDevice *))    \
  X(void, DestroyDevice, (VkDevice, const void *))                                                       \
  X(void, GetDeviceQueue, (VkDevice, uint32_t, uint32_t, VkQueue *))                                     \
  X(VkResult, QueueSubmit, (VkQueue, uint32_t, const VkSubmitInfo *, VkHandle))                          \
  X(VkResult, QueueWaitIdle, (VkQueue))                                                                  \
  X(VkResult, DeviceWaitIdle, (VkDevice))                                                                \
  X(VkResult, CreateBuffer, (VkDevice, const VkBufferCreateInfo *, const void *, VkHandle *))            \
  X(void, DestroyBuffer, (VkDevice, VkHandle, const void *))                                             \
  X(VkResult, CreateBufferView, (VkDevice, const VkBufferViewCreateInfo *, const void *, VkHandle *))    \
  X(void, DestroyBufferView, (VkDevice, VkHandle, const void *))                                         \
  X(void, GetBufferMemoryRequirements, (VkDevice, VkHandle, VkMemoryRequirements *))                     \
  X(VkResult, AllocateMemory, (VkDevice, const VkMemoryAllocateInfo *, const void *, VkHandle *))        \
  X(void, FreeMemory, (VkDevice, VkHandle, const void *))                                                \
  X(VkResult, BindBufferMemory, (VkDevice, VkHandle, VkHandle, VkDeviceSize))                            \
  X(VkResult, MapMemory, (VkDevice, VkHandle, VkDeviceSize, VkDeviceSize, VkFlags, void **))             \
  X(VkResult, CreateShaderModule, (VkDevice, const VkShaderModuleCreateInfo *, const void *, VkHandle *)) \
  X(void, DestroyShaderModule, (VkDevice, VkHandle, const void *))                                       \
  X(VkResult, CreateDescriptorSetLayout,                                                                 \
    (VkDevice, const VkDescriptorSetLayoutCreateInfo *, const void *, VkHandle *))                       \
  X(void, DestroyDescriptorSetLayout, (VkDevice, VkHandle, const void *))                                \
  X(VkResult, CreatePipelineLayout, (VkDevice, const VkPipelineLayoutCreateInfo *, const void *, VkHandle *)) \
  X(void, DestroyPipelineLayout, (VkDevice, VkHandle, const void *))                                     \
  X(VkResult, CreateComputePipelines,                                                                    \
    (VkDevice, VkHandle, uint32_t, const VkComputePipelineCreateInfo *, const void *, VkHandle *))       \
  X(void, DestroyPipeline, (VkDevice, VkHandle, const void *))                                           \
  X(VkResult, CreateDescriptorPool, (VkDevice, const VkDescriptorPoolCreateInfo *, const void *, VkHandle *)) \
  X(void, DestroyDescriptorPool, (VkDevice, VkHandle, const void *))                                     \
  X(VkResult, AllocateDescriptorSets, (VkDevice, const VkDescriptorSetAllocateInfo *, VkHandle *))       \
  X(void, UpdateDescriptorSets, (VkDevice, uint32_t, const VkWriteDescriptorSet *, uint32_t, const void *)) \
  X(VkResult, CreateCommandPool, (VkDevice, const VkCommandPoolCreateInfo *, const void *, VkHandle *))  \
  X(void, DestroyCommandPool, (VkDevice, VkHandle, const void *))                                        \
  X(VkResult, AllocateCommandBuffers, (VkDevice, const VkCommandBufferAllocateInfo *, VkCommandBuffer *)) \
  X(VkResult, BeginCommandBuffer, (VkCommandBuffer, const VkCommandBufferBeginInfo *))                   \
  X(VkResult, EndCommandBuffer, (VkCommandBuffer))                                                       \
  X(void, CmdBindPipeline, (VkCommandBuffer, uint32_t, VkHandle))                                        \
  X(void, CmdBindDescriptorSets,                                                                         \
    (VkCommandBuffer, uint32_t, VkHandle, uint32_t, uint32_t, const VkHandle *, uint32_t, const uint32_t *)) \
  X(void, CmdDispatch, (VkCommandBuffer, uint32_t, uint32_t, uint32_t))                                  \
  X(void, CmdPipelineBarrier,                                                                            \
    (VkCommandBuffer, VkFlags, VkFlags, VkFlags, uint32_t, const VkMemoryBarrier *, uint32_t, const void *, uint32_t, \
     const void *))                                                                                      \
  X(void, CmdFillBuffer, (VkCommandBuffer, VkHandle, VkDeviceSize, VkDeviceSize, uint32_t))              \
  X(void, CmdCopyBuffer, (VkCommandBuffer, VkHandle, VkHandle, uint32_t, const VkBufferCopy *))          \
  X(VkResult, CreateQueryPool, (VkDevice, const VkQueryPoolCreateInfo *, const void *, VkHandle *))      \
  X(void, DestroyQueryPool, (VkDevice, VkHandle, const void *))                                          \
  X(void, CmdResetQueryPool, (VkCommandBuffer, VkHandle, uint32_t, uint32_t))                            \
  X(void, CmdWriteTimestamp, (VkCommandBuffer, uint32_t, VkHandle, uint32_t))                            \
  X(VkResult, GetQueryPoolResults,                                                                       \
    (VkDevice, VkHandle, uint32_t, uint32_t, size_t, void *, VkDeviceSize, VkFlags))

#define ACT_VULKAN_FIELD(result, name, parameters) result(*name) parameters;
typedef struct {
  VkInstance instance;
  ACT_VULKAN_GLOBAL_FUNCTIONS(ACT_VULKAN_FIELD)
  ACT_VULKAN_INSTANCE_FUNCTIONS(ACT_VULKAN_FIELD)
} act_vulkan;
#undef ACT_VULKAN_FIELD

/* A device that has a queue for compute, and what the runtime must know of it. */
typedef struct {
  VkPhysicalDevice handle;
  uint32_t queue_family;
  int has_clock;
  VkDeviceSize max_allocation_bytes;
  VkPhysicalDeviceLimits limits;
  act_device_info info;
} act_vulkan_device;

/* The entry points with an instance; made once and kept (drivers do not survive being unloaded). NULL with `error`. */
const act_vulkan *act_vulkan_open(act_error *error);

act_status act_vulkan_list(act_device_info **devices, size_t *count, act_error *error);

/* Device `index` of act_vulkan_list. */
act_status act_vulkan_find(const act_vulkan *vk, uint32_t index, act_vulkan_device *device, act_error *error);

const char *act_vulkan_error_name(VkResult code);

/* The code of a call that makes an object: where it failed, its result may be rubbish, and becomes none. */
static inline VkResult act_vulkan_made(VkResult code, VkHandle *object) {
  if (code != VK_SUCCESS) *object = 0;
  return code;
}

#endif
