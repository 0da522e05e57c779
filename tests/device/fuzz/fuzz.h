/* What the parts of the fuzzer share; the names that begin with LLVMFuzzer are libFuzzer's. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *count, char ***values);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);

/* A field of the header that the runtime does not read says how an execution differs: which call of the GPU library
 * fails (0: none), which device is named, which allocation fails, whether size and checksums stay as they are, and
 * whether the bytes come from a file. */
#define FUZZ_CALL_BITS 0xfffu
#define FUZZ_DEVICE_SHIFT 12
#define FUZZ_DEVICE_BITS 7u
#define FUZZ_ALLOCATION_SHIFT 16
#define FUZZ_ALLOCATION_BITS 0x3fffu
#define FUZZ_KEEP_CHECKSUMS (1u << 30)
#define FUZZ_FROM_FILE (1u << 31)

/* How executions ended, by status: 0 is a package that ran. */
extern unsigned long fuzz_results[16];

#endif
