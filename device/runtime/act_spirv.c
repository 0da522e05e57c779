/* Walks the instructions of a SPIR-V module: entry point, work-group size, bindings, shared memory.
 *
 * Instructions have a word with their length and opcode, then operands. Nothing is trusted: lengths stay inside the
 * module, and every operand that is read is inside its instruction. What functions do is for the driver to check. */
#include "act_spirv.h"

#include <string.h>

enum {
  MAGIC = 0x07230203,
  HEADER_WORDS = 5,
  ENTRY_POINT = 15,
  EXECUTION_MODE = 16,
  CAPABILITY = 17,
  TYPE_INT = 21,
  TYPE_FLOAT = 22,
  TYPE_VECTOR = 23,
  TYPE_IMAGE = 25,
  TYPE_SAMPLED_IMAGE = 27,
  TYPE_ARRAY = 28,
  TYPE_POINTER = 32,
  CONSTANT = 43,
  CONSTANT_COMPOSITE = 44,
  FUNCTION = 54,
  VARIABLE = 59,
  DECORATE = 71,
  MEMBER_DECORATE = 72,
  MODE_LOCAL_SIZE = 17,
  MODEL_COMPUTE = 5,
  NON_WRITABLE = 24,
  BUILT_IN = 11,
  WORKGROUP_SIZE = 25,
  EXECUTION_MODE_ID = 331,
  BINDING = 33,
  DESCRIPTOR_SET = 34,
  CLASS_UNIFORM_CONSTANT = 0,
  CLASS_WORKGROUP = 4,
  CLASS_STORAGE_BUFFER = 12,
  CAPABILITY_SHADER = 1,
  CAPABILITY_SAMPLED_BUFFER = 46,
  CAPABILITY_STORAGE_BUFFER_16 = 4433,
  DIM_BUFFER = 5,
  SAMPLED = 1,
  MAX_NESTING = 4,
  MAX_DECLARATIONS = 2 * ACT_SPIRV_ALL_BINDINGS /* each is looked up in the whole module: a bound on the time */
};

typedef struct {
  const unsigned char *data;
  size_t words;
} module_t;

typedef struct {
  size_t position; /* of its first word */
  uint32_t opcode, length;
} instruction_t;

static uint32_t word(const module_t *module, size_t index) {
  uint32_t value;
  memcpy(&value, module->data + 4 * index, sizeof value);
  return value;
}

/* Operand `index` (from 1) of an instruction; all ones, which is no id and no known value, where it is too short. */
static uint32_t operand(const module_t *module, const instruction_t *instruction, uint32_t index) {
  return index < instruction->length ? word(module, instruction->position + index) : UINT32_MAX;
}

static bool read_instruction(const module_t *module, size_t position, instruction_t *result) {
  if (position >= module->words) return false;
  uint32_t first = word(module, position);
  *result = (instruction_t){position, first & 0xffff, first >> 16};
  return result->length > 0 && result->length <= module->words - position;
}

/* The next declaration with this opcode and operand, from `*position` on; functions come after all declarations. */
static bool find(const module_t *module, size_t *position, uint32_t opcode, uint32_t index, uint32_t value,
                 instruction_t *result) {
  while (read_instruction(module, *position, result) && result->opcode != FUNCTION) {
    *position += result->length;
    if (result->opcode == opcode && operand(module, result, index) == value) return true;
  }
  return false;
}

static bool find_first(const module_t *module, uint32_t opcode, uint32_t index, uint32_t value, instruction_t *result) {
  size_t position = HEADER_WORDS;
  return find(module, &position, opcode, index, value, result);
}

static bool has_decoration(const module_t *module, uint32_t id, uint32_t decoration) {
  instruction_t found;
  for (size_t position = HEADER_WORDS; find(module, &position, DECORATE, 1, id, &found);)
    if (operand(module, &found, 2) == decoration) return true;
  return false;
}

/* Whether the block behind a pointer type has only members that are not written. */
static bool block_is_read_only(const module_t *module, uint32_t pointer) {
  instruction_t found;
  if (!find_first(module, TYPE_POINTER, 1, pointer, &found)) return false;
  uint32_t block = operand(module, &found, 3);
  for (size_t position = HEADER_WORDS; find(module, &position, MEMBER_DECORATE, 1, block, &found);)
    if (operand(module, &found, 2) == 0 && operand(module, &found, 3) == NON_WRITABLE) return true;
  return false;
}

