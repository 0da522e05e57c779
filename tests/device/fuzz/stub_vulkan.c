/* Vulkan's entry points, as the runtime uses them. A call that fails leaves rubbish in its results, as the
 * specification allows. */
#include "act_vulkan.h"
#include "stub_gpu.h"

#define DECLARE(result, name, parameters) result vk##name parameters;
ACT_VULKAN_GLOBAL_FUNCTIONS(DECLARE)
ACT_VULKAN_INSTANCE_FUNCTIONS(DECLARE)
typedef void (*function_t)(void);
function_t vkGetInstanceProcAddr(VkInstance instance, const char *name);

typedef enum {
  DEVICE = 0x61, BUFFER, VIEW, MEMORY, MODULE, SET_LAYOUT, LAYOUT, PIPELINE, DESCRIPTOR_POOL, SET, COMMAND_POOL,
  COMMANDS, QUERIES
} kind_t;
enum { INITIAL, RECORDING, EXECUTABLE, MAX_RANGE = 1 << 26, MAX_GROUPS = 65535, MAX_DESCRIPTORS = 16, LARGE = 1 << 20 };
enum { MAX_TEXELS = 1 << 16, TEXEL_ALIGNMENT = 2 * STUB_ALIGNMENT, BINDINGS = 256, TYPES = 8 };
static const VkHandle RUBBISH = 0xdeadbeefdeadbee8u;

typedef struct object {
  kind_t kind;
  uint64_t size;
  unsigned char *mapped;
  struct object *memory, *next; /* of a pool: what came from it */
  VkFlags usage;
  uint32_t room, bindings, written;
  uint32_t count[TYPES]; /* of a pool and a layout: descriptors of each type */
  unsigned char types[BINDINGS]; /* of a layout and a set; 0: no such binding */
  int state;
} object_t;

static unsigned char large[LARGE]; /* stands for memory that is larger than any tensor of a small package */
static object_t *mapped_memory;

static object_t *get(VkHandle handle, kind_t kind) {
  object_t *object = (object_t *)(uintptr_t)handle;
  STUB_CHECK(object != NULL && object->kind == kind);
  return object;
}

static object_t *get_device(VkDevice device) { return get((uintptr_t)(void *)device, DEVICE); }
static object_t *get_commands(VkCommandBuffer commands) { return get((uintptr_t)(void *)commands, COMMANDS); }

static object_t *new_object(kind_t kind) {
  object_t *object = calloc(1, sizeof *object);
  if (object == NULL) abort();
  object->kind = kind;
  stub.live++;
  return object;
}

/* NULL when this call fails; then rubbish is in `*handle`. */
static object_t *create(kind_t kind, VkHandle *handle) {
  object_t *object = stub_fails() ? NULL : new_object(kind);
  *handle = object != NULL ? (VkHandle)(uintptr_t)object : RUBBISH;
  return object;
}

static void destroy(VkHandle handle, kind_t kind) {
  object_t *object = get(handle, kind);
  for (object_t *next; object != NULL; object = next) {
    next = object->next;
    if (object == mapped_memory) mapped_memory = NULL;
    if (object->mapped != large) free(object->mapped);
    object->kind = (kind_t)0;
    free(object);
    stub.live--;
  }
}

VkResult vkCreateInstance(const VkInstanceCreateInfo *info, const void *allocator, VkInstance *instance) {
  static int one;
  STUB_CHECK(info->sType == VK_TYPE_INSTANCE_CREATE_INFO && allocator == NULL);
  *instance = (VkInstance)(void *)&one;
  return VK_SUCCESS;
}

void vkDestroyInstance(VkInstance instance, const void *allocator) {
  STUB_CHECK(instance != NULL && allocator == NULL);
}

VkResult vkEnumeratePhysicalDevices(VkInstance instance, uint32_t *count, VkPhysicalDevice *devices) {
  static int one;
  STUB_CHECK(instance != NULL && *count > 0);
  if (stub_fails()) return -3;
  *count = 1;
  devices[0] = (VkPhysicalDevice)(void *)&one;
  return VK_SUCCESS;
}

