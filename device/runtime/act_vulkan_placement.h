/* A package on a Vulkan device: shared by act_vulkan_memory.c, act_vulkan_kernels.c and act_vulkan_backend.c. */
#ifndef ACT_VULKAN_PLACEMENT_H
#define ACT_VULKAN_PLACEMENT_H

#include "act_backend.h"
#include "act_vulkan.h"

/* One buffer with memory of its own. */
typedef struct {
  VkHandle buffer, memory;
  VkDeviceSize size;
} act_block;

/* Command buffers. */
enum { ACT_RUN, ACT_UPLOAD, ACT_DOWNLOAD, ACT_PROFILE, ACT_COPY, ACT_COMMANDS };

struct act_placement {
  const act_package *package;
  const act_vulkan *vk;
  act_vulkan_device device;
  VkDevice logical;
  VkQueue queue;
  VkHandle command_pool;
  VkCommandBuffer commands[ACT_COMMANDS];
  act_block staging; /* seen by the host; inputs and outputs pass through it */
  unsigned char *mapped;
  act_block *blocks; /* the arena first, then weights, several in a block */
  uint32_t block_count;
  VkDescriptorBufferInfo *buffers; /* one for each of the package's: where it lies */
  VkHandle *views;                 /* ACT_VIEWS for each of them: those that kernels read it through */
  VkHandle *set_layouts, *layouts, *pipelines; /* one for each kernel */
  VkHandle descriptor_pool;
  VkHandle *sets;   /* one for each step */
  VkHandle queries; /* one time more than there are steps */
  uint64_t *times;
  bool has_profile; /* ACT_PROFILE is recorded */
};

/* act_vulkan_memory.c: arena and weights on the device, and the staging buffer. */
act_status act_vulkan_place_memory(act_placement *placement, act_error *error);
void act_vulkan_free_memory(act_placement *placement);

/* act_vulkan_views.c: texel buffers over the package's buffers; made when a kernel first needs one. */
enum { ACT_VIEWS = 4 };
act_status act_vulkan_view(act_placement *placement, uint32_t buffer, act_bound bound, bool quads, VkHandle **view,
                           act_error *error);
void act_vulkan_free_views(act_placement *placement);

/* act_vulkan_kernels.c: pipelines, and descriptor sets with every argument bound; refuses what the device cannot do. */
act_status act_vulkan_place_kernels(act_placement *placement, act_error *error);
void act_vulkan_free_kernels(act_placement *placement);

/* Begins and ends the recording of one of the command buffers. */
act_status act_vulkan_begin(act_placement *placement, unsigned command, VkFlags flags, act_error *error);
act_status act_vulkan_end(act_placement *placement, unsigned command, act_error *error);
act_status act_vulkan_submit(act_placement *placement, unsigned command, act_error *error);
act_status act_vulkan_wait(act_placement *placement, act_error *error);
void act_vulkan_barrier(act_placement *placement, unsigned command, VkFlags from, VkFlags wrote, VkFlags to,
                        VkFlags access);

#endif