/* Bytes of a scalar, a vector, or arrays of them; 0 for any other type. */
static uint64_t type_bytes(const module_t *module, uint32_t type, int nesting) {
  instruction_t found, length;
  if (nesting > MAX_NESTING) return 0;
  if (find_first(module, TYPE_INT, 1, type, &found) || find_first(module, TYPE_FLOAT, 1, type, &found))
    return operand(module, &found, 2) / 8;
  if (find_first(module, TYPE_VECTOR, 1, type, &found))
    length = found;
  else if (!find_first(module, TYPE_ARRAY, 1, type, &found) ||
           !find_first(module, CONSTANT, 2, operand(module, &found, 3), &length))
    return 0;
  uint64_t element = type_bytes(module, operand(module, &found, 2), nesting + 1), count = operand(module, &length, 3);
  return element > UINT32_MAX ? 0 : element * count; /* a vector holds its length itself, an array a constant's id */
}

/* What texels a sampled image behind a pointer type has; ACT_UNBOUND if it is none, or no buffer of 32-bit values. */
static act_bound texels_of(const module_t *module, uint32_t pointer) {
  instruction_t found, image, value;
  if (!find_first(module, TYPE_POINTER, 1, pointer, &found) ||
      !find_first(module, TYPE_SAMPLED_IMAGE, 1, operand(module, &found, 3), &found) ||
      !find_first(module, TYPE_IMAGE, 1, operand(module, &found, 2), &image))
    return ACT_UNBOUND;
  if (operand(module, &image, 3) != DIM_BUFFER || operand(module, &image, 5) != 0 || operand(module, &image, 6) != 0 ||
      operand(module, &image, 7) != SAMPLED)
    return ACT_UNBOUND;
  uint32_t type = operand(module, &image, 2);
  if (find_first(module, TYPE_FLOAT, 1, type, &value))
    return operand(module, &value, 2) == 32 ? ACT_FLOAT_TEXELS : ACT_UNBOUND;
  bool is_int = find_first(module, TYPE_INT, 1, type, &value) && operand(module, &value, 2) == 32 &&
                operand(module, &value, 3) == 1;
  return is_int ? ACT_INT_TEXELS : ACT_UNBOUND;
}

/* What a variable is when it is bound there. */
static act_bound bound_as(const module_t *module, const instruction_t *variable, uint32_t binding) {
  uint32_t class = operand(module, variable, 3);
  if (class == CLASS_STORAGE_BUFFER && binding < ACT_SPIRV_MAX_BINDINGS) return ACT_STORAGE;
  return class == CLASS_UNIFORM_CONSTANT ? texels_of(module, operand(module, variable, 1)) : ACT_UNBOUND;
}

static const char *read_bindings(const module_t *module, act_spirv_interface *result) {
  instruction_t found, variable;
  bool seen[ACT_SPIRV_MAX_BINDINGS] = {false};
  uint32_t declarations = 0;
  for (size_t position = HEADER_WORDS; find(module, &position, DECORATE, 2, BINDING, &found);) {
    uint32_t binding = operand(module, &found, 3), id = operand(module, &found, 1);
    if (binding >= ACT_SPIRV_ALL_BINDINGS || ++declarations > MAX_DECLARATIONS)
      return "a binding is out of range, or declared too often";
    act_bound bound = ACT_UNBOUND;
    if (find_first(module, VARIABLE, 2, id, &variable)) bound = bound_as(module, &variable, binding);
    if (bound == ACT_UNBOUND) return "a binding is neither a storage buffer nor a texel buffer of 32-bit values";
    if (result->bound[binding] != ACT_UNBOUND && result->bound[binding] != bound) return "a binding has two types";
    result->bound[binding] = bound;
    bool read_only = bound != ACT_STORAGE || has_decoration(module, id, NON_WRITABLE) ||
                     block_is_read_only(module, operand(module, &variable, 1));
    uint32_t argument = binding % ACT_SPIRV_MAX_BINDINGS;
    result->read_only[argument] = read_only && (result->read_only[argument] || !seen[argument]); /* one may be declared twice */
    seen[argument] = true;
    if (argument + 1 > result->bindings) result->bindings = argument + 1;
  }
  for (uint32_t i = 0; i < result->bindings; i++)
    if (!seen[i]) return "its bindings have a gap";
  for (size_t position = HEADER_WORDS; find(module, &position, DECORATE, 2, DESCRIPTOR_SET, &found);)
    if (operand(module, &found, 3) != 0) return "it uses another descriptor set than 0";
  return NULL;
}

