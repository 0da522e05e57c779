/* A package on a Vulkan device: an inference is one command buffer, recorded once, with a barrier where a step depends on
 * one before it. Timestamps slow the device down, so they are in a command buffer of their own. */
#include "act_vulkan_placement.h"

#include <stdlib.h>
#include <string.h>

static act_status check(VkResult code, const char *what, act_error *error) {
  if (code == VK_SUCCESS) return ACT_OK;
  return act_fail(error, ACT_ERROR_LAUNCH, "%s: %s (%d)", what, act_vulkan_error_name(code), code);
}

act_status act_vulkan_begin(act_placement *placement, unsigned command, VkFlags flags, act_error *error) {
  VkCommandBufferBeginInfo begin = {.sType = VK_TYPE_COMMAND_BUFFER_BEGIN_INFO, .flags = flags};
  return check(placement->vk->BeginCommandBuffer(placement->commands[command], &begin), "commands cannot be recorded",
               error);
}

act_status act_vulkan_end(act_placement *placement, unsigned command, act_error *error) {
  return check(placement->vk->EndCommandBuffer(placement->commands[command]), "commands cannot be recorded", error);
}

act_status act_vulkan_submit(act_placement *placement, unsigned command, act_error *error) {
  VkSubmitInfo submit = {
      .sType = VK_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &placement->commands[command]};
  return check(placement->vk->QueueSubmit(placement->queue, 1, &submit, 0), "commands cannot be submitted", error);
}

act_status act_vulkan_wait(act_placement *placement, act_error *error) {
  return check(placement->vk->QueueWaitIdle(placement->queue), "the device failed", error);
}

void act_vulkan_barrier(act_placement *placement, unsigned command, VkFlags from, VkFlags wrote, VkFlags to,
                        VkFlags access) {
  VkMemoryBarrier barrier = {.sType = VK_TYPE_MEMORY_BARRIER, .srcAccessMask = wrote, .dstAccessMask = access};
  placement->vk->CmdPipelineBarrier(placement->commands[command], from, to, 0, 1, &barrier, 0, NULL, 0, NULL);
}

static act_status create_device(act_placement *placement, act_error *error) {
  static const float priority = 1;
  VkPhysicalDevice16BitStorageFeatures half = {.sType = VK_TYPE_16BIT_STORAGE_FEATURES, .storageBuffer16BitAccess = 1};
  VkDeviceQueueCreateInfo queue = {.sType = VK_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                   .queueFamilyIndex = placement->device.queue_family,
                                   .queueCount = 1,
                                   .pQueuePriorities = &priority};
  VkDeviceCreateInfo create = {.sType = VK_TYPE_DEVICE_CREATE_INFO,
                               .pNext = placement->device.info.has_fp16 ? &half : NULL,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue};
  VkResult code = placement->vk->CreateDevice(placement->device.handle, &create, NULL, &placement->logical);
  if (code != VK_SUCCESS) {
    placement->logical = NULL;
    return act_fail(error, ACT_ERROR_DEVICE, "the device cannot be opened: %s (%d)", act_vulkan_error_name(code), code);
  }
  placement->vk->GetDeviceQueue(placement->logical, placement->device.queue_family, 0, &placement->queue);
  return ACT_OK;
}

static act_status create_commands(act_placement *placement, act_error *error) {
  const act_vulkan *vk = placement->vk;
  VkCommandPoolCreateInfo pool = {.sType = VK_TYPE_COMMAND_POOL_CREATE_INFO,
                                  .flags = VK_COMMAND_POOL_RESET,
                                  .queueFamilyIndex = placement->device.queue_family};
  VkResult code = act_vulkan_made(vk->CreateCommandPool(placement->logical, &pool, NULL, &placement->command_pool),
                                  &placement->command_pool);
  VkCommandBufferAllocateInfo allocate = {.sType = VK_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                          .commandPool = placement->command_pool,
                                          .commandBufferCount = ACT_COMMANDS};
  if (code == VK_SUCCESS) code = vk->AllocateCommandBuffers(placement->logical, &allocate, placement->commands);
  return check(code, "the device gives no command buffers", error);
}