static void fill(VkPhysicalDeviceProperties *properties) {
  memset(properties, 0, sizeof *properties);
  properties->apiVersion = VK_VERSION(1, 2);
  memset(properties->deviceName, 'x', sizeof properties->deviceName); /* not even ended */
  VkPhysicalDeviceLimits *limits = &properties->limits;
  limits->maxStorageBufferRange = MAX_RANGE;
  limits->maxPerStageDescriptorStorageBuffers = limits->maxDescriptorSetStorageBuffers = MAX_DESCRIPTORS;
  limits->maxPerStageDescriptorSampledImages = limits->maxDescriptorSetSampledImages = MAX_DESCRIPTORS;
  limits->maxTexelBufferElements = MAX_TEXELS;
  limits->minTexelBufferOffsetAlignment = TEXEL_ALIGNMENT;
  limits->maxComputeSharedMemorySize = STUB_LOCAL_MEMORY;
  limits->maxComputeWorkGroupInvocations = STUB_MAX_GROUP;
  for (int i = 0; i < 3; i++) limits->maxComputeWorkGroupCount[i] = MAX_GROUPS;
  limits->maxComputeWorkGroupSize[0] = limits->maxComputeWorkGroupSize[1] = STUB_MAX_GROUP;
  limits->maxComputeWorkGroupSize[2] = 64;
  limits->minStorageBufferOffsetAlignment = STUB_ALIGNMENT;
  limits->timestampPeriod = 1;
}

void vkGetPhysicalDeviceProperties(VkPhysicalDevice device, VkPhysicalDeviceProperties *properties) {
  STUB_CHECK(device != NULL);
  fill(properties);
}

void vkGetPhysicalDeviceProperties2(VkPhysicalDevice device, VkPhysicalDeviceProperties2 *query) {
  STUB_CHECK(device != NULL && query->sType == VK_TYPE_PROPERTIES_2);
  fill(&query->properties);
  VkPhysicalDeviceMaintenance3Properties *most = query->pNext;
  if (most != NULL && most->sType == VK_TYPE_MAINTENANCE_3_PROPERTIES)
    most->maxMemoryAllocationSize = STUB_MAX_ALLOCATION;
}

void vkGetPhysicalDeviceFeatures2(VkPhysicalDevice device, VkPhysicalDeviceFeatures2 *features) {
  VkPhysicalDevice16BitStorageFeatures *half = features->pNext;
  STUB_CHECK(device != NULL && half->sType == VK_TYPE_16BIT_STORAGE_FEATURES);
  half->storageBuffer16BitAccess = 1;
}

void vkGetPhysicalDeviceFormatProperties(VkPhysicalDevice device, uint32_t format, VkFormatProperties *properties) {
  STUB_CHECK(device != NULL && format != 0);
  *properties = (VkFormatProperties){0, 0, stub_fails() ? 0 : VK_FORMAT_FEATURE_UNIFORM_TEXEL_BUFFER};
}

void vkGetPhysicalDeviceMemoryProperties(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties *memory) {
  STUB_CHECK(device != NULL);
  memset(memory, 0, sizeof *memory);
  memory->memoryTypeCount = 2;
  memory->memoryTypes[0].propertyFlags = VK_MEMORY_DEVICE_LOCAL;
  memory->memoryTypes[1].propertyFlags = VK_MEMORY_HOST_VISIBLE | VK_MEMORY_HOST_COHERENT;
  memory->memoryHeapCount = 1;
  memory->memoryHeaps[0] = (VkMemoryHeap){STUB_GLOBAL_MEMORY, VK_MEMORY_DEVICE_LOCAL};
}

