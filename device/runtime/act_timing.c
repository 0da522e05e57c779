/* Measures a session: warm-up, wall-clock time of single and of back-to-back inferences, then device time of each step. */
#include "act_backend.h"

#include <stdlib.h>

enum { MINIMUM_SAMPLES = 3, MOST_SAMPLES = 1 << 20, WINDOW_VALUES = 256 };
static const double window_ms = 50, stable_change = 0.03;

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

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Sorts the values. */
static double median(double *values, size_t count) {
  qsort(values, count, sizeof *values, ascending);
  return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* One window of the warm-up; its median is that of its first samples. */
static act_status warm_window(act_session *session, size_t *count, double *middle, act_error *error) {
  double values[WINDOW_VALUES], start = act_now_ms(), ms;
  for (size_t runs = 0;; runs++) {
    if (runs >= MINIMUM_SAMPLES && act_now_ms() - start >= window_ms) {
      *count += runs;
      *middle = median(values, runs < WINDOW_VALUES ? runs : WINDOW_VALUES);
      return ACT_OK;
    }
    act_status status = sample(session, 1, &ms, error);
    if (status != ACT_OK) return status;
    if (runs < WINDOW_VALUES) values[runs] = ms;
  }
}

static act_status warm_up(act_session *session, const act_timing_options *options, act_timing *timing,
                          act_error *error) {
  double start = act_now_ms(), before = 0;
  for (;;) {
    timing->warmup_ms = act_now_ms() - start;
    int is_asked = timing->warmup_count < options->warmup_runs || timing->warmup_ms < options->warmup_ms;
    if (!is_asked && (timing->is_stable || timing->warmup_ms >= options->max_warmup_ms)) return ACT_OK;
    double now;
    act_status status = warm_window(session, &timing->warmup_count, &now, error);
    if (status != ACT_OK) return status;
    timing->is_stable = before > 0 && now - before <= stable_change * before && before - now <= stable_change * before;
    before = now;
  }
}

/* `*room` is how many samples there is memory for. */
static int make_room(double **samples, size_t *room) {
  double *more = *room < MOST_SAMPLES ? realloc(*samples, 2 * *room * sizeof **samples) : NULL;
  if (more == NULL) return 0;
  *samples = more;
  *room *= 2;
  return 1;
}

/* Until there are `wanted` samples and `min_seconds` are over, or `max_seconds` are, or there is no room for more. */
static act_status sample_many(act_session *session, uint32_t wanted, uint32_t runs, double min_seconds,
                              double max_seconds, double **samples, size_t *count, act_error *error) {
  if (wanted == 0) return ACT_OK;
  size_t room = wanted < MOST_SAMPLES ? wanted : MOST_SAMPLES;
  double start = act_now_ms(), seconds = 0;
  *samples = calloc(room, sizeof **samples);
  if (*samples == NULL) return act_fail(error, ACT_ERROR_MEMORY, "out of memory for %zu samples", room);
  while ((*count < wanted || seconds < min_seconds) && (*count < MINIMUM_SAMPLES || seconds < max_seconds)) {
    if (*count == room && !make_room(samples, &room)) break;
    act_status status = sample(session, runs, *samples + *count, error);
    if (status != ACT_OK) return status;
    ++*count;
    seconds = (act_now_ms() - start) / 1e3;
  }
  return ACT_OK;
}

/* Median over the passes, for each step; `column` has room for one value of each pass. */
static void medians(const double *times, size_t passes, size_t steps, double *column, double *result) {
  for (size_t step = 0; step < steps; step++) {
    for (size_t pass = 0; pass < passes; pass++) column[pass] = times[pass * steps + step];
    result[step] = median(column, passes);
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
  if (options->burst_runs == 0 || !(options->max_seconds >= 0) || !(options->warmup_ms >= 0) ||
      !(options->max_warmup_ms >= 0) || !(options->min_seconds >= 0))
    return act_fail(error, ACT_ERROR_USAGE, "burst_runs must be at least 1, times not negative");
  act_status status = warm_up(session, options, timing, error);
  if (status == ACT_OK)
    status = sample_many(session, options->single_runs, 1, options->min_seconds, options->max_seconds,
                         &timing->single_ms, &timing->single_count, error);
  if (status == ACT_OK)
    status = sample_many(session, options->bursts, options->burst_runs, 0, options->max_seconds, &timing->burst_ms,
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
