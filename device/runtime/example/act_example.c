/* Runs a package once through the public header: load, run, free.
 *
 *   act devices build-runner --out build
 *   cc act_example.c -Ibuild/host -Lbuild/host -lact_runtime -Wl,-rpath,build/host -o act_example
 *   ./act_example model.actpkg [opencl:0 | vulkan:0]
 *
 * The input is the package's known one; it prints the first values of the output and how far they are from the known
 * ones. An app does the same with its own input: float32, all input tensors one after another. */
#include "act_runtime.h"

#include <stdio.h>
#include <stdlib.h>

/* Runs one inference; the caller frees the result. NULL after a failure. */
static float *infer(const act_package *package, act_session *session, act_error *error) {
  float *output = malloc(act_package_output_bytes(package));
  if (output == NULL) {
    snprintf(error->message, sizeof error->message, "out of memory");
    return NULL;
  }
  act_status status = act_session_run(session, act_package_verification_input(package),
                                      act_package_input_bytes(package), output, act_package_output_bytes(package), error);
  if (status == ACT_OK) return output;
  free(output);
  return NULL;
}

static void show(const act_package *package, const act_session *session, const float *output) {
  const float *expected = act_package_verification_output(package);
  size_t count = act_package_output_bytes(package) / sizeof *output;
  printf("%s, for %s: %zu kernels on %s\n", act_package_target(package), act_package_backend(package),
         act_package_step_count(package), act_session_device(session)->name);
  for (size_t i = 0; i < count && i < 8; i++) printf("output %zu: %g (known: %g)\n", i, output[i], expected[i]);
}

int main(int count, char **values) {
  static act_error error; /* 8 KB: not on a small stack */
  act_package *package = NULL;
  act_session *session = NULL;
  float *output = NULL;
  if (count < 2 || count > 3) {
    fprintf(stderr, "usage: %s PACKAGE [DEVICE]\n", values[0]);
    return ACT_ERROR_USAGE;
  }
  act_status status = act_package_load(values[1], &package, &error);
  /* Builds the kernels: do it once, and keep the session for all inferences. */
  if (status == ACT_OK) status = act_session_create(package, count == 3 ? values[2] : NULL, &session, &error);
  if (status == ACT_OK) {
    output = infer(package, session, &error);
    if (output != NULL) show(package, session, output);
    else status = error.status != ACT_OK ? error.status : ACT_ERROR_MEMORY;
  }
  if (status != ACT_OK) fprintf(stderr, "%s\n", error.message);
  free(output);
  act_session_free(session); /* before its package */
  act_package_free(package);
  return status;
}
