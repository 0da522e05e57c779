/* act-runner: lists devices, checks, verifies, times and runs packages; the result is one line on stdout:
 *
 *   RESULT <nonce> <length of json> <crc32 of json, hexadecimal> <json>
 *
 * printed for failures too, with {"status": ..., "message": ...}; the exit code is the act_status. */
#include "runner.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: act-runner devices opencl|vulkan | check PACKAGE | verify PACKAGE | time PACKAGE\n"
    "       act-runner run PACKAGE --input FILE --output FILE\n"
    "  --device ID      as `act-runner devices` lists them, of the package's backend (the first one)\n"
    "  --nonce TEXT     letters and digits that the result line repeats (0)\n"
    "  --tolerance X    largest relative error of the verification (0.001)\n"
    "  --warmup N, --warmup-ms X, --max-warmup-ms X, --runs N, --min-seconds X, --bursts N, --burst-runs N,\n"
    "  --profile N, --max-seconds X   for `time`; --reference PACKAGE is timed before and after\n"
    "  --input FILE     float32 inputs, one after another; --output FILE gets the outputs\n";

typedef struct {
  const char *command, *package, *backend, *device, *nonce, *input, *output, *reference;
  double tolerance;
  act_timing_options timing;
} options_t;

static void add_device(runner_json *json, const act_device_info *info) {
  runner_add(json, "{\"id\": ");
  runner_add_text(json, info->id);
  runner_add_field(json, "platform", info->platform);
  runner_add_field(json, "platform_version", info->platform_version);
  runner_add_field(json, "name", info->name);
  runner_add_field(json, "vendor", info->vendor);
  runner_add_field(json, "version", info->version);
  runner_add_field(json, "driver", info->driver);
  runner_add_field(json, "type", info->type);
  runner_add(json, ", \"compute_units\": %u, \"global_memory_bytes\": %llu, \"max_allocation_bytes\": %llu",
      info->compute_units, (unsigned long long)info->global_memory_bytes,
      (unsigned long long)info->max_allocation_bytes);
  runner_add(json, ", \"local_memory_bytes\": %llu, \"max_work_group_size\": %llu, \"base_alignment_bytes\": %u",
      (unsigned long long)info->local_memory_bytes, (unsigned long long)info->max_work_group_size,
      info->base_alignment_bytes);
  runner_add(json, ", \"has_fp16\": %s}", info->has_fp16 ? "true" : "false");
}

static act_status list_devices(const char *backend, runner_json *json, act_error *error) {
  act_device_info *devices;
  size_t count;
  act_status status = act_device_list(backend, &devices, &count, error);
  if (status != ACT_OK) return status;
  runner_add(json, ", \"devices\": [");
  for (size_t i = 0; i < count; i++) {
    if (i > 0) runner_add(json, ", ");
    add_device(json, &devices[i]);
  }
  runner_add(json, "]");
  free(devices);
  return ACT_OK;
}

