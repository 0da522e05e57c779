/* Memory of a package on a Vulkan device.
 *
 * The arena is one buffer. Weights lie in blocks of BLOCK_BYTES, a larger one in a block of its own: devices limit both
 * the number of allocations and the size of one. Everything reaches the device through the staging buffer. */
#include "act_vulkan_placement.h"

#include <stdlib.h>
#include <string.h>

static const VkDeviceSize BLOCK_BYTES = 64u << 20;
static const VkDeviceSize STAGING_BYTES = 16u << 20;
static const VkFlags KERNEL_USAGE = VK_BUFFER_STORAGE | VK_BUFFER_UNIFORM_TEXEL | VK_BUFFER_TRANSFER_DST;

/* The first memory type of those allowed with all of the wanted properties; UINT32_MAX where there is none. */
static uint32_t memory_type(const act_placement *placement, uint32_t allowed, VkFlags wanted) {
  VkPhysicalDeviceMemoryProperties memory;
  placement->vk->GetPhysicalDeviceMemoryProperties(placement->device.handle, &memory);
  for (uint32_t i = 0; i < memory.memoryTypeCount; i++)
    if ((allowed >> i & 1) && (memory.memoryTypes[i].propertyFlags & wanted) == wanted) return i;
  return UINT32_MAX;
}

static act_status create_block(act_placement *placement, VkDeviceSize size, VkFlags usage, VkFlags wanted,
                               act_block *block, act_error *error) {
  const act_vulkan *vk = placement->vk;
  VkBufferCreateInfo create = {.sType = VK_TYPE_BUFFER_CREATE_INFO, .size = size, .usage = usage};
  VkMemoryRequirements needs = {0};
  block->size = size;
  VkResult code = act_vulkan_made(vk->CreateBuffer(placement->logical, &create, NULL, &block->buffer), &block->buffer);
  if (code == VK_SUCCESS) {
    vk->GetBufferMemoryRequirements(placement->logical, block->buffer, &needs);
    uint32_t type = memory_type(placement, needs.memoryTypeBits, wanted);
    if (type == UINT32_MAX) type = memory_type(placement, needs.memoryTypeBits, wanted & ~(VkFlags)VK_MEMORY_DEVICE_LOCAL);
    VkMemoryAllocateInfo allocate = {
        .sType = VK_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = needs.size, .memoryTypeIndex = type};
    code = type == UINT32_MAX ? -2
                              : act_vulkan_made(vk->AllocateMemory(placement->logical, &allocate, NULL, &block->memory),
                                                &block->memory);
  }
  if (code == VK_SUCCESS) code = vk->BindBufferMemory(placement->logical, block->buffer, block->memory, 0);
  if (code == VK_SUCCESS) return ACT_OK;
  return act_fail(error, ACT_ERROR_MEMORY, "no buffer of %llu bytes: %s (%d)", (unsigned long long)size,
                  act_vulkan_error_name(code), code);
}

static void free_block(act_placement *placement, act_block *block) {
  if (block->buffer != 0) placement->vk->DestroyBuffer(placement->logical, block->buffer, NULL);
  if (block->memory != 0) placement->vk->FreeMemory(placement->logical, block->memory, NULL);
}

static VkDeviceSize align(VkDeviceSize offset, VkDeviceSize alignment) {
  return (offset + alignment - 1) / alignment * alignment;
}

/* Whether arena, weights and every single buffer fit the device, before any is allocated. */
static act_status check_memory(const act_placement *placement, act_error *error) {
  const act_package *package = placement->package;
  const VkPhysicalDeviceLimits *limits = &placement->device.limits;
  VkDeviceSize largest = package->header.arena_bytes, total = largest;
  for (uint32_t i = 0; i < package->header.buffer_count; i++) {
    const act_file_buffer *buffer = &package->buffers[i];
    if (buffer->size_bytes > limits->maxStorageBufferRange)
      return act_fail(error, ACT_ERROR_MEMORY, "buffer %u has %llu bytes, kernels on this device see at most %u of one",
                      i, (unsigned long long)buffer->size_bytes, limits->maxStorageBufferRange);
    if (buffer->role != ACT_ROLE_WEIGHT) {
      if (buffer->offset % limits->minStorageBufferOffsetAlignment != 0)
        return act_fail(error, ACT_ERROR_PACKAGE, "buffer %u is at offset %llu, this device needs multiples of %llu bytes",
                        i, (unsigned long long)buffer->offset,
                        (unsigned long long)limits->minStorageBufferOffsetAlignment);
      continue;
    }
    if (buffer->size_bytes > largest) largest = buffer->size_bytes;
    total = buffer->size_bytes > UINT64_MAX - total ? UINT64_MAX : total + buffer->size_bytes;
  }
  const act_device_info *info = &placement->device.info;
  if (largest > info->max_allocation_bytes || total > info->global_memory_bytes || total > SIZE_MAX)
    return act_fail(error, ACT_ERROR_MEMORY,
                    "the package needs %llu bytes, %llu of them in one piece; the device has %llu and allows %llu",
                    (unsigned long long)total, (unsigned long long)largest,
                    (unsigned long long)info->global_memory_bytes, (unsigned long long)info->max_allocation_bytes);
  return ACT_OK;
}