void vkGetPhysicalDeviceQueueFamilyProperties(VkPhysicalDevice device, uint32_t *count,
                                              VkQueueFamilyProperties *families) {
  STUB_CHECK(device != NULL && *count >= 1);
  *count = 1;
  families[0] = (VkQueueFamilyProperties){VK_QUEUE_COMPUTE, 1, 64, {1, 1, 1}};
}

VkResult vkCreateDevice(VkPhysicalDevice physical, const VkDeviceCreateInfo *info, const void *allocator,
                        VkDevice *device) {
  VkHandle handle;
  STUB_CHECK(physical != NULL && info->queueCreateInfoCount == 1 && allocator == NULL);
  int failed = create(DEVICE, &handle) == NULL;
  *device = (VkDevice)(void *)(uintptr_t)handle;
  return failed ? -3 : VK_SUCCESS;
}

void vkDestroyDevice(VkDevice device, const void *allocator) {
  STUB_CHECK(allocator == NULL);
  destroy((uintptr_t)(void *)device, DEVICE);
  STUB_CHECK(stub.live == 0); /* nothing outlives its device */
}

void vkGetDeviceQueue(VkDevice device, uint32_t family, uint32_t index, VkQueue *queue) {
  STUB_CHECK(family == 0 && index == 0);
  *queue = (VkQueue)(void *)get_device(device);
}

VkResult vkQueueSubmit(VkQueue queue, uint32_t count, const VkSubmitInfo *info, VkHandle fence) {
  get_device((VkDevice)(void *)queue);
  STUB_CHECK(count == 1 && info->commandBufferCount == 1 && fence == 0);
  STUB_CHECK(get_commands(info->pCommandBuffers[0])->state == EXECUTABLE);
  if (stub_fails()) return -4;
  if (mapped_memory != NULL && stub.output_bytes <= LARGE && stub.output_bytes <= mapped_memory->size)
    memcpy(mapped_memory->mapped, stub.outputs, stub.output_bytes);
  return VK_SUCCESS;
}

VkResult vkQueueWaitIdle(VkQueue queue) {
  get_device((VkDevice)(void *)queue);
  return stub_fails() ? -4 : VK_SUCCESS;
}

VkResult vkDeviceWaitIdle(VkDevice device) { return get_device(device) != NULL ? VK_SUCCESS : -4; }

VkResult vkCreateBuffer(VkDevice device, const VkBufferCreateInfo *info, const void *allocator, VkHandle *buffer) {
  get_device(device);
  STUB_CHECK(info->size > 0 && info->size <= STUB_MAX_ALLOCATION && info->usage != 0 && allocator == NULL);
  object_t *object = create(BUFFER, buffer);
  if (object != NULL) object->size = info->size;
  if (object != NULL) object->usage = info->usage;
  return object != NULL ? VK_SUCCESS : -2;
}

static uint64_t texel_bytes(uint32_t format) {
  if (format == VK_FORMAT_R32_SFLOAT || format == VK_FORMAT_R32_SINT) return 4;
  STUB_CHECK(format == VK_FORMAT_R32G32B32A32_SFLOAT || format == VK_FORMAT_R32G32B32A32_SINT);
  return 16;
}

VkResult vkCreateBufferView(VkDevice device, const VkBufferViewCreateInfo *info, const void *allocator,
                            VkHandle *view) {
  const object_t *buffer = get(info->buffer, BUFFER);
  get_device(device);
  STUB_CHECK(info->sType == VK_TYPE_BUFFER_VIEW_CREATE_INFO && info->flags == 0 && allocator == NULL);
  STUB_CHECK(buffer->memory != NULL && (buffer->usage & VK_BUFFER_UNIFORM_TEXEL));
  STUB_CHECK(info->range > 0 && info->range % texel_bytes(info->format) == 0 &&
             info->range / texel_bytes(info->format) <= MAX_TEXELS && info->offset % TEXEL_ALIGNMENT == 0);
  STUB_CHECK(info->offset <= buffer->size && info->range <= buffer->size - info->offset);
  return create(VIEW, view) != NULL ? VK_SUCCESS : -1;
}

