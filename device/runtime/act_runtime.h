/* Loads and runs a compiled network (model.actpkg) on an OpenCL or a Vulkan device, as the package was compiled for.
 *
 *   act_package_load -> act_session_create -> act_session_run ... -> act_session_free -> act_package_free
 *
 * C11 and the C library only; libOpenCL or libvulkan is opened at run time. Nothing in tables is trusted: every offset,
 * size and index is checked when it is loaded. Its kernels are code, though: load packages as you would load a library.
 * No call is thread-safe on one session; different sessions are independent, and packages may be loaded and sessions made
 * in several threads. A package must outlive its sessions.
 *
 * Building kernels from source takes a phone seconds. Where the environment variable ACT_KERNEL_CACHE names a folder, built
 * OpenCL programs are kept there and taken from there, by source, options, device and driver; files that are damaged, or
 * that a driver refuses, are made anew from source.
 */
#ifndef ACT_RUNTIME_H
#define ACT_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Also the exit codes of act-runner. */
typedef enum {
  ACT_OK = 0,
  ACT_ERROR_USAGE = 2,    /* a wrong argument of the caller */
  ACT_ERROR_FILE = 3,     /* an input or output file cannot be read or written */
  ACT_ERROR_PACKAGE = 10, /* missing, cut short, altered, or inconsistent */
  ACT_ERROR_DEVICE = 11,  /* no OpenCL or Vulkan library, or no such device */
  ACT_ERROR_BUILD = 12,   /* the device's compiler refused a kernel; the message holds its log */
  ACT_ERROR_LAUNCH = 13,  /* a kernel does not fit the device, or failed to run */
  ACT_ERROR_OUTPUT = 14,  /* the verification output differs */
  ACT_ERROR_MEMORY = 15   /* host or device memory is too small */
} act_status;

/* Why the last call failed; written only when a call returns something other than ACT_OK. */
typedef struct {
  act_status status;
  char message[8192];
} act_error;

typedef struct act_package act_package;
typedef struct act_session act_session;

/* Reads and checks a file, or a copy of bytes in memory (an app's asset). */
act_status act_package_load(const char *path, act_package **package, act_error *error);
act_status act_package_parse(const void *data, size_t size, act_package **package, act_error *error);
void act_package_free(act_package *package);

/* Bytes of all inputs (float32, one tensor after another) and of all outputs. */
size_t act_package_input_bytes(const act_package *package);
size_t act_package_output_bytes(const act_package *package);
/* A known input of act_package_input_bytes and the output it must give. */
const float *act_package_verification_input(const act_package *package);
const float *act_package_verification_output(const act_package *package);
size_t act_package_step_count(const act_package *package);
uint64_t act_package_arena_bytes(const act_package *package);
uint64_t act_package_weight_bytes(const act_package *package);
const char *act_package_target(const act_package *package);
const char *act_package_backend(const act_package *package); /* "opencl" or "vulkan" */
/* The network operator that step `index` came from; NULL when there is no such step. */
const char *act_package_step_operator(const act_package *package, size_t index);

typedef struct {
  char id[32]; /* "opencl:0": what act_session_create takes */
  char platform[256];
  char platform_version[256];
  char name[256];
  char vendor[256];
  char version[256];
  char driver[256];
  const char *type; /* "cpu", "gpu", "accelerator" or "other" */
  uint32_t compute_units;
  uint64_t global_memory_bytes;
  uint64_t max_allocation_bytes;
  uint64_t local_memory_bytes;
  uint64_t max_work_group_size;
  uint32_t base_alignment_bytes;
  int has_fp16; /* OpenCL: arithmetic on 16-bit floats; Vulkan: buffers of them */
} act_device_info;

/* Lists the devices of a backend, "opencl" or "vulkan"; `*devices` is freed with free(). None is ACT_ERROR_DEVICE. */
act_status act_device_list(const char *backend, act_device_info **devices, size_t *count, act_error *error);

/* Builds the kernels, copies the weights to the device and binds every argument, so that a run only starts them. The
 * device must be of the package's backend; NULL is the first one. */
act_status act_session_create(const act_package *package, const char *device_id, act_session **session,
                              act_error *error);
void act_session_free(act_session *session);
const act_device_info *act_session_device(const act_session *session);
double act_session_build_ms(const act_session *session);

/* One inference; the sizes must be those of the package. */
act_status act_session_run(act_session *session, const float *input, size_t input_bytes, float *output,
                           size_t output_bytes, act_error *error);

/* Runs the verification input, another one, and the first again (a run must leave nothing behind that the next one sees).
 * `*relative_error` is max|difference| / max|expected|, infinite where the output is not finite; above `tolerance` the
 * result is ACT_ERROR_OUTPUT. */
act_status act_session_verify(act_session *session, double tolerance, double *relative_error, act_error *error);

typedef struct {
  uint32_t warmup_runs; /* at least this many, and at least warmup_ms */
  double warmup_ms;
  double max_warmup_ms;  /* beyond both, until this long for as long as the times are not stable */
  uint32_t single_runs;  /* samples of: enqueue one inference, wait for it; at most 1,048,576 */
  double min_seconds;    /* of single inferences: go on beyond single_runs for so long */
  uint32_t bursts;       /* samples of: enqueue burst_runs inferences, wait for all, divide */
  uint32_t burst_runs;
  uint32_t profile_runs; /* passes with device timestamps, apart from the wall-clock ones */
  double max_seconds;    /* for each of the three kinds: stop early, but after three samples at least */
} act_timing_options;

/* Times on the host's monotonic clock, from the first enqueue to the end of the last kernel: input and output stay on the
 * device. step_us: median device time of each step, none where the device has no clock. Freed with act_timing_free.
 *
 * The warm-up runs in windows of 50 ms (and three inferences at least). It is stable when the median of a window is
 * within 3 % of that of the window before. */
typedef struct {
  double *single_ms;
  size_t single_count;
  double *burst_ms;
  size_t burst_count;
  double *step_us;
  size_t step_count;
  size_t warmup_count;
  double warmup_ms;
  int is_stable; /* 0 as well where max_warmup_ms left no time to find out */
} act_timing;

act_status act_session_time(act_session *session, const act_timing_options *options, act_timing *timing,
                            act_error *error);
void act_timing_free(act_timing *timing);

#ifdef __cplusplus
}
#endif
#endif
