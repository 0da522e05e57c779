/* Measures a session: wall-clock time of single and of back-to-back inferences, then device time of each step. */
#include "act_backend.h"

#include <stdlib.h>

enum { MINIMUM_SAMPLES = 3 };

/* One sample: `runs` inferences started, then waited for; milliseconds for each. */
static act_status sample(act_session *session, uint32_t runs, double *ms, act_error *error) {
  double start = act_now_ms();
  for (uint32_t i = 0; i < runs; i++) {
    act_status status = session->backend->start(session->placement, error);
    if (status != ACT_OK) return status;
  }
  act_status status = session->backend->finish(session->placement, error);
  *ms = (act_now_ms() - start) / runs;
  return status;
}

static act_status warm_up(act_session *session, const act_timing_options *options, act_error *error) {
  double start = act_now_ms(), ms;
  act_status status = ACT_OK;
  for (uint32_t i = 0; status == ACT_OK; i++) {
    if (i >= options->warmup_runs && act_now_ms() - start >= options->warmup_ms) break;
    status = sample(session, 1, &ms, error);
  }
  return status;
}

static act_status sample_many(act_session *session, uint32_t wanted, uint32_t runs, double max_seconds, double **samples,
                              size_t *count, act_error *error) {
  if (wanted == 0) return ACT_OK;
  double start = act_now_ms();
  *samples = calloc(wanted, sizeof **samples);
  if (*samples == NULL) return act_fail(error, ACT_ERROR_MEMORY, "out of memory for %u samples", wanted);
  while (*count < wanted && (*count < MINIMUM_SAMPLES || act_now_ms() - start < max_seconds * 1e3)) {
    act_status status = sample(session, runs, *samples + *count, error);
    if (status != ACT_OK) return status;
    ++*count;
  }
  return ACT_OK;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Median over the passes, for each step; `column` has room for one value of each pass. */
static void medians(const double *times, size_t passes, size_t steps, double *column, double *result) {
  for (size_t step = 0; step < steps; step++) {
    for (size_t pass = 0; pass < passes; pass++) column[pass] = times[pass * steps + step];
    qsort(column, passes, sizeof *column, ascending);
    result[step] = passes % 2 ? column[passes / 2] : (column[passes / 2 - 1] + column[passes / 2]) / 2;
  }
}

static act_status profile(act_session *session, const act_timing_options *options, act_timing *timing,
                          act_error *error) {
  size_t steps = session->package->header.step_count, passes = 0, most = options->profile_runs;
  if (most == 0 || !session->backend->can_profile(session->placement)) return ACT_OK;
  if (most > SIZE_MAX / sizeof(double) / steps) return act_fail(error, ACT_ERROR_USAGE, "too many profile runs");
  double *times = calloc(most * steps, sizeof *times), *column = calloc(most, sizeof *column);
  timing->step_us = calloc(steps, sizeof *timing->step_us);
  act_status status = ACT_OK;
  if (times == NULL || column == NULL || timing->step_us == NULL)
    status = act_fail(error, ACT_ERROR_MEMORY, "out of memory for %zu profile runs", most);
  double start = act_now_ms();
  while (status == ACT_OK && passes < most &&
         (passes < MINIMUM_SAMPLES || act_now_ms() - start < options->max_seconds * 1e3)) {
    status = session->backend->profile(session->placement, times + passes * steps, error);
    ++passes;
  }
  if (status == ACT_OK) {
    medians(times, passes, steps, column, timing->step_us);
    timing->step_count = steps;
  }
  free(times);
  free(column);
  return status;
}

act_status act_session_time(act_session *session, const act_timing_options *options, act_timing *timing,
                            act_error *error) {
  *timing = (act_timing){0};
  if (options->burst_runs == 0 || !(options->max_seconds >= 0) || !(options->warmup_ms >= 0))
    return act_fail(error, ACT_ERROR_USAGE, "burst_runs must be at least 1, times not negative");
  act_status status = warm_up(session, options, error);
  if (status == ACT_OK)
    status = sample_many(session, options->single_runs, 1, options->max_seconds, &timing->single_ms,
                         &timing->single_count, error);
  if (status == ACT_OK)
    status = sample_many(session, options->bursts, options->burst_runs, options->max_seconds, &timing->burst_ms,
                         &timing->burst_count, error);
  if (status == ACT_OK) status = profile(session, options, timing, error);
  if (status != ACT_OK) act_timing_free(timing);
  return status;
}

void act_timing_free(act_timing *timing) {
  free(timing->single_ms);
  free(timing->burst_ms);
  free(timing->step_us);
  *timing = (act_timing){0};
}
