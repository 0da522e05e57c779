/* Places a package on a device and runs it, whichever backend the package is for. */
#include "act_backend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const act_backend *const backends[] = {&act_opencl_backend, &act_vulkan_backend};
enum { BACKENDS = sizeof backends / sizeof *backends };

static const act_backend *backend_named(const char *name, size_t length) {
  for (size_t i = 0; i < BACKENDS; i++)
    if (strlen(backends[i]->name) == length && memcmp(backends[i]->name, name, length) == 0) return backends[i];
  return NULL;
}

static const act_backend *backend_of(const act_package *package) {
  for (size_t i = 0; i < BACKENDS; i++)
    if (backends[i]->code == package->header.backend) return backends[i];
  return NULL; /* act_package.c lets no other pass */
}

const char *act_package_backend(const act_package *package) { return backend_of(package)->name; }

act_status act_device_list(const char *name, act_device_info **devices, size_t *count, act_error *error) {
  *devices = NULL;
  *count = 0;
  const act_backend *backend = backend_named(name, strlen(name));
  if (backend == NULL) return act_fail(error, ACT_ERROR_USAGE, "unknown backend %.50s: opencl or vulkan", name);
  return backend->list(devices, count, error);
}

/* The index in an id such as "vulkan:1", which must be of the package's backend. */
static act_status parse_id(const act_backend *backend, const char *id, uint32_t *index, act_error *error) {
  const char *colon = strchr(id, ':');
  const act_backend *named = colon != NULL ? backend_named(id, (size_t)(colon - id)) : NULL;
  if (named == NULL || strlen(colon + 1) < 1 || strlen(colon + 1) > 6 ||
      strspn(colon + 1, "0123456789") != strlen(colon + 1))
    return act_fail(error, ACT_ERROR_USAGE, "%.50s is no device: opencl:N or vulkan:N", id);
  if (named != backend)
    return act_fail(error, ACT_ERROR_USAGE, "the package is for %s, the device is %.50s", backend->name, id);
  *index = (uint32_t)strtoul(colon + 1, NULL, 10);
  return ACT_OK;
}

act_status act_session_create(const act_package *package, const char *device_id, act_session **result,
                              act_error *error) {
  *result = NULL;
  const act_backend *backend = backend_of(package);
  uint32_t index = 0;
  act_status status = device_id != NULL ? parse_id(backend, device_id, &index, error) : ACT_OK;
  if (status != ACT_OK) return status;
  act_session *session = calloc(1, sizeof *session);
  if (session == NULL) return act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  session->package = package;
  session->backend = backend;
  status = backend->place(package, index, &session->placement, &session->info, &session->build_ms, error);
  if (status != ACT_OK) act_session_free(session);
  else *result = session;
  return status;
}

void act_session_free(act_session *session) {
  if (session == NULL) return;
  if (session->placement != NULL) session->backend->release(session->placement);
  free(session);
}

const act_device_info *act_session_device(const act_session *session) { return &session->info; }
double act_session_build_ms(const act_session *session) { return session->build_ms; }

act_status act_session_run(act_session *session, const float *input, size_t input_bytes, float *output,
                           size_t output_bytes, act_error *error) {
  const act_package *package = session->package;
  if (input_bytes != package->input_bytes || output_bytes != package->output_bytes)
    return act_fail(error, ACT_ERROR_USAGE, "input of %zu and output of %zu bytes, the package has %zu and %zu",
                    input_bytes, output_bytes, package->input_bytes, package->output_bytes);
  act_status status = session->backend->write_inputs(session->placement, input, error);
  if (status == ACT_OK) status = session->backend->start(session->placement, error);
  if (status == ACT_OK) status = session->backend->read_outputs(session->placement, output, error);
  return status;
}

static double relative_error(const float *output, const float *expected, size_t count) {
  double difference = 0, largest = 0;
  for (size_t i = 0; i < count; i++) {
    if (!isfinite(output[i]) || !isfinite(expected[i])) return INFINITY;
    difference = fmax(difference, fabs((double)output[i] - expected[i]));
    largest = fmax(largest, fabs((double)expected[i]));
  }
  return largest > 0 ? difference / largest : difference;
}

act_status act_session_verify(act_session *session, double tolerance, double *error_out, act_error *error) {
  const act_package *package = session->package;
  const float *expected = act_package_verification_output(package);
  const float *input = act_package_verification_input(package);
  float *output = malloc(package->output_bytes), *other = malloc(package->input_bytes);
  act_status status = ACT_OK;
  if (output == NULL || other == NULL) status = act_fail(error, ACT_ERROR_MEMORY, "out of memory");
  for (size_t i = 0; status == ACT_OK && i < package->input_bytes / sizeof *other; i++) other[i] = 1 - 2 * input[i];
  *error_out = 0;
  for (int pass = 0; pass < 3 && status == ACT_OK; pass++) {
    status = act_session_run(session, pass == 1 ? other : input, package->input_bytes, output, package->output_bytes,
                             error);
    if (status == ACT_OK && pass != 1)
      *error_out = fmax(*error_out, relative_error(output, expected, package->output_bytes / sizeof *output));
  }
  free(output);
  free(other);
  if (status == ACT_OK && !(*error_out <= tolerance))
    return act_fail(error, ACT_ERROR_OUTPUT, "the output differs from the expected one by %.3g of its largest value, "
                    "allowed are %.3g", *error_out, tolerance);
  return status;
}