void vkDestroyBufferView(VkDevice device, VkHandle view, const void *allocator) {
  STUB_CHECK(get_device(device) != NULL && allocator == NULL);
  destroy(view, VIEW);
}

void vkDestroyBuffer(VkDevice device, VkHandle buffer, const void *allocator) {
  STUB_CHECK(get_device(device) != NULL && allocator == NULL);
  destroy(buffer, BUFFER);
}

void vkGetBufferMemoryRequirements(VkDevice device, VkHandle buffer, VkMemoryRequirements *needs) {
  get_device(device);
  *needs = (VkMemoryRequirements){(get(buffer, BUFFER)->size + 255) / 256 * 256, 256, 3};
}

VkResult vkAllocateMemory(VkDevice device, const VkMemoryAllocateInfo *info, const void *allocator, VkHandle *memory) {
  get_device(device);
  STUB_CHECK(info->allocationSize > 0 && info->memoryTypeIndex < 2 && allocator == NULL);
  object_t *object = create(MEMORY, memory);
  if (object != NULL) object->size = info->allocationSize;
  return object != NULL ? VK_SUCCESS : -2;
}

void vkFreeMemory(VkDevice device, VkHandle memory, const void *allocator) {
  STUB_CHECK(get_device(device) != NULL && allocator == NULL);
  destroy(memory, MEMORY);
}

VkResult vkBindBufferMemory(VkDevice device, VkHandle buffer, VkHandle memory, VkDeviceSize offset) {
  get_device(device);
  STUB_CHECK(get(buffer, BUFFER)->size <= get(memory, MEMORY)->size && offset == 0);
  if (stub_fails()) return -2;
  get(buffer, BUFFER)->memory = get(memory, MEMORY);
  return VK_SUCCESS;
}

VkResult vkMapMemory(VkDevice device, VkHandle handle, VkDeviceSize offset, VkDeviceSize size, VkFlags flags,
                     void **result) {
  object_t *memory = get(handle, MEMORY);
  get_device(device);
  STUB_CHECK(offset == 0 && size <= memory->size && flags == 0 && memory->mapped == NULL);
  *result = (void *)(uintptr_t)RUBBISH;
  if (stub_fails()) return -5;
  memory->mapped = size > LARGE ? large : calloc(1, (size_t)size);
  *result = memory->mapped;
  mapped_memory = memory;
  return VK_SUCCESS;
}

VkResult vkCreateShaderModule(VkDevice device, const VkShaderModuleCreateInfo *info, const void *allocator,
                              VkHandle *module) {
  get_device(device);
  STUB_CHECK(info->codeSize >= 20 && info->codeSize % 4 == 0 && allocator == NULL);
  stub_read(info->pCode, info->codeSize);
  return create(MODULE, module) != NULL ? VK_SUCCESS : -1000012000;
}

void vkDestroyShaderModule(VkDevice device, VkHandle module, const void *allocator) {
  STUB_CHECK(get_device(device) != NULL && allocator == NULL);
  destroy(module, MODULE);
}

VkResult vkCreateDescriptorSetLayout(VkDevice device, const VkDescriptorSetLayoutCreateInfo *info,
                                     const void *allocator, VkHandle *layout) {
  get_device(device);
  STUB_CHECK(info->bindingCount <= 2 * MAX_DESCRIPTORS && allocator == NULL);
  object_t *object = create(SET_LAYOUT, layout);
  if (object == NULL) return -1;
  object->bindings = info->bindingCount;
  for (uint32_t i = 0; i < info->bindingCount; i++) {
    const VkDescriptorSetLayoutBinding *one = &info->pBindings[i];
    STUB_CHECK(one->binding < BINDINGS && object->types[one->binding] == 0 && one->descriptorCount == 1);
    STUB_CHECK(one->descriptorType == VK_DESCRIPTOR_STORAGE_BUFFER ||
               one->descriptorType == VK_DESCRIPTOR_UNIFORM_TEXEL_BUFFER);
    object->types[one->binding] = (unsigned char)one->descriptorType;
    STUB_CHECK(++object->count[one->descriptorType] <= MAX_DESCRIPTORS);
  }
  return VK_SUCCESS;
}