/* What a step since the last barrier did to a part of the arena. */
typedef struct {
  uint64_t begin, end;
  bool written;
} access_t;

/* Steps may share their arguments in the file, so the file's number of arguments bounds nothing. */
enum { MOST_ACCESSES = 8 * ACT_MAX_STEP_ARGUMENTS };

/* Adds the accesses of a step to those since the last barrier; returns how many, or 0 if the step must wait for them or
 * they are too many to keep. */
static size_t add_accesses(const act_package *package, uint32_t index, access_t *accesses, size_t count) {
  const act_file_step *step = &package->steps[index];
  const act_spirv_interface *interface = &package->kernels[step->kernel].interface;
  size_t before = count;
  if (before > 0 && step->argument_count > MOST_ACCESSES - before) return 0;
  for (uint32_t i = 0; i < step->argument_count; i++) {
    const act_file_buffer *buffer = &package->buffers[package->arguments[step->first_argument + i]];
    if (buffer->role == ACT_ROLE_WEIGHT) continue;
    access_t one = {buffer->offset, buffer->offset + buffer->size_bytes, !interface->read_only[i]};
    for (size_t j = 0; j < before; j++)
      if ((one.written || accesses[j].written) && one.begin < accesses[j].end && accesses[j].begin < one.end) return 0;
    accesses[count++] = one;
  }
  return count;
}

static void launch(act_placement *placement, unsigned command, uint32_t index) {
  const act_vulkan *vk = placement->vk;
  const act_file_step *step = &placement->package->steps[index];
  VkCommandBuffer commands = placement->commands[command];
  vk->CmdBindPipeline(commands, VK_BIND_POINT_COMPUTE, placement->pipelines[step->kernel]);
  vk->CmdBindDescriptorSets(commands, VK_BIND_POINT_COMPUTE, placement->layouts[step->kernel], 0, 1,
                            &placement->sets[index], 0, NULL);
  vk->CmdDispatch(commands, step->global_size[0] / step->local_size[0], step->global_size[1] / step->local_size[1],
                  step->global_size[2] / step->local_size[2]);
}

static void wait_for_kernels(act_placement *placement, unsigned command) {
  act_vulkan_barrier(placement, command, VK_STAGE_COMPUTE, VK_ACCESS_SHADER_WRITE, VK_STAGE_COMPUTE,
                     VK_ACCESS_SHADER_READ | VK_ACCESS_SHADER_WRITE);
}

/* Inputs come from copies, and earlier inferences may still run. */
static void wait_for_inputs(act_placement *placement, unsigned command) {
  act_vulkan_barrier(placement, command, VK_STAGE_TRANSFER | VK_STAGE_COMPUTE,
                     VK_ACCESS_TRANSFER_WRITE | VK_ACCESS_SHADER_WRITE, VK_STAGE_COMPUTE,
                     VK_ACCESS_SHADER_READ | VK_ACCESS_SHADER_WRITE);
}

static act_status record_run(act_placement *placement, act_error *error) {
  const act_package *package = placement->package;
  size_t count = 0;
  access_t *accesses = calloc(MOST_ACCESSES, sizeof *accesses);
  if (accesses == NULL) return act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  act_status status = act_vulkan_begin(placement, ACT_RUN, VK_COMMAND_BUFFER_SIMULTANEOUS_USE, error);
  if (status == ACT_OK) wait_for_inputs(placement, ACT_RUN);
  for (uint32_t i = 0; status == ACT_OK && i < package->header.step_count; i++) {
    size_t added = add_accesses(package, i, accesses, count);
    if (added == 0 && count > 0) {
      wait_for_kernels(placement, ACT_RUN);
      added = add_accesses(package, i, accesses, 0);
    }
    count = added;
    launch(placement, ACT_RUN, i);
  }
  free(accesses);
  return status == ACT_OK ? act_vulkan_end(placement, ACT_RUN, error) : status;
}