/* Runs every input of the file; the outputs go to a temporary name that is then renamed. */
static act_status run_file(act_session *session, const act_package *package, const options_t *options, runner_json *json,
                           act_error *error) {
  size_t input_bytes = act_package_input_bytes(package), output_bytes = act_package_output_bytes(package), runs = 0;
  size_t name_size = strlen(options->output) + sizeof ".part";
  char *name = malloc(name_size);
  float *input = malloc(input_bytes), *output = malloc(output_bytes);
  FILE *from = NULL, *to = NULL;
  act_status status = ACT_OK;
  if (name == NULL || input == NULL || output == NULL) {
    status = act_fail(error, ACT_ERROR_MEMORY, "out of memory for input and output");
  } else {
    snprintf(name, name_size, "%s.part", options->output);
    from = fopen(options->input, "rb");
    to = from != NULL ? fopen(name, "wb") : NULL;
    if (to == NULL)
      status = act_fail(error, ACT_ERROR_FILE, "cannot open %s", from == NULL ? options->input : name);
  }
  for (size_t got; status == ACT_OK && (got = fread(input, 1, input_bytes, from)) > 0;) {
    if (got != input_bytes)
      status = act_fail(error, ACT_ERROR_FILE, "%s ends in the middle of an input of %zu bytes", options->input,
                        input_bytes);
    else
      status = act_session_run(session, input, input_bytes, output, output_bytes, error);
    if (status == ACT_OK && fwrite(output, 1, output_bytes, to) != output_bytes)
      status = act_fail(error, ACT_ERROR_FILE, "cannot write %s", name);
    runs += status == ACT_OK;
  }
  if (status == ACT_OK && ferror(from)) status = act_fail(error, ACT_ERROR_FILE, "cannot read %s", options->input);
  if (from != NULL) fclose(from);
  if (to != NULL && fclose(to) != 0 && status == ACT_OK)
    status = act_fail(error, ACT_ERROR_FILE, "cannot write %s", name);
  if (to != NULL && status == ACT_OK && rename(name, options->output) != 0)
    status = act_fail(error, ACT_ERROR_FILE, "cannot rename %s to %s", name, options->output);
  if (to != NULL && status != ACT_OK) remove(name);
  runner_add(json, ", \"runs\": %zu", runs);
  free(name);
  free(input);
  free(output);
  return status;
}

static act_status use_device(const act_package *package, const options_t *options, runner_json *json, act_error *error) {
  act_session *session;
  act_status status = act_session_create(package, options->device, &session, error);
  if (status != ACT_OK) return status;
  runner_add(json, ", \"device\": ");
  add_device(json, act_session_device(session));
  runner_add_value(json, "build_ms", act_session_build_ms(session));
  if (strcmp(options->command, "run") == 0) {
    status = run_file(session, package, options, json, error);
  } else {
    double relative_error = 0;
    status = act_session_verify(session, options->tolerance, &relative_error, error);
    runner_add_value(json, "verified_error", relative_error);
    if (status == ACT_OK && strcmp(options->command, "time") == 0)
      status = runner_time(session, &options->timing, options->reference, json, error);
  }
  act_session_free(session);
  return status;
}

static act_status use_package(const options_t *options, runner_json *json, act_error *error) {
  act_package *package;
  act_status status = act_package_load(options->package, &package, error);
  if (status != ACT_OK) return status;
  runner_add_field(json, "backend", act_package_backend(package));
  runner_add_field(json, "target", act_package_target(package));
  runner_add(json, ", \"steps\": %zu, \"arena_bytes\": %llu, \"weight_bytes\": %llu", act_package_step_count(package),
      (unsigned long long)act_package_arena_bytes(package), (unsigned long long)act_package_weight_bytes(package));
  if (strcmp(options->command, "check") != 0) status = use_device(package, options, json, error);
  act_package_free(package);
  return status;
}

static int parse_count(const char *text, uint32_t *value) {
  char *end;
  unsigned long parsed = strtoul(text, &end, 10);
  *value = (uint32_t)parsed;
  return *text >= '0' && *text <= '9' && *end == 0 && parsed <= 1000000000;
}

static int parse_real(const char *text, double *value) {
  char *end;
  *value = strtod(text, &end);
  return end != text && *end == 0 && isfinite(*value) && *value >= 0;
}