void vkDestroyDescriptorSetLayout(VkDevice device, VkHandle layout, const void *allocator) {
  STUB_CHECK(get_device(device) != NULL && allocator == NULL);
  destroy(layout, SET_LAYOUT);
}

VkResult vkCreatePipelineLayout(VkDevice device, const VkPipelineLayoutCreateInfo *info, const void *allocator,
                                VkHandle *layout) {
  get_device(device);
  STUB_CHECK(info->setLayoutCount == 1 && allocator == NULL);
  get(info->pSetLayouts[0], SET_LAYOUT);
  return create(LAYOUT, layout) != NULL ? VK_SUCCESS : -1;
}

void vkDestroyPipelineLayout(VkDevice device, VkHandle layout, const void *allocator) {
  STUB_CHECK(get_device(device) != NULL && allocator == NULL);
  destroy(layout, LAYOUT);
}

VkResult vkCreateComputePipelines(VkDevice device, VkHandle cache, uint32_t count,
                                  const VkComputePipelineCreateInfo *info,
                                  const void *allocator, VkHandle *pipelines) {
  get_device(device);
  STUB_CHECK(cache == 0 && count == 1 && allocator == NULL && strcmp(info->stage.pName, "main") == 0);
  get(info->stage.module, MODULE);
  get(info->layout, LAYOUT);
  if (create(PIPELINE, pipelines) != NULL) return VK_SUCCESS;
  pipelines[0] = 0; /* specified for this call */
  return -1000012000;
}

void vkDestroyPipeline(VkDevice device, VkHandle pipeline, const void *allocator) {
  STUB_CHECK(get_device(device) != NULL && allocator == NULL);
  destroy(pipeline, PIPELINE);
}

VkResult vkCreateDescriptorPool(VkDevice device, const VkDescriptorPoolCreateInfo *info, const void *allocator,
                                VkHandle *pool) {
  get_device(device);
  STUB_CHECK(info->maxSets > 0 && info->poolSizeCount > 0 && info->poolSizeCount <= 2 && allocator == NULL);
  object_t *object = create(DESCRIPTOR_POOL, pool);
  if (object == NULL) return -2;
  object->room = info->maxSets;
  for (uint32_t i = 0; i < info->poolSizeCount; i++) {
    STUB_CHECK(info->pPoolSizes[i].type < TYPES && info->pPoolSizes[i].descriptorCount > 0);
    object->count[info->pPoolSizes[i].type] += info->pPoolSizes[i].descriptorCount;
  }
  return VK_SUCCESS;
}

void vkDestroyDescriptorPool(VkDevice device, VkHandle pool, const void *allocator) {
  STUB_CHECK(get_device(device) != NULL && allocator == NULL);
  destroy(pool, DESCRIPTOR_POOL);
}

VkResult vkAllocateDescriptorSets(VkDevice device, const VkDescriptorSetAllocateInfo *info, VkHandle *sets) {
  object_t *pool = get(info->descriptorPool, DESCRIPTOR_POOL);
  const object_t *layout = get(info->pSetLayouts[0], SET_LAYOUT);
  get_device(device);
  STUB_CHECK(info->descriptorSetCount == 1 && pool->room > 0);
  for (int i = 0; i < TYPES; i++) STUB_CHECK(pool->count[i] >= layout->count[i]);
  object_t *set = create(SET, sets);
  if (set == NULL) return -1000069000;
  pool->room--;
  for (int i = 0; i < TYPES; i++) pool->count[i] -= layout->count[i];
  memcpy(set->types, layout->types, sizeof set->types);
  set->bindings = layout->bindings;
  set->next = pool->next;
  pool->next = set;
  return VK_SUCCESS;
}