/* Records the copies of all inputs from the staging buffer, or of all outputs to it. */
static act_status record_copies(act_placement *placement, unsigned command, uint32_t first, uint32_t count,
                                act_error *error) {
  const act_vulkan *vk = placement->vk;
  VkCommandBuffer commands = placement->commands[command];
  act_status status = act_vulkan_begin(placement, command, 0, error);
  if (status != ACT_OK) return status;
  act_vulkan_barrier(placement, command, VK_STAGE_COMPUTE | VK_STAGE_TRANSFER | VK_STAGE_HOST,
                     VK_ACCESS_SHADER_WRITE | VK_ACCESS_TRANSFER_WRITE | VK_ACCESS_HOST_WRITE, VK_STAGE_TRANSFER,
                     VK_ACCESS_TRANSFER_READ | VK_ACCESS_TRANSFER_WRITE);
  VkDeviceSize position = 0;
  for (uint32_t i = first; i < first + count; i++) {
    const VkDescriptorBufferInfo *buffer = &placement->buffers[placement->package->io[i]];
    VkBufferCopy in = {position, buffer->offset, buffer->range}, out = {buffer->offset, position, buffer->range};
    if (command == ACT_UPLOAD) vk->CmdCopyBuffer(commands, placement->staging.buffer, buffer->buffer, 1, &in);
    else vk->CmdCopyBuffer(commands, buffer->buffer, placement->staging.buffer, 1, &out);
    position += buffer->range;
  }
  if (command == ACT_DOWNLOAD)
    act_vulkan_barrier(placement, command, VK_STAGE_TRANSFER, VK_ACCESS_TRANSFER_WRITE, VK_STAGE_HOST,
                       VK_ACCESS_HOST_READ);
  return act_vulkan_end(placement, command, error);
}

/* A time before the first step and one after each, which waits for the one before it. */
static act_status record_profile(act_placement *placement, act_error *error) {
  const act_vulkan *vk = placement->vk;
  uint32_t steps = placement->package->header.step_count;
  VkQueryPoolCreateInfo create = {
      .sType = VK_TYPE_QUERY_POOL_CREATE_INFO, .queryType = VK_QUERY_TIMESTAMP, .queryCount = steps + 1};
  /* What an attempt that failed has made is used again. */
  if (placement->times == NULL) placement->times = calloc((size_t)steps + 1, sizeof *placement->times);
  if (placement->times == NULL) return act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  VkResult code = VK_SUCCESS;
  if (placement->queries == 0)
    code = act_vulkan_made(vk->CreateQueryPool(placement->logical, &create, NULL, &placement->queries),
                           &placement->queries);
  act_status status = check(code, "the device gives no timestamps", error);
  if (status == ACT_OK) status = act_vulkan_begin(placement, ACT_PROFILE, 0, error);
  if (status != ACT_OK) return status;
  VkCommandBuffer commands = placement->commands[ACT_PROFILE];
  vk->CmdResetQueryPool(commands, placement->queries, 0, steps + 1);
  wait_for_inputs(placement, ACT_PROFILE);
  vk->CmdWriteTimestamp(commands, VK_STAGE_COMPUTE, placement->queries, 0);
  for (uint32_t i = 0; i < steps; i++) {
    launch(placement, ACT_PROFILE, i);
    vk->CmdWriteTimestamp(commands, VK_STAGE_COMPUTE, placement->queries, i + 1);
    wait_for_kernels(placement, ACT_PROFILE);
  }
  status = act_vulkan_end(placement, ACT_PROFILE, error);
  placement->has_profile = status == ACT_OK;
  return status;
}

