/* What a graphics interface must do to run packages: act_session.c and act_timing.c know no other. */
#ifndef ACT_BACKEND_H
#define ACT_BACKEND_H

#include "act_internal.h"

/* A package on one device; each backend has its own. */
typedef struct act_placement act_placement;

typedef struct {
  const char *name; /* of device ids: "opencl" in opencl:0 */
  uint32_t code;    /* as in the header of a package */
  /* Describes all devices; `*devices` is freed with free(). None at all is ACT_ERROR_DEVICE. */
  act_status (*list)(act_device_info **devices, size_t *count, act_error *error);
  /* Makes buffers and kernels. After a failure `*placement` is NULL or what was made so far, to be freed. */
  act_status (*place)(const act_package *package, uint32_t index, act_placement **placement, act_device_info *info,
                      double *build_ms, act_error *error);
  void (*release)(act_placement *placement);
  /* Starts one inference; `finish` waits for all that were started. */
  act_status (*start)(act_placement *placement, act_error *error);
  act_status (*finish)(act_placement *placement, act_error *error);
  /* Copies all tensors, one after another, and waits for that. */
  act_status (*write_inputs)(act_placement *placement, const float *values, act_error *error);
  act_status (*read_outputs)(act_placement *placement, float *values, act_error *error);
  /* Whether the device tells the time of each step; one pass that does, microseconds for each. */
  int (*can_profile)(const act_placement *placement);
  act_status (*profile)(act_placement *placement, double *step_us, act_error *error);
} act_backend;

extern const act_backend act_opencl_backend;
extern const act_backend act_vulkan_backend;

struct act_session {
  const act_package *package;
  const act_backend *backend;
  act_placement *placement;
  act_device_info info;
  double build_ms;
};

#endif