void vkUpdateDescriptorSets(VkDevice device, uint32_t count, const VkWriteDescriptorSet *write, uint32_t copies,
                            const void *copy) {
  object_t *set = get(write->dstSet, SET);
  const VkDescriptorBufferInfo *info = write->pBufferInfo;
  get_device(device);
  STUB_CHECK(count == 1 && copies == 0 && copy == NULL && write->descriptorCount == 1 &&
             write->dstBinding < BINDINGS && set->types[write->dstBinding] == write->descriptorType);
  set->written++;
  if (write->descriptorType == VK_DESCRIPTOR_UNIFORM_TEXEL_BUFFER) {
    get(*write->pTexelBufferView, VIEW);
    return;
  }
  const object_t *buffer = get(info->buffer, BUFFER);
  STUB_CHECK(buffer->memory != NULL && info->offset % STUB_ALIGNMENT == 0 && info->range > 0 &&
             info->range <= MAX_RANGE);
  STUB_CHECK(info->offset <= buffer->size && info->range <= buffer->size - info->offset);
}

VkResult vkCreateCommandPool(VkDevice device, const VkCommandPoolCreateInfo *info, const void *allocator,
                             VkHandle *pool) {
  STUB_CHECK(get_device(device) != NULL && info->queueFamilyIndex == 0 && allocator == NULL);
  return create(COMMAND_POOL, pool) != NULL ? VK_SUCCESS : -1;
}

void vkDestroyCommandPool(VkDevice device, VkHandle pool, const void *allocator) {
  STUB_CHECK(get_device(device) != NULL && allocator == NULL);
  destroy(pool, COMMAND_POOL);
}

VkResult vkAllocateCommandBuffers(VkDevice device, const VkCommandBufferAllocateInfo *info, VkCommandBuffer *commands) {
  object_t *pool = get(info->commandPool, COMMAND_POOL);
  int failed = get_device(device) == NULL || stub_fails();
  for (uint32_t i = 0; i < info->commandBufferCount; i++) {
    commands[i] = NULL; /* specified for this call */
    if (failed) continue;
    object_t *one = new_object(COMMANDS);
    one->next = pool->next;
    pool->next = one;
    commands[i] = (VkCommandBuffer)(void *)one;
  }
  return failed ? -1 : VK_SUCCESS;
}

VkResult vkBeginCommandBuffer(VkCommandBuffer commands, const VkCommandBufferBeginInfo *info) {
  STUB_CHECK(info->sType == VK_TYPE_COMMAND_BUFFER_BEGIN_INFO && get_commands(commands)->state != RECORDING);
  if (stub_fails()) return -1;
  get_commands(commands)->state = RECORDING;
  return VK_SUCCESS;
}

VkResult vkEndCommandBuffer(VkCommandBuffer commands) {
  STUB_CHECK(get_commands(commands)->state == RECORDING);
  int failed = stub_fails();
  get_commands(commands)->state = failed ? INITIAL : EXECUTABLE;
  return failed ? -1 : VK_SUCCESS;
}

static void record(VkCommandBuffer commands) { STUB_CHECK(get_commands(commands)->state == RECORDING); }

void vkCmdBindPipeline(VkCommandBuffer commands, uint32_t point, VkHandle pipeline) {
  record(commands);
  STUB_CHECK(get(pipeline, PIPELINE) != NULL && point == VK_BIND_POINT_COMPUTE);
}

void vkCmdBindDescriptorSets(VkCommandBuffer commands, uint32_t point, VkHandle layout, uint32_t first, uint32_t count,
                             const VkHandle *sets, uint32_t offsets, const uint32_t *dynamic) {
  record(commands);
  get(layout, LAYOUT);
  STUB_CHECK(point == VK_BIND_POINT_COMPUTE && first == 0 && count == 1 && offsets == 0 && dynamic == NULL);
  STUB_CHECK(get(sets[0], SET)->written == get(sets[0], SET)->bindings);
}

