/* Entry of an Android program that is linked without the NDK's crtbegin: hands the kernel's stack (arguments,
 * environment, auxiliary vector) to bionic, which calls main and exits with its result:
 *
 *   __libc_init(void *raw_arguments, void (*unused)(void), int (*main)(int, char **, char **), structors *)
 *
 * C has no constructors or destructors here, so that all fields of `structors` are zero. */
.text
.globl _start
.type _start, %function
_start:
#if defined(__aarch64__)
  mov x29, #0
  mov x30, #0
  mov x0, sp
  mov x1, #0
  adrp x2, main
  add x2, x2, :lo12:main
  adrp x3, structors
  add x3, x3, :lo12:structors
  bl __libc_init
  brk #0
#elif defined(__x86_64__)
  xorl %ebp, %ebp
  movq %rsp, %rdi
  xorl %esi, %esi
  leaq main(%rip), %rdx
  leaq structors(%rip), %rcx
  andq $-16, %rsp
  call __libc_init@PLT
  hlt
#else
#error "no such Android"
#endif
.size _start, . - _start
.data
.balign 8
structors:
  .zero 64
.section .note.GNU-stack, "", %progbits
