/* Runs the fuzz target without libFuzzer: coverage-guided, deterministic for one seed and one compiler.
 *
 *   fuzz [-runs=N] [-seed=N] [-each] [-reduce] [-out=DIR] FILE...
 *
 * executes all files (with -each also every truncation of them, every bit flipped, and nasty numbers everywhere), then
 * mutates them and what has reached new code until N executions are made. Inputs that reach new code go to DIR; with
 * -reduce only those files that reach branches which no file before them reaches. Prints
 * "executions, inputs kept, edges, seconds" and the number of executions by status. A finding ends the program; its input
 * is in DIR/finding. */
#define _GNU_SOURCE
#include "fuzz.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 15, EDGES = 1 << 21, MOST_KEPT = 1 << 14, HANG_SECONDS = 20 };

typedef struct {
  uint8_t *data;
  size_t size;
} input_t;

static input_t kept[MOST_KEPT];
static size_t kept_count;
static uint8_t hits[EDGES], seen[EDGES]; /* of this execution; bits of the numbers of hits in all before */
static uint32_t touched[EDGES], touched_count, edge_count;
static unsigned long executions;
static uint8_t current[ROOM];
static size_t current_size;
static const char *out;
static int reduces;
static uint64_t state;

/* Called at every branch of the runtime, which alone is built with -fsanitize-coverage=trace-pc. */
void __sanitizer_cov_trace_pc(void);
__attribute__((no_sanitize("address", "undefined"))) void __sanitizer_cov_trace_pc(void) {
  uintptr_t pc = (uintptr_t)__builtin_return_address(0) - (uintptr_t)&LLVMFuzzerTestOneInput; /* the same in every run */
  uint32_t edge = (uint32_t)(pc % EDGES); /* the program is smaller: one edge for each place */
  if (hits[edge] == 0) touched[touched_count++] = edge;
  if (hits[edge] < 255) hits[edge]++;
}

static uint64_t next(void) {
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room) {
  if (size == 0 || (size < room && next() % 4 == 0)) data[size++] = (uint8_t)next();
  else if (next() % 4 == 0) size -= 1 + next() % size;
  if (size > 0) data[next() % size] = (uint8_t)next();
  return size;
}

static void write_file(const char *name, const uint8_t *data, size_t size) {
  char path[4096];
  if (out == NULL || snprintf(path, sizeof path, "%s/%s", out, name) >= (int)sizeof path) return;
  FILE *file = fopen(path, "wb");
  if (file == NULL) return;
  fwrite(data, 1, size, file);
  fclose(file);
}

static void save_finding(void) { write_file("finding", current, current_size); }

static void on_hang(int signal_number) {
  (void)signal_number;
  static const char message[] = "fuzz: an execution hangs\n";
  save_finding();
  if (write(2, message, sizeof message - 1) < 0) _exit(2);
  _exit(1);
}

/* Whether this execution did something new: an edge, or an edge in another order of magnitude of times. */
static int collect(void) {
  int news = 0;
  for (uint32_t i = 0; i < touched_count; i++) {
    uint32_t edge = touched[i];
    unsigned times = hits[edge];
    unsigned bucket = times < 4 ? times - 1 : times < 8 ? 3 : times < 16 ? 4 : times < 32 ? 5 : times < 128 ? 6 : 7;
    hits[edge] = 0;
    if (seen[edge] & 1u << bucket) continue;
    news |= !reduces || seen[edge] == 0;
    edge_count += seen[edge] == 0;
    seen[edge] |= (uint8_t)(1u << bucket);
  }
  touched_count = 0;
  return news;
}

static void keep(void) {
  char name[64];
  if (kept_count == MOST_KEPT) return;
  input_t *input = &kept[kept_count];
  input->data = malloc(current_size > 0 ? current_size : 1);
  if (input->data == NULL) return;
  memcpy(input->data, current, current_size);
  input->size = current_size;
  snprintf(name, sizeof name, "input-%05zu", kept_count++);
  write_file(name, current, current_size);
}