void vkCmdDispatch(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z) {
  record(commands);
  STUB_CHECK(x > 0 && y > 0 && z > 0 && x <= MAX_GROUPS && y <= MAX_GROUPS && z <= MAX_GROUPS);
}

void vkCmdPipelineBarrier(VkCommandBuffer commands, VkFlags from, VkFlags to, VkFlags flags, uint32_t count,
                          const VkMemoryBarrier *barriers, uint32_t buffer_count, const void *buffers,
                          uint32_t image_count, const void *images) {
  record(commands);
  STUB_CHECK(from != 0 && to != 0 && flags == 0 && count == 1 && barriers[0].sType == VK_TYPE_MEMORY_BARRIER);
  STUB_CHECK(buffer_count == 0 && buffers == NULL && image_count == 0 && images == NULL);
}

void vkCmdFillBuffer(VkCommandBuffer commands, VkHandle handle, VkDeviceSize offset, VkDeviceSize size,
                     uint32_t value) {
  const object_t *buffer = get(handle, BUFFER);
  record(commands);
  STUB_CHECK(buffer->memory != NULL && offset == 0 && size > 0 && size % 4 == 0 && size <= buffer->size && value == 0);
}

void vkCmdCopyBuffer(VkCommandBuffer commands, VkHandle from, VkHandle to, uint32_t count, const VkBufferCopy *region) {
  const object_t *source = get(from, BUFFER), *target = get(to, BUFFER);
  record(commands);
  STUB_CHECK(count == 1 && region->size > 0 && source->memory != NULL && target->memory != NULL);
  STUB_CHECK(region->srcOffset <= source->size && region->size <= source->size - region->srcOffset);
  STUB_CHECK(region->dstOffset <= target->size && region->size <= target->size - region->dstOffset);
}

VkResult vkCreateQueryPool(VkDevice device, const VkQueryPoolCreateInfo *info, const void *allocator, VkHandle *pool) {
  STUB_CHECK(get_device(device) != NULL && info->queryCount > 0 && allocator == NULL);
  object_t *object = create(QUERIES, pool);
  if (object != NULL) object->room = info->queryCount;
  return object != NULL ? VK_SUCCESS : -1;
}

void vkDestroyQueryPool(VkDevice device, VkHandle pool, const void *allocator) {
  STUB_CHECK(get_device(device) != NULL && allocator == NULL);
  destroy(pool, QUERIES);
}

void vkCmdResetQueryPool(VkCommandBuffer commands, VkHandle pool, uint32_t first, uint32_t count) {
  record(commands);
  STUB_CHECK(first == 0 && count == get(pool, QUERIES)->room);
}

void vkCmdWriteTimestamp(VkCommandBuffer commands, uint32_t stage, VkHandle pool, uint32_t query) {
  record(commands);
  STUB_CHECK(stage != 0 && query < get(pool, QUERIES)->room);
}

VkResult vkGetQueryPoolResults(VkDevice device, VkHandle pool, uint32_t first, uint32_t count, size_t size, void *data,
                               VkDeviceSize stride, VkFlags flags) {
  uint64_t *times = data;
  STUB_CHECK(get_device(device) != NULL && first == 0 && count <= get(pool, QUERIES)->room && flags != 0);
  STUB_CHECK(stride == sizeof *times && size == count * sizeof *times);
  if (stub_fails()) return -4;
  for (uint32_t i = 0; i < count; i++) times[i] = 1000u * i;
  return VK_SUCCESS;
}

function_t vkGetInstanceProcAddr(VkInstance instance, const char *name) {
  (void)instance;
#define FIND(result, function, parameters) \
  if (strcmp(name, "vk" #function) == 0) return (function_t)vk##function;
  ACT_VULKAN_GLOBAL_FUNCTIONS(FIND)
  ACT_VULKAN_INSTANCE_FUNCTIONS(FIND)
  return NULL;
}
