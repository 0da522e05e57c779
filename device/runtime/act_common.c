/* Errors, checksums and the clock. */
#include "act_internal.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

act_status act_fail(act_error *error, act_status status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  error->status = status;
  vsnprintf(error->message, sizeof error->message, format, arguments);
  va_end(arguments);
  /* Names of a package and words of a driver are shown on terminals: no escape sequences. */
  for (char *c = error->message; *c != 0; c++)
    if (((unsigned char)*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7f) *c = '?';
  return status;
}

static void fill_table(uint32_t table[8][256], int slices) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; bit++) value = value & 1 ? 0xEDB88320u ^ (value >> 1) : value >> 1;
    table[0][i] = value;
  }
  for (int slice = 1; slice < slices; slice++)
    for (int i = 0; i < 256; i++) table[slice][i] = table[0][table[slice - 1][i] & 255] ^ (table[slice - 1][i] >> 8);
}

/* CRC-32 of zlib, eight bytes at a time where that pays: packages reach hundreds of megabytes. The table is made for each
 * call, which takes microseconds, and not kept: packages may be loaded in several threads. */
uint32_t act_crc32(uint32_t crc, const void *data, size_t size) {
  uint32_t table[8][256];
  int slices = size < 8192 ? 1 : 8;
  fill_table(table, slices);
  const unsigned char *bytes = data;
  crc = ~crc;
  for (; slices == 8 && size >= 8; size -= 8, bytes += 8) {
    uint32_t low, high;
    memcpy(&low, bytes, 4);
    memcpy(&high, bytes + 4, 4);
    low ^= crc;
    crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^ table[4][low >> 24] ^
          table[3][high & 255] ^ table[2][high >> 8 & 255] ^ table[1][high >> 16 & 255] ^ table[0][high >> 24];
  }
  for (; size > 0; size--, bytes++) crc = table[0][(crc ^ *bytes) & 255] ^ (crc >> 8);
  return ~crc;
}

/* A flag and no mutex: the Android build keeps away from the types of threads, whose layouts differ between C libraries. */
static atomic_flag locked = ATOMIC_FLAG_INIT;

void act_lock(void) {
  static const struct timespec pause = {0, 1000000};
  while (atomic_flag_test_and_set(&locked)) nanosleep(&pause, NULL);
}

void act_unlock(void) { atomic_flag_clear(&locked); }

double act_now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}