/* The arena starts as zeros, as a package expects it. */
static act_status create_arena(act_placement *placement, act_error *error) {
  const act_package *package = placement->package;
  VkDeviceSize size = align(package->header.arena_bytes > 0 ? package->header.arena_bytes : 4, 4);
  act_block *arena = &placement->blocks[placement->block_count++];
  act_status status = create_block(placement, size, KERNEL_USAGE | VK_BUFFER_TRANSFER_SRC, VK_MEMORY_DEVICE_LOCAL, arena, error);
  for (uint32_t i = 0; i < package->header.buffer_count; i++) {
    const act_file_buffer *buffer = &package->buffers[i];
    if (buffer->role == ACT_ROLE_WEIGHT) continue;
    placement->buffers[i] = (VkDescriptorBufferInfo){arena->buffer, buffer->offset, buffer->size_bytes};
  }
  if (status == ACT_OK) status = act_vulkan_begin(placement, ACT_COPY, 0, error);
  if (status != ACT_OK) return status;
  placement->vk->CmdFillBuffer(placement->commands[ACT_COPY], arena->buffer, 0, size, 0);
  status = act_vulkan_end(placement, ACT_COPY, error);
  if (status == ACT_OK) status = act_vulkan_submit(placement, ACT_COPY, error);
  return status == ACT_OK ? act_vulkan_wait(placement, error) : status;
}

/* Places weights from `first` on, as many as fit one block; `*end` is the first that does not. */
static act_status create_weight_block(act_placement *placement, uint32_t first, uint32_t *end, act_error *error) {
  const act_package *package = placement->package;
  const VkPhysicalDeviceLimits *limits = &placement->device.limits;
  VkDeviceSize used = 0, alignment = limits->minStorageBufferOffsetAlignment; /* both are powers of two */
  if (limits->minTexelBufferOffsetAlignment > alignment) alignment = limits->minTexelBufferOffsetAlignment;
  act_block *block = &placement->blocks[placement->block_count++];
  uint32_t next = first;
  for (; next < package->header.buffer_count; next++) {
    const act_file_buffer *buffer = &package->buffers[next];
    if (buffer->role != ACT_ROLE_WEIGHT) continue;
    VkDeviceSize offset = align(used, alignment);
    if (used > 0 && offset + buffer->size_bytes > BLOCK_BYTES) break;
    placement->buffers[next] = (VkDescriptorBufferInfo){0, offset, buffer->size_bytes};
    used = offset + buffer->size_bytes;
  }
  *end = next;
  if (used == 0) return ACT_OK;
  act_status status = create_block(placement, align(used, 4), KERNEL_USAGE, VK_MEMORY_DEVICE_LOCAL, block, error);
  for (uint32_t i = first; i < next; i++)
    if (package->buffers[i].role == ACT_ROLE_WEIGHT) placement->buffers[i].buffer = block->buffer;
  return status;
}

static act_status copy_weight(act_placement *placement, uint32_t index, act_error *error) {
  const act_package *package = placement->package;
  const VkDescriptorBufferInfo *to = &placement->buffers[index];
  const unsigned char *from =
      package->data + package->sections[ACT_SECTION_WEIGHTS].offset + package->buffers[index].offset;
  act_status status = ACT_OK;
  for (VkDeviceSize done = 0; status == ACT_OK && done < to->range;) {
    VkDeviceSize size = to->range - done < placement->staging.size ? to->range - done : placement->staging.size;
    VkBufferCopy region = {0, to->offset + done, size};
    memcpy(placement->mapped, from + done, (size_t)size);
    status = act_vulkan_begin(placement, ACT_COPY, 0, error);
    if (status != ACT_OK) break;
    placement->vk->CmdCopyBuffer(placement->commands[ACT_COPY], placement->staging.buffer, to->buffer, 1, &region);
    status = act_vulkan_end(placement, ACT_COPY, error);
    if (status == ACT_OK) status = act_vulkan_submit(placement, ACT_COPY, error);
    if (status == ACT_OK) status = act_vulkan_wait(placement, error);
    done += size;
  }
  return status;
}

static act_status create_staging(act_placement *placement, act_error *error) {
  const act_package *package = placement->package;
  VkDeviceSize size = package->input_bytes > package->output_bytes ? package->input_bytes : package->output_bytes;
  if (size < STAGING_BYTES) size = STAGING_BYTES;
  act_status status = create_block(placement, size, VK_BUFFER_TRANSFER_SRC | VK_BUFFER_TRANSFER_DST,
                                   VK_MEMORY_HOST_VISIBLE | VK_MEMORY_HOST_COHERENT, &placement->staging, error);
  if (status != ACT_OK) return status;
  void *mapped = NULL;
  VkResult code =
      placement->vk->MapMemory(placement->logical, placement->staging.memory, 0, placement->staging.size, 0, &mapped);
  placement->mapped = mapped;
  if (code == VK_SUCCESS) return ACT_OK;
  return act_fail(error, ACT_ERROR_MEMORY, "the staging buffer cannot be mapped: %s (%d)", act_vulkan_error_name(code),
                  code);
}

act_status act_vulkan_place_memory(act_placement *placement, act_error *error) {
  uint32_t count = placement->package->header.buffer_count;
  placement->buffers = calloc(count, sizeof *placement->buffers);
  placement->blocks = calloc((size_t)count + 1, sizeof *placement->blocks);
  if (placement->buffers == NULL || placement->blocks == NULL)
    return act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  act_status status = check_memory(placement, error);
  if (status == ACT_OK) status = create_staging(placement, error);
  if (status == ACT_OK) status = create_arena(placement, error);
  for (uint32_t i = 0; status == ACT_OK && i < count;) status = create_weight_block(placement, i, &i, error);
  for (uint32_t i = 0; status == ACT_OK && i < count; i++)
    if (placement->package->buffers[i].role == ACT_ROLE_WEIGHT) status = copy_weight(placement, i, error);
  return status;
}

void act_vulkan_free_memory(act_placement *placement) {
  for (uint32_t i = 0; i < placement->block_count; i++) free_block(placement, &placement->blocks[i]);
  free_block(placement, &placement->staging);
  free(placement->blocks);
  free(placement->buffers);
}
