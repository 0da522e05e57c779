/* Times a session between two looks at a reference package and at the machine's processors. */
#include "runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Long enough for the clocks to be where a network left them; about half a second for both. */
static const act_timing_options before = {.warmup_runs = 3, .warmup_ms = 100, .max_warmup_ms = 1000, .single_runs = 25,
                                          .burst_runs = 1, .max_seconds = 0.15};
static const act_timing_options after = {.warmup_runs = 1, .single_runs = 25, .burst_runs = 1, .max_seconds = 0.15};
enum { TICKS_PER_SECOND = 100 }; /* of /proc/stat, on every machine */

/* Seconds that all processors have worked, for whomever, and how many they are; negative where the system does not tell. */
static double busy_seconds(int *cores) {
  static const int idle = 3, waiting = 4, counted = 8; /* user nice system idle iowait irq softirq steal */
  char text[16384];
  FILE *file = fopen("/proc/stat", "rb");
  size_t length = file != NULL ? fread(text, 1, sizeof text - 1, file) : 0;
  if (file != NULL) fclose(file);
  text[length] = 0;
  *cores = 0;
  if (strncmp(text, "cpu ", 4) != 0) return -1;
  for (const char *line = text; (line = strstr(line, "\ncpu")) != NULL; line++) ++*cores;
  double ticks = 0;
  char *at = text + 4, *end;
  for (int i = 0; i < counted; i++, at = end) {
    double value = strtod(at, &end);
    if (end == at) return -1;
    if (i != idle && i != waiting) ticks += value;
  }
  return ticks / TICKS_PER_SECOND;
}

static double own_seconds(void) {
  struct timespec now;
  if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) != 0) return 0;
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

typedef struct {
  act_package *package;
  act_session *session;
} reference_t;

/* On the device of the measured session. */
static act_status open_reference(reference_t *reference, const char *path, const act_session *measured,
                                 act_error *error) {
  double relative_error;
  act_status status = act_package_load(path, &reference->package, error);
  if (status == ACT_OK)
    status = act_session_create(reference->package, act_session_device(measured)->id, &reference->session, error);
  if (status == ACT_OK) status = act_session_verify(reference->session, 1e-3, &relative_error, error);
  return status;
}

static void close_reference(reference_t *reference) {
  act_session_free(reference->session);
  act_package_free(reference->package);
  *reference = (reference_t){0};
}

/* Adds the reference's samples under `key`; a reference that fails is closed, and why is added. */
static void time_reference(reference_t *reference, const act_timing_options *options, const char *key,
                           runner_json *json, act_error *error) {
  act_timing timing;
  if (reference->session == NULL) return;
  if (act_session_time(reference->session, options, &timing, error) == ACT_OK) {
    runner_add_numbers(json, key, timing.single_ms, timing.single_count);
    act_timing_free(&timing);
  } else {
    runner_add_field(json, "reference_problem", error->message);
    close_reference(reference);
  }
}

act_status runner_time(act_session *session, const act_timing_options *options, const char *reference_path,
                       runner_json *json, act_error *error) {
  reference_t reference = {0};
  act_timing timing;
  double start = act_now_ms();
  if (reference_path != NULL && *reference_path != 0 && open_reference(&reference, reference_path, session, error) != ACT_OK) {
    runner_add_field(json, "reference_problem", error->message);
    close_reference(&reference);
  }
  double opened = act_now_ms();
  time_reference(&reference, &before, "reference_before_ms", json, error);
  int cores;
  double busy = busy_seconds(&cores), own = own_seconds(), began = act_now_ms();
  act_status status = act_session_time(session, options, &timing, error);
  double seconds = (act_now_ms() - began) / 1e3;
  own = own_seconds() - own;
  busy = busy >= 0 ? busy_seconds(&cores) - busy : -1;
  if (status == ACT_OK) {
    time_reference(&reference, &after, "reference_after_ms", json, error);
    runner_add_numbers(json, "single_ms", timing.single_ms, timing.single_count);
    runner_add_numbers(json, "burst_ms", timing.burst_ms, timing.burst_count);
    runner_add_numbers(json, "step_us", timing.step_us, timing.step_count);
    runner_add(json, ", \"burst_runs\": %u, \"warmup_runs\": %zu, \"is_stable\": %s", options->burst_runs,
               timing.warmup_count, timing.is_stable ? "true" : "false");
    runner_add_value(json, "warmup_ms", timing.warmup_ms);
    runner_add_value(json, "timed_s", seconds);
    if (busy >= 0) {
      runner_add_value(json, "other_cpu_s", busy > own ? busy - own : 0);
      runner_add_value(json, "cores", cores);
    }
    runner_add_value(json, "reference_build_ms", opened - start);
    runner_add_value(json, "reference_ms", act_now_ms() - opened - seconds * 1e3);
    act_timing_free(&timing);
  }
  close_reference(&reference);
  return status;
}
