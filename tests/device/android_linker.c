/* Plays Android's /system/bin/linker64 and C library in an emulator: a static program (musl) that the kernel starts in the
 * place of a dynamic loader. It checks what bionic's loader insists on, binds the program's symbols to its own functions
 * and enters it. No library can be opened, as on a phone without a GPU driver. */
#define _GNU_SOURCE
#include <elf.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>

#if defined(__aarch64__)
enum { RELATIVE = R_AARCH64_RELATIVE, GLOB_DAT = R_AARCH64_GLOB_DAT, JUMP_SLOT = R_AARCH64_JUMP_SLOT };
#define ENTER "mov sp, %0\n mov x30, xzr\n br %1"
#else
enum { RELATIVE = R_X86_64_RELATIVE, GLOB_DAT = R_X86_64_GLOB_DAT, JUMP_SLOT = R_X86_64_JUMP_SLOT };
#define ENTER "movq %0, %%rsp\n jmp *%1"
#endif

#define FUNCTIONS(X)                                                                                                     \
  X(calloc) X(clock_gettime) X(fclose) X(ferror) X(fflush) X(fopen) X(fprintf) X(fputc) X(fputs) X(fread) X(free)        \
  X(fseek) X(ftell) X(fwrite) X(getenv) X(malloc) X(memchr) X(memcmp) X(memcpy) X(memmove) X(memset) X(nanosleep)        \
  X(printf) X(putchar) X(puts) X(qsort) X(realloc) X(remove) X(rename) X(snprintf) X(strchr) X(strcmp) X(strlen)         \
  X(strncmp) X(strncpy) X(strspn) X(strstr) X(strtod) X(strtoul) X(vsnprintf) X(fmax) X(fmin)

static void libc_init(const uintptr_t *stack, void *unused, int (*start)(int, char **, char **),
                      const void *structors) {
  int count = (int)stack[0];
  char **values = (char **)(stack + 1);
  for (int i = 0; i < 6; i++)
    if (unused != NULL || ((const uintptr_t *)structors)[i] != 0) abort();
  exit(start(count, values, values + count + 1));
}

static void *open_library(const char *name, int flags) { return (void)name, (void)flags, NULL; }
static void *find_symbol(void *library, const char *name) { return (void)library, (void)name, NULL; }
static char *open_error(void) { return "dlopen failed: library not found"; }

static uintptr_t resolve(const char *name) {
#define TRY(f) \
  if (strcmp(name, #f) == 0) return (uintptr_t)&f;
  FUNCTIONS(TRY)
  TRY(stdout) TRY(stderr)
  if (strcmp(name, "__libc_init") == 0) return (uintptr_t)&libc_init;
  if (strcmp(name, "dlopen") == 0) return (uintptr_t)&open_library;
  if (strcmp(name, "dlsym") == 0) return (uintptr_t)&find_symbol;
  if (strcmp(name, "dlerror") == 0) return (uintptr_t)&open_error;
  fprintf(stderr, "CANNOT LINK EXECUTABLE: cannot locate symbol \"%s\"\n", name);
  exit(1);
}

static void relocate(uintptr_t base, const Elf64_Rela *entries, size_t size, const Elf64_Sym *symbols,
                     const char *names) {
  for (size_t i = 0; i < size / sizeof *entries; i++) {
    uintptr_t *place = (uintptr_t *)(base + entries[i].r_offset);
    const Elf64_Sym *symbol = &symbols[ELF64_R_SYM(entries[i].r_info)];
    switch (ELF64_R_TYPE(entries[i].r_info)) {
      case RELATIVE: *place = base + (uintptr_t)entries[i].r_addend; break;
      case GLOB_DAT:
      case JUMP_SLOT: *place = resolve(names + symbol->st_name) + (uintptr_t)entries[i].r_addend; break;
      default: fprintf(stderr, "unknown reloc type %lu\n", (unsigned long)ELF64_R_TYPE(entries[i].r_info)); exit(1);
    }
  }
}

int main(int count, char **values) {
  const Elf64_Phdr *headers = (const Elf64_Phdr *)getauxval(AT_PHDR);
  uintptr_t base = 0, table[64] = {0};
  const Elf64_Dyn *dynamic = NULL;
  for (size_t i = 0; i < getauxval(AT_PHNUM); i++) {
    if (headers[i].p_type == PT_PHDR) base = (uintptr_t)headers - headers[i].p_vaddr;
    if (headers[i].p_type == PT_DYNAMIC) dynamic = (const Elf64_Dyn *)headers[i].p_vaddr;
  }
  if (base == 0 || dynamic == NULL) return 1;
  for (dynamic = (const Elf64_Dyn *)((uintptr_t)dynamic + base); dynamic->d_tag != DT_NULL; dynamic++)
    if (dynamic->d_tag < 64) table[dynamic->d_tag] = dynamic->d_un.d_val;
  const Elf64_Sym *symbols = (const Elf64_Sym *)(base + table[DT_SYMTAB]);
  const char *names = (const char *)(base + table[DT_STRTAB]);
  relocate(base, (const Elf64_Rela *)(base + table[DT_RELA]), table[DT_RELASZ], symbols, names);
  relocate(base, (const Elf64_Rela *)(base + table[DT_JMPREL]), table[DT_PLTRELSZ], symbols, names);
  (void)count;
  /* The kernel's stack: the number of arguments lies before them. */
  __asm__ volatile(ENTER : : "r"((uintptr_t *)values - 1), "r"(getauxval(AT_ENTRY)) : "memory");
  __builtin_unreachable();
}
