/* Builds the JSON text of a result. */
#include "runner.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void runner_add(runner_json *json, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int needed = vsnprintf(NULL, 0, format, arguments);
  va_end(arguments);
  if (needed < 0 || json->failed) {
    json->failed = 1;
    return;
  }
  size_t length = json->length + (size_t)needed;
  if (length + 1 > json->capacity) {
    size_t capacity = 2 * length + 1024;
    char *text = realloc(json->text, capacity);
    if (text == NULL) {
      json->failed = 1;
      return;
    }
    json->text = text;
    json->capacity = capacity;
  }
  va_start(arguments, format);
  vsnprintf(json->text + json->length, json->capacity - json->length, format, arguments);
  va_end(arguments);
  json->length = length;
}

void runner_add_text(runner_json *json, const char *text) {
  runner_add(json, "\"");
  for (const unsigned char *c = (const unsigned char *)text; *c != 0; c++) {
    if (*c == '"' || *c == '\\') runner_add(json, "\\%c", *c);
    else if (*c < 0x20) runner_add(json, "\\u%04x", *c);
    else if (*c < 0x7f) runner_add(json, "%c", *c);
    else runner_add(json, "?");
  }
  runner_add(json, "\"");
}

void runner_add_number(runner_json *json, double value) {
  if (isfinite(value)) runner_add(json, "%.9g", value);
  else runner_add(json, "null");
}

void runner_add_field(runner_json *json, const char *key, const char *text) {
  runner_add(json, ", \"%s\": ", key);
  runner_add_text(json, text);
}

void runner_add_value(runner_json *json, const char *key, double value) {
  runner_add(json, ", \"%s\": ", key);
  runner_add_number(json, value);
}

void runner_add_numbers(runner_json *json, const char *key, const double *values, size_t count) {
  runner_add(json, ", \"%s\": [", key);
  for (size_t i = 0; i < count; i++) {
    if (i > 0) runner_add(json, ", ");
    if (isfinite(values[i])) runner_add(json, "%.6g", values[i]);
    else runner_add(json, "null");
  }
  runner_add(json, "]");
}
