/* A package on a device: shared by act_session.c, which makes and runs it, and act_timing.c. */
#ifndef ACT_SESSION_H
#define ACT_SESSION_H

#include "act_opencl.h"

struct act_session {
  const act_package *package;
  const act_opencl *cl;
  act_device_info info;
  cl_device_id device;
  cl_context context;
  cl_command_queue queue;
  cl_command_queue profile_queue; /* made when first needed */
  cl_mem arena;
  cl_mem *buffers;     /* one for each of the package's; parts of the arena, or weights */
  cl_program *programs; /* one for each kernel source: large programs crash some phones' compilers */
  cl_kernel *kernels;  /* one for each step, with its arguments bound */
  double build_ms;
};

/* Enqueues all steps; with `events` (one for each step) also asks for their device times. */
act_status act_session_enqueue(act_session *session, cl_command_queue queue, cl_event *events, act_error *error);
act_status act_session_finish(act_session *session, cl_command_queue queue, act_error *error);

#endif
