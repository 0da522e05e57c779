/* Loads a package and lists devices in several threads at once: built with the thread sanitizer. */
#include "act_runtime.h"

#include <pthread.h>
#include <stdlib.h>

enum { THREADS = 6, TIMES = 20 };

static void *work(void *path) {
  act_error *error = malloc(sizeof *error);
  for (int i = 0; error != NULL && i < TIMES; i++) {
    act_package *package;
    act_device_info *devices;
    size_t count;
    if (act_package_load(path, &package, error) != ACT_OK) exit(3);
    if (act_device_list(act_package_backend(package), &devices, &count, error) != ACT_OK) exit(4);
    free(devices);
    act_package_free(package);
  }
  free(error);
  return NULL;
}

int main(int count, char **values) {
  pthread_t threads[THREADS];
  if (count != 2) return 2;
  for (int i = 0; i < THREADS; i++)
    if (pthread_create(&threads[i], NULL, work, values[1]) != 0) return 2;
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  return 0;
}