static size_t count_instructions(const module_t *module, uint32_t opcode) {
  instruction_t found;
  size_t count = 0;
  for (size_t position = HEADER_WORDS; read_instruction(module, position, &found); position += found.length)
    count += found.opcode == opcode;
  return count;
}

/* Whether each constant that is decorated as the work-group's size, which would overrule the execution mode, agrees. */
static bool size_is_one(const module_t *module, const act_spirv_interface *interface) {
  instruction_t found, composite, constant;
  uint32_t declarations = 0;
  for (size_t position = HEADER_WORDS; find(module, &position, DECORATE, 2, BUILT_IN, &found);) {
    if (operand(module, &found, 3) != WORKGROUP_SIZE) continue;
    if (++declarations > MAX_DECLARATIONS ||
        !find_first(module, CONSTANT_COMPOSITE, 2, operand(module, &found, 1), &composite))
      return false;
    for (uint32_t i = 0; i < 3; i++)
      if (!find_first(module, CONSTANT, 2, operand(module, &composite, 3 + i), &constant) ||
          operand(module, &constant, 3) != interface->local_size[i])
        return false;
  }
  return true;
}

static const char *read_entry_point(const module_t *module, act_spirv_interface *result) {
  static const unsigned char name[8] = "main";
  instruction_t found;
  if (!find_first(module, ENTRY_POINT, 1, MODEL_COMPUTE, &found) || found.length < 5 ||
      memcmp(module->data + 4 * (found.position + 3), name, sizeof name) != 0)
    return "it has no compute entry point 'main'";
  uint32_t function = operand(module, &found, 2);
  if (!find_first(module, EXECUTION_MODE, 2, MODE_LOCAL_SIZE, &found) || operand(module, &found, 1) != function ||
      found.length != 6)
    return "it declares no work-group size";
  for (uint32_t i = 0; i < 3; i++) result->local_size[i] = operand(module, &found, 3 + i);
  if (count_instructions(module, ENTRY_POINT) != 1 || count_instructions(module, EXECUTION_MODE) != 1 ||
      count_instructions(module, EXECUTION_MODE_ID) != 0 || !size_is_one(module, result))
    return "it has several entry points or work-group sizes";
  return NULL;
}

static const char *read_capabilities(const module_t *module, act_spirv_interface *result) {
  instruction_t found;
  for (size_t position = HEADER_WORDS; read_instruction(module, position, &found); position += found.length) {
    if (found.opcode != CAPABILITY) continue;
    switch (operand(module, &found, 1)) {
      case CAPABILITY_SHADER:
      case CAPABILITY_SAMPLED_BUFFER: break; /* every device has them */
      case CAPABILITY_STORAGE_BUFFER_16: result->half_storage = true; break;
      default: return "it needs a capability that the runtime does not ask devices for";
    }
  }
  return NULL;
}

static const char *read_shared_memory(const module_t *module, act_spirv_interface *result) {
  instruction_t variable, pointer;
  uint32_t declarations = 0;
  for (size_t position = HEADER_WORDS; find(module, &position, VARIABLE, 3, CLASS_WORKGROUP, &variable);) {
    if (++declarations > MAX_DECLARATIONS ||
        !find_first(module, TYPE_POINTER, 1, operand(module, &variable, 1), &pointer))
      return "a pointer has no type, or its shared memory is in too many parts";
    uint64_t bytes = type_bytes(module, operand(module, &pointer, 3), 0);
    if (bytes == 0 || bytes > UINT32_MAX) return "its shared memory has an unknown size";
    result->shared_bytes += bytes;
  }
  return NULL;
}

const char *act_spirv_read(const unsigned char *data, size_t size, act_spirv_interface *result) {
  module_t module = {data, size / 4};
  memset(result, 0, sizeof *result);
  if (size % 4 != 0 || module.words < HEADER_WORDS || word(&module, 0) != MAGIC) return "it is no SPIR-V module";
  instruction_t instruction;
  size_t position = HEADER_WORDS;
  while (position < module.words && read_instruction(&module, position, &instruction)) position += instruction.length;
  if (position != module.words) return "an instruction reaches beyond its end";
  const char *problem = read_capabilities(&module, result);
  if (problem == NULL) problem = read_entry_point(&module, result);
  if (problem == NULL) problem = read_bindings(&module, result);
  if (problem == NULL) problem = read_shared_memory(&module, result);
  return problem;
}