static void execute(int always_keep) {
  alarm(HANG_SECONDS);
  LLVMFuzzerTestOneInput(current, current_size);
  executions++;
  if (collect() || always_keep) keep();
}

static void load(const uint8_t *data, size_t size) {
  memcpy(current, data, size);
  current_size = size;
}

static void try_each(const uint8_t *data, size_t size) {
  static const uint64_t nasty[] = {0,          1,          0x7f,       0xff,       0xffff,     0x10000,    0x7fffffff,
                                   0x80000000, 0xffffffff, 0xfffffff0, UINT64_MAX, UINT64_MAX - 63, UINT64_MAX / 2 + 1};
  for (size_t length = 0; length < size; length++) load(data, length), execute(0);
  for (size_t bit = 0; bit < 8 * size; bit++) {
    load(data, size);
    current[bit / 8] ^= (uint8_t)(1 << bit % 8);
    execute(0);
  }
  for (size_t position = 0; position + 8 <= size; position += 4)
    for (size_t i = 0; i < 2 * sizeof nasty / sizeof *nasty; i++) {
      load(data, size);
      memcpy(current + position, &nasty[i / 2], i % 2 ? 4 : 8); /* little-endian: the low bytes come first */
      execute(0);
    }
}

static int run_file(const char *path, int each) {
  static uint8_t data[ROOM];
  FILE *file = fopen(path, "rb");
  if (file == NULL) return 0;
  size_t size = fread(data, 1, ROOM, file);
  fclose(file);
  if (size == ROOM) return 0;
  load(data, size);
  execute(!reduces);
  if (each) try_each(data, size);
  return 1;
}

static void mutate(void) {
  size_t first = kept_count > 32 && next() % 2 ? kept_count - 32 : 0; /* the newest as often as all */
  const input_t *input = &kept[first + next() % (kept_count - first)];
  load(input->data, input->size);
  current_size = LLVMFuzzerCustomMutator(current, current_size, ROOM, (unsigned)next());
  execute(0);
}

static void report(double seconds) {
  printf("%lu %zu %u %.3f\n", executions, kept_count, edge_count, seconds);
  for (size_t i = 0; i < sizeof fuzz_results / sizeof *fuzz_results; i++)
    if (fuzz_results[i] > 0) printf("status %zu: %lu\n", i, fuzz_results[i]);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

#if defined(__SANITIZE_ADDRESS__)
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "handle_abort=1:quarantine_size_mb=4:malloc_context_size=4"; }
void __sanitizer_set_death_callback(void (*callback)(void));
#else
static void __sanitizer_set_death_callback(void (*callback)(void)) { (void)callback; }
#endif

int main(int count, char **values) {
  unsigned long runs = 0;
  int each = 0, files = 0;
  double start = now();
  __sanitizer_set_death_callback(save_finding);
  signal(SIGALRM, on_hang);
  LLVMFuzzerInitialize(&count, &values);
  for (int i = 1; i < count; i++) {
    if (strncmp(values[i], "-runs=", 6) == 0) runs = strtoul(values[i] + 6, NULL, 10);
    else if (strncmp(values[i], "-seed=", 6) == 0) state = strtoull(values[i] + 6, NULL, 10);
    else if (strncmp(values[i], "-out=", 5) == 0) out = values[i] + 5;
    else if (strcmp(values[i], "-each") == 0) each = 1;
    else if (strcmp(values[i], "-reduce") == 0) reduces = 1;
    else if (run_file(values[i], each)) files++;
    else return fprintf(stderr, "fuzz: cannot use %s\n", values[i]), 2;
  }
  if (files == 0) return fputs("usage: fuzz [-runs=N] [-seed=N] [-each] [-reduce] [-out=DIR] FILE...\n", stderr), 2;
  while (executions < runs) mutate();
  alarm(0);
  report(now() - start);
  for (size_t i = 0; i < kept_count; i++) free(kept[i].data);
  return 0;
}