static int parse_nonce(const char *text, const char **value) {
  static const char allowed[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  size_t length = strlen(text);
  *value = text;
  return length > 0 && length <= 64 && strspn(text, allowed) == length;
}

static int parse_option(const char *name, const char *value, options_t *options) {
  act_timing_options *timing = &options->timing;
  if (strcmp(name, "--device") == 0) return (options->device = value) != NULL;
  if (strcmp(name, "--nonce") == 0) return parse_nonce(value, &options->nonce);
  if (strcmp(name, "--tolerance") == 0) return parse_real(value, &options->tolerance);
  if (strcmp(name, "--warmup") == 0) return parse_count(value, &timing->warmup_runs);
  if (strcmp(name, "--warmup-ms") == 0) return parse_real(value, &timing->warmup_ms);
  if (strcmp(name, "--max-warmup-ms") == 0) return parse_real(value, &timing->max_warmup_ms);
  if (strcmp(name, "--min-seconds") == 0) return parse_real(value, &timing->min_seconds);
  if (strcmp(name, "--reference") == 0) return (options->reference = value) != NULL;
  if (strcmp(name, "--runs") == 0) return parse_count(value, &timing->single_runs);
  if (strcmp(name, "--bursts") == 0) return parse_count(value, &timing->bursts);
  if (strcmp(name, "--burst-runs") == 0) return parse_count(value, &timing->burst_runs) && timing->burst_runs > 0;
  if (strcmp(name, "--profile") == 0) return parse_count(value, &timing->profile_runs);
  if (strcmp(name, "--max-seconds") == 0) return parse_real(value, &timing->max_seconds);
  if (strcmp(name, "--input") == 0) return (options->input = value) != NULL;
  if (strcmp(name, "--output") == 0) return (options->output = value) != NULL;
  return 0;
}

static int parse_options(int count, char **values, options_t *options) {
  if (count < 3) return 0;
  options->command = values[1];
  int next = 3, run = strcmp(values[1], "run") == 0;
  if (strcmp(values[1], "devices") == 0) {
    options->backend = values[2];
  } else {
    if (!run && strcmp(values[1], "check") != 0 && strcmp(values[1], "verify") != 0 && strcmp(values[1], "time") != 0)
      return 0;
    options->package = values[2];
  }
  for (; next + 1 < count; next += 2)
    if (!parse_option(values[next], values[next + 1], options)) {
      fprintf(stderr, "act-runner: wrong option: %s %s\n", values[next], values[next + 1]);
      return 0;
    }
  return next == count && (!run || (options->input != NULL && options->output != NULL));
}

static const char *status_name(act_status status) {
  switch (status) {
    case ACT_OK: return "ok";
    case ACT_ERROR_USAGE: return "usage";
    case ACT_ERROR_FILE: return "file";
    case ACT_ERROR_PACKAGE: return "bad_package";
    case ACT_ERROR_DEVICE: return "no_device";
    case ACT_ERROR_BUILD: return "build_failure";
    case ACT_ERROR_LAUNCH: return "launch_failure";
    case ACT_ERROR_OUTPUT: return "wrong_output";
    case ACT_ERROR_MEMORY: return "out_of_memory";
  }
  return "unknown";
}

int main(int count, char **values) {
  options_t options = {.nonce = "0", .tolerance = 1e-3};
  options.timing = (act_timing_options){.warmup_runs = 10, .warmup_ms = 500, .max_warmup_ms = 2000, .single_runs = 100,
                                        .bursts = 10, .burst_runs = 10, .profile_runs = 10, .max_seconds = 10};
  if (!parse_options(count, values, &options)) {
    fputs(usage, stderr);
    return ACT_ERROR_USAGE;
  }
  act_error error = {ACT_OK, ""};
  runner_json json = {0}, fields = {0};
  act_status status = options.package != NULL ? use_package(&options, &fields, &error)
                                               : list_devices(options.backend, &fields, &error);
  runner_add(&json, "{\"status\": \"%s\"", status_name(status));
  if (status != ACT_OK) {
    runner_add_field(&json, "message", error.message);
    fprintf(stderr, "act-runner: %s\n", error.message);
  }
  if (fields.length > 0) runner_add(&json, "%s", fields.text);
  runner_add(&json, "}");
  if (json.failed || fields.failed) {
    fputs("act-runner: out of memory\n", stderr);
    return ACT_ERROR_MEMORY;
  }
  printf("RESULT %s %zu %08x %s\n", options.nonce, json.length, act_crc32(0, json.text, json.length), json.text);
  free(json.text);
  free(fields.text);
  return fflush(stdout) == 0 ? (int)status : ACT_ERROR_FILE;
}
