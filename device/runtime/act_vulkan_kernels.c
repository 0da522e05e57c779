/* Kernels of a package on a Vulkan device: a pipeline for each, and a descriptor set with its arguments for each step. */
#include "act_vulkan_placement.h"

#include <stdlib.h>
#include <string.h>

/* Refuses a launch that the device cannot do: illegal work-group sizes have rebooted phones. */
static act_status check_launch(const act_placement *placement, uint32_t index, act_error *error) {
  const VkPhysicalDeviceLimits *limits = &placement->device.limits;
  const act_file_step *step = &placement->package->steps[index];
  const act_spirv_interface *interface = &placement->package->kernels[step->kernel].interface;
  uint64_t items = 1;
  for (int i = 0; i < 3; i++) {
    items *= step->local_size[i];
    if (step->local_size[i] > limits->maxComputeWorkGroupSize[i])
      return act_fail(error, ACT_ERROR_LAUNCH, "step %u: work-group size %u in dimension %d, the device allows %u", index,
                      step->local_size[i], i, limits->maxComputeWorkGroupSize[i]);
    if (step->global_size[i] / step->local_size[i] > limits->maxComputeWorkGroupCount[i])
      return act_fail(error, ACT_ERROR_LAUNCH, "step %u: %u work-groups in dimension %d, the device allows %u", index,
                      step->global_size[i] / step->local_size[i], i, limits->maxComputeWorkGroupCount[i]);
  }
  if (items > limits->maxComputeWorkGroupInvocations)
    return act_fail(error, ACT_ERROR_LAUNCH, "step %u: work-groups of %llu items, the device allows %u", index,
                    (unsigned long long)items, limits->maxComputeWorkGroupInvocations);
  if (step->argument_count > limits->maxPerStageDescriptorStorageBuffers ||
      step->argument_count > limits->maxDescriptorSetStorageBuffers)
    return act_fail(error, ACT_ERROR_LAUNCH, "step %u: %u arguments, the device allows %u", index, step->argument_count,
                    limits->maxPerStageDescriptorStorageBuffers < limits->maxDescriptorSetStorageBuffers
                        ? limits->maxPerStageDescriptorStorageBuffers
                        : limits->maxDescriptorSetStorageBuffers);
  if (interface->shared_bytes > limits->maxComputeSharedMemorySize)
    return act_fail(error, ACT_ERROR_LAUNCH, "step %u: the kernel needs %llu bytes of local memory, the device has %u",
                    index, (unsigned long long)interface->shared_bytes, limits->maxComputeSharedMemorySize);
  if (interface->half_storage && !placement->device.info.has_fp16)
    return act_fail(error, ACT_ERROR_LAUNCH, "step %u: the device has no buffers of 16-bit floats", index);
  return ACT_OK;
}

static act_status create_layout(act_placement *placement, uint32_t index, act_error *error) {
  const act_vulkan *vk = placement->vk;
  uint32_t count = placement->package->kernels[index].interface.bindings;
  VkDescriptorSetLayoutBinding bindings[ACT_SPIRV_MAX_BINDINGS];
  for (uint32_t i = 0; i < count; i++)
    bindings[i] = (VkDescriptorSetLayoutBinding){i, VK_DESCRIPTOR_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE, NULL};
  VkDescriptorSetLayoutCreateInfo set = {
      .sType = VK_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO, .bindingCount = count, .pBindings = bindings};
  VkPipelineLayoutCreateInfo layout = {
      .sType = VK_TYPE_PIPELINE_LAYOUT_CREATE_INFO, .setLayoutCount = 1, .pSetLayouts = &placement->set_layouts[index]};
  VkHandle *made = &placement->set_layouts[index];
  VkResult code = act_vulkan_made(vk->CreateDescriptorSetLayout(placement->logical, &set, NULL, made), made);
  made = &placement->layouts[index];
  if (code == VK_SUCCESS)
    code = act_vulkan_made(vk->CreatePipelineLayout(placement->logical, &layout, NULL, made), made);
  if (code == VK_SUCCESS) return ACT_OK;
  return act_fail(error, ACT_ERROR_LAUNCH, "kernel %u: no layout: %s (%d)", index, act_vulkan_error_name(code), code);
}

static act_status create_pipeline(act_placement *placement, uint32_t index, act_error *error) {
  const act_vulkan *vk = placement->vk;
  const act_kernel *kernel = &placement->package->kernels[index];
  VkHandle module = 0;
  uint32_t *words = malloc(kernel->program_size); /* the file's bytes need not be aligned */
  if (words == NULL) return act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  memcpy(words, kernel->program, kernel->program_size);
  VkShaderModuleCreateInfo program = {
      .sType = VK_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = kernel->program_size, .pCode = words};
  VkResult code = vk->CreateShaderModule(placement->logical, &program, NULL, &module);
  if (code == VK_SUCCESS) {
    VkComputePipelineCreateInfo create = {
        .sType = VK_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE,
                  .module = module,
                  .pName = "main"},
        .layout = placement->layouts[index],
        .basePipelineIndex = -1};
    code = act_vulkan_made(
        vk->CreateComputePipelines(placement->logical, 0, 1, &create, NULL, &placement->pipelines[index]),
        &placement->pipelines[index]);
    vk->DestroyShaderModule(placement->logical, module, NULL);
  }
  free(words);
  if (code == VK_SUCCESS) return ACT_OK;
  return act_fail(error, ACT_ERROR_BUILD, "kernel %u (%.200s) does not build: %s (%d)", index, kernel->name.text,
                  act_vulkan_error_name(code), code);
}

