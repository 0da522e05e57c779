/* Texel buffers of a package on a Vulkan device: the same memory as its buffers, read through a view of a format.
 *
 * Which one is a matter of the kernel alone: its program says floats or integers, and the number of the binding whether
 * a texel is one value or four. */
#include "act_vulkan_placement.h"

#include <stdlib.h>

/* The format of a view, and which of a buffer's ACT_VIEWS it is. */
static uint32_t format_of(act_bound bound, bool quads, uint32_t *index) {
  static const uint32_t formats[ACT_VIEWS] = {VK_FORMAT_R32_SFLOAT, VK_FORMAT_R32_SINT, VK_FORMAT_R32G32B32A32_SFLOAT,
                                              VK_FORMAT_R32G32B32A32_SINT};
  *index = (bound == ACT_INT_TEXELS ? 1u : 0u) + (quads ? 2u : 0u);
  return formats[*index];
}

/* Refuses a view that the device cannot have. */
static act_status check_view(const act_placement *placement, uint32_t buffer, uint32_t format, uint32_t texel_bytes,
                             act_error *error) {
  const VkPhysicalDeviceLimits *limits = &placement->device.limits;
  const VkDescriptorBufferInfo *where = &placement->buffers[buffer];
  VkFormatProperties properties = {0};
  placement->vk->GetPhysicalDeviceFormatProperties(placement->device.handle, format, &properties);
  if (!(properties.bufferFeatures & VK_FORMAT_FEATURE_UNIFORM_TEXEL_BUFFER))
    return act_fail(error, ACT_ERROR_LAUNCH, "the device has no texel buffers of format %u", format);
  if (where->range < texel_bytes)
    return act_fail(error, ACT_ERROR_PACKAGE, "buffer %u has %llu bytes, a kernel reads texels of %u", buffer,
                    (unsigned long long)where->range, texel_bytes);
  if (where->range / texel_bytes > limits->maxTexelBufferElements)
    return act_fail(error, ACT_ERROR_MEMORY, "buffer %u has %llu texels, kernels on this device see at most %u of one",
                    buffer, (unsigned long long)(where->range / texel_bytes), limits->maxTexelBufferElements);
  if (limits->minTexelBufferOffsetAlignment > 0 && where->offset % limits->minTexelBufferOffsetAlignment != 0)
    return act_fail(error, ACT_ERROR_PACKAGE, "buffer %u is at offset %llu, texels on this device need multiples of %llu bytes",
                    buffer, (unsigned long long)where->offset, (unsigned long long)limits->minTexelBufferOffsetAlignment);
  return ACT_OK;
}

act_status act_vulkan_view(act_placement *placement, uint32_t buffer, act_bound bound, bool quads, VkHandle **view,
                           act_error *error) {
  const act_vulkan *vk = placement->vk;
  const VkDescriptorBufferInfo *where = &placement->buffers[buffer];
  uint32_t index, format = format_of(bound, quads, &index), texel_bytes = quads ? 16 : 4;
  *view = &placement->views[(size_t)ACT_VIEWS * buffer + index];
  if (**view != 0) return ACT_OK;
  act_status status = check_view(placement, buffer, format, texel_bytes, error);
  if (status != ACT_OK) return status;
  VkBufferViewCreateInfo create = {.sType = VK_TYPE_BUFFER_VIEW_CREATE_INFO,
                                   .buffer = where->buffer,
                                   .format = format,
                                   .offset = where->offset,
                                   .range = where->range / texel_bytes * texel_bytes};
  VkResult code = act_vulkan_made(vk->CreateBufferView(placement->logical, &create, NULL, *view), *view);
  if (code == VK_SUCCESS) return ACT_OK;
  return act_fail(error, ACT_ERROR_MEMORY, "buffer %u: no texel buffer: %s (%d)", buffer, act_vulkan_error_name(code),
                  code);
}

void act_vulkan_free_views(act_placement *placement) {
  size_t count = (size_t)ACT_VIEWS * placement->package->header.buffer_count;
  for (size_t i = 0; placement->views != NULL && i < count; i++)
    if (placement->views[i] != 0) placement->vk->DestroyBufferView(placement->logical, placement->views[i], NULL);
  free(placement->views);
}
