/* Shared by the files of the program act-runner, which is no part of the library. */
#ifndef ACT_RUNNER_H
#define ACT_RUNNER_H

#include "act_internal.h"

/* A growing text; `failed` when memory ran out. */
typedef struct {
  char *text;
  size_t length, capacity;
  int failed;
} runner_json;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void runner_add(runner_json *json, const char *format, ...);
/* Quotes a text; drivers and build logs are not trusted to be UTF-8. */
void runner_add_text(runner_json *json, const char *text);
void runner_add_number(runner_json *json, double value);
/* A further field of an object that has one already: a text, a number, or numbers with six digits. */
void runner_add_field(runner_json *json, const char *key, const char *text);
void runner_add_value(runner_json *json, const char *key, double value);
void runner_add_numbers(runner_json *json, const char *key, const double *values, size_t count);

/* Times a session and adds the fields of the result. Where `reference` names a package, it is timed before and after, on
 * the same device: what changes there is the device's doing. A reference that fails is told, and no failure. */
act_status runner_time(act_session *session, const act_timing_options *options, const char *reference,
                       runner_json *json, act_error *error);

#endif
