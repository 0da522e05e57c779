/* Programs that a device has built before, kept as files: building from source takes a phone seconds. */
#ifndef ACT_OPENCL_CACHE_H
#define ACT_OPENCL_CACHE_H

#include "act_internal.h"
#include "act_opencl.h"

/* Where programs are built. */
typedef struct {
  const act_opencl *cl;
  cl_context context;
  cl_device_id device;
  const act_device_info *info;
} act_opencl_place;

/* The built program of a kernel, if the folder that $ACT_KERNEL_CACHE names holds it for exactly this source, options,
 * device and driver, and the driver takes it; else NULL, and it is to be built from source. */
cl_program act_opencl_cached_program(const act_opencl_place *place, const act_kernel *kernel);

/* Keeps a built program there, if the variable is set; a folder that cannot be written to is no failure. */
void act_opencl_keep_program(const act_opencl_place *place, const act_kernel *kernel, cl_program program);

#endif