static act_status place(const act_package *package, uint32_t index, act_placement **result, act_device_info *info,
                        double *build_ms, act_error *error) {
  const act_file_header *header = &package->header;
  act_placement *placement = calloc(1, sizeof *placement);
  *result = placement;
  if (placement == NULL) return act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  placement->package = package;
  placement->vk = act_vulkan_open(error);
  if (placement->vk == NULL) return error->status;
  act_status status = act_vulkan_find(placement->vk, index, &placement->device, error);
  *info = placement->device.info;
  if (status == ACT_OK) status = create_device(placement, error);
  if (status == ACT_OK) status = create_commands(placement, error);
  if (status == ACT_OK) status = act_vulkan_place_memory(placement, error);
  double began = act_now_ms();
  if (status == ACT_OK) status = act_vulkan_place_kernels(placement, error);
  *build_ms = act_now_ms() - began;
  if (status == ACT_OK) status = record_run(placement, error);
  if (status == ACT_OK) status = record_copies(placement, ACT_UPLOAD, 0, header->input_count, error);
  if (status == ACT_OK)
    status = record_copies(placement, ACT_DOWNLOAD, header->input_count, header->output_count, error);
  return status;
}

static void release(act_placement *placement) {
  const act_vulkan *vk = placement->vk;
  if (placement->logical != NULL) {
    vk->DeviceWaitIdle(placement->logical);
    act_vulkan_free_kernels(placement);
    act_vulkan_free_memory(placement);
    if (placement->queries != 0) vk->DestroyQueryPool(placement->logical, placement->queries, NULL);
    if (placement->command_pool != 0) vk->DestroyCommandPool(placement->logical, placement->command_pool, NULL);
    vk->DestroyDevice(placement->logical, NULL);
  }
  free(placement->times);
  free(placement);
}

static act_status start(act_placement *placement, act_error *error) {
  return act_vulkan_submit(placement, ACT_RUN, error);
}

static act_status write_inputs(act_placement *placement, const float *values, act_error *error) {
  memcpy(placement->mapped, values, placement->package->input_bytes);
  act_status status = act_vulkan_submit(placement, ACT_UPLOAD, error);
  return status == ACT_OK ? act_vulkan_wait(placement, error) : status;
}

static act_status read_outputs(act_placement *placement, float *values, act_error *error) {
  act_status status = act_vulkan_submit(placement, ACT_DOWNLOAD, error);
  if (status == ACT_OK) status = act_vulkan_wait(placement, error);
  if (status == ACT_OK) memcpy(values, placement->mapped, placement->package->output_bytes);
  return status;
}

static int can_profile(const act_placement *placement) { return placement->device.has_clock; }

static act_status profile(act_placement *placement, double *step_us, act_error *error) {
  uint32_t steps = placement->package->header.step_count;
  uint64_t *times;
  act_status status = placement->has_profile ? ACT_OK : record_profile(placement, error);
  if (status == ACT_OK) status = act_vulkan_submit(placement, ACT_PROFILE, error);
  if (status == ACT_OK) status = act_vulkan_wait(placement, error);
  if (status != ACT_OK) return status;
  times = placement->times;
  VkResult code = placement->vk->GetQueryPoolResults(
      placement->logical, placement->queries, 0, steps + 1, ((size_t)steps + 1) * sizeof *times, times, sizeof *times,
      VK_QUERY_RESULT_64 | VK_QUERY_RESULT_WAIT);
  for (uint32_t i = 0; i < steps; i++) {
    double ticks = times[i + 1] > times[i] ? (double)(times[i + 1] - times[i]) : 0;
    step_us[i] = ticks * placement->device.limits.timestampPeriod * 1e-3;
  }
  return check(code, "the device gives no timestamps", error);
}

const act_backend act_vulkan_backend = {
    .name = "vulkan",
    .code = ACT_BACKEND_VULKAN,
    .list = act_vulkan_list,
    .place = place,
    .release = release,
    .start = start,
    .finish = act_vulkan_wait,
    .write_inputs = write_inputs,
    .read_outputs = read_outputs,
    .can_profile = can_profile,
    .profile = profile,
};