static act_status create_pool(act_placement *placement, act_error *error) {
  const act_file_header *header = &placement->package->header;
  uint32_t descriptors = 0; /* at most 65536 steps of 128 arguments */
  for (uint32_t i = 0; i < header->step_count; i++) descriptors += placement->package->steps[i].argument_count;
  VkDescriptorPoolSize size = {VK_DESCRIPTOR_STORAGE_BUFFER, descriptors};
  VkDescriptorPoolCreateInfo create = {.sType = VK_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                       .maxSets = header->step_count,
                                       .poolSizeCount = 1,
                                       .pPoolSizes = &size};
  VkHandle *pool = &placement->descriptor_pool;
  VkResult code = act_vulkan_made(placement->vk->CreateDescriptorPool(placement->logical, &create, NULL, pool), pool);
  if (code == VK_SUCCESS) return ACT_OK;
  return act_fail(error, ACT_ERROR_MEMORY, "no pool of %u descriptors: %s (%d)", descriptors,
                  act_vulkan_error_name(code), code);
}

static act_status bind_arguments(act_placement *placement, uint32_t index, act_error *error) {
  const act_vulkan *vk = placement->vk;
  const act_file_step *step = &placement->package->steps[index];
  VkDescriptorSetAllocateInfo allocate = {.sType = VK_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                          .descriptorPool = placement->descriptor_pool,
                                          .descriptorSetCount = 1,
                                          .pSetLayouts = &placement->set_layouts[step->kernel]};
  VkResult code = vk->AllocateDescriptorSets(placement->logical, &allocate, &placement->sets[index]);
  if (code != VK_SUCCESS)
    return act_fail(error, ACT_ERROR_MEMORY, "step %u: no descriptor set: %s (%d)", index, act_vulkan_error_name(code),
                    code);
  for (uint32_t i = 0; i < step->argument_count; i++) {
    uint32_t buffer = placement->package->arguments[step->first_argument + i];
    VkWriteDescriptorSet write = {.sType = VK_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = placement->sets[index],
                                  .dstBinding = i,
                                  .descriptorCount = 1,
                                  .descriptorType = VK_DESCRIPTOR_STORAGE_BUFFER,
                                  .pBufferInfo = &placement->buffers[buffer]};
    vk->UpdateDescriptorSets(placement->logical, 1, &write, 0, NULL);
  }
  return ACT_OK;
}

act_status act_vulkan_place_kernels(act_placement *placement, act_error *error) {
  const act_file_header *header = &placement->package->header;
  placement->set_layouts = calloc(header->kernel_count, sizeof(VkHandle));
  placement->layouts = calloc(header->kernel_count, sizeof(VkHandle));
  placement->pipelines = calloc(header->kernel_count, sizeof(VkHandle));
  placement->sets = calloc(header->step_count, sizeof(VkHandle));
  act_status status = ACT_OK;
  if (!placement->set_layouts || !placement->layouts || !placement->pipelines || !placement->sets)
    status = act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  for (uint32_t i = 0; status == ACT_OK && i < header->step_count; i++) status = check_launch(placement, i, error);
  for (uint32_t i = 0; status == ACT_OK && i < header->step_count; i++) { /* a kernel that no step uses is never made */
    uint32_t kernel = placement->package->steps[i].kernel;
    if (placement->pipelines[kernel] != 0) continue;
    status = create_layout(placement, kernel, error);
    if (status == ACT_OK) status = create_pipeline(placement, kernel, error);
  }
  if (status == ACT_OK) status = create_pool(placement, error);
  for (uint32_t i = 0; status == ACT_OK && i < header->step_count; i++) status = bind_arguments(placement, i, error);
  return status;
}

void act_vulkan_free_kernels(act_placement *placement) {
  const act_vulkan *vk = placement->vk;
  uint32_t count = placement->package->header.kernel_count;
  if (placement->descriptor_pool != 0)
    vk->DestroyDescriptorPool(placement->logical, placement->descriptor_pool, NULL);
  for (uint32_t i = 0; i < count; i++) {
    if (placement->pipelines != NULL && placement->pipelines[i] != 0)
      vk->DestroyPipeline(placement->logical, placement->pipelines[i], NULL);
    if (placement->layouts != NULL && placement->layouts[i] != 0)
      vk->DestroyPipelineLayout(placement->logical, placement->layouts[i], NULL);
    if (placement->set_layouts != NULL && placement->set_layouts[i] != 0)
      vk->DestroyDescriptorSetLayout(placement->logical, placement->set_layouts[i], NULL);
  }
  free(placement->pipelines);
  free(placement->layouts);
  free(placement->set_layouts);
  free(placement->sets);
}
