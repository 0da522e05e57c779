/* Kernels of a package on a Vulkan device: a pipeline for each, and a descriptor set with its arguments for each step. */
#include "act_vulkan_placement.h"

#include <stdlib.h>
#include <string.h>

/* How many bindings of a kernel are storage buffers, and how many texel buffers. */
static void count_bindings(const act_spirv_interface *interface, uint32_t *buffers, uint32_t *texels) {
  *buffers = *texels = 0;
  for (uint32_t i = 0; i < ACT_SPIRV_ALL_BINDINGS; i++) {
    *buffers += interface->bound[i] == ACT_STORAGE;
    *texels += interface->bound[i] == ACT_FLOAT_TEXELS || interface->bound[i] == ACT_INT_TEXELS;
  }
}

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Refuses a launch that the device cannot do: illegal work-group sizes have rebooted phones. */
static act_status check_launch(const act_placement *placement, uint32_t index, act_error *error) {
  const VkPhysicalDeviceLimits *limits = &placement->device.limits;
  const act_file_step *step = &placement->package->steps[index];
  const act_spirv_interface *interface = &placement->package->kernels[step->kernel].interface;
  uint64_t items = 1;
  uint32_t buffers, texels;
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
  count_bindings(interface, &buffers, &texels);
  uint32_t most = smaller(limits->maxPerStageDescriptorStorageBuffers, limits->maxDescriptorSetStorageBuffers);
  if (buffers > most)
    return act_fail(error, ACT_ERROR_LAUNCH, "step %u: %u arguments, the device allows %u", index, buffers, most);
  most = smaller(limits->maxPerStageDescriptorSampledImages, limits->maxDescriptorSetSampledImages);
  if (texels > most)
    return act_fail(error, ACT_ERROR_LAUNCH, "step %u: %u texel buffers, the device allows %u", index, texels, most);
  if (interface->shared_bytes > limits->maxComputeSharedMemorySize)
    return act_fail(error, ACT_ERROR_LAUNCH, "step %u: the kernel needs %llu bytes of local memory, the device has %u",
                    index, (unsigned long long)interface->shared_bytes, limits->maxComputeSharedMemorySize);
  if (interface->half_storage && !placement->device.info.has_fp16)
    return act_fail(error, ACT_ERROR_LAUNCH, "step %u: the device has no buffers of 16-bit floats", index);
  return ACT_OK;
}

static uint32_t descriptor_type(act_bound bound) {
  return bound == ACT_STORAGE ? VK_DESCRIPTOR_STORAGE_BUFFER : VK_DESCRIPTOR_UNIFORM_TEXEL_BUFFER;
}

static act_status create_layout(act_placement *placement, uint32_t index, act_error *error) {
  const act_vulkan *vk = placement->vk;
  const act_spirv_interface *interface = &placement->package->kernels[index].interface;
  uint32_t count = 0;
  VkDescriptorSetLayoutBinding bindings[ACT_SPIRV_ALL_BINDINGS];
  for (uint32_t i = 0; i < ACT_SPIRV_ALL_BINDINGS; i++)
    if (interface->bound[i] != ACT_UNBOUND)
      bindings[count++] = (VkDescriptorSetLayoutBinding){i, descriptor_type(interface->bound[i]), 1,
                                                         VK_SHADER_STAGE_COMPUTE, NULL};
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
  uint32_t count = 0;
  VkDescriptorPoolSize sizes[2] = {{VK_DESCRIPTOR_STORAGE_BUFFER, 0}, {VK_DESCRIPTOR_UNIFORM_TEXEL_BUFFER, 0}};
  for (uint32_t i = 0; i < header->step_count; i++) { /* at most 65536 steps of 256 bindings */
    uint32_t buffers, texels;
    count_bindings(&placement->package->kernels[placement->package->steps[i].kernel].interface, &buffers, &texels);
    sizes[0].descriptorCount += buffers;
    sizes[1].descriptorCount += texels;
  }
  uint32_t descriptors = sizes[0].descriptorCount + sizes[1].descriptorCount;
  for (uint32_t i = 0; i < 2; i++) /* none may be empty */
    if (sizes[i].descriptorCount > 0) sizes[count++] = sizes[i];
  VkDescriptorPoolCreateInfo create = {.sType = VK_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                       .maxSets = header->step_count,
                                       .poolSizeCount = count,
                                       .pPoolSizes = sizes};
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
  for (uint32_t i = 0; i < ACT_SPIRV_ALL_BINDINGS; i++) {
    act_bound bound = placement->package->kernels[step->kernel].interface.bound[i];
    if (bound == ACT_UNBOUND) continue;
    uint32_t buffer = placement->package->arguments[step->first_argument + i % ACT_SPIRV_MAX_BINDINGS];
    VkHandle *view = NULL;
    act_status status = ACT_OK;
    if (bound != ACT_STORAGE)
      status = act_vulkan_view(placement, buffer, bound, i >= ACT_SPIRV_MAX_BINDINGS, &view, error);
    if (status != ACT_OK) return status;
    VkWriteDescriptorSet write = {.sType = VK_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = placement->sets[index],
                                  .dstBinding = i,
                                  .descriptorCount = 1,
                                  .descriptorType = descriptor_type(bound),
                                  .pBufferInfo = &placement->buffers[buffer],
                                  .pTexelBufferView = view};
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
  placement->views = calloc((size_t)ACT_VIEWS * header->buffer_count, sizeof(VkHandle));
  act_status status = ACT_OK;
  if (!placement->set_layouts || !placement->layouts || !placement->pipelines || !placement->sets ||
      !placement->views)
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
  act_vulkan_free_views(placement);
  free(placement->pipelines);
  free(placement->layouts);
  free(placement->set_layouts);
  free(placement->sets);
}
