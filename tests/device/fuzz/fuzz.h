/* What the parts of the fuzzer share; the names that begin with LLVMFuzzer are libFuzzer's. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *count, char ***values);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);

/* A field of the header that the runtime does not read says what goes wrong in an execution: which call of the GPU library
 * fails (0: none), which allocation, and whether the checksums stay as they are. */
enum { FUZZ_CALL_BITS = 0xffff, FUZZ_ALLOCATION_SHIFT = 16, FUZZ_ALLOCATION_BITS = 0x3fff, FUZZ_KEEP_CHECKSUMS = 1 << 30 };

/* How executions ended, by status: 0 is a package that ran. */
extern unsigned long fuzz_results[16];

#endif
