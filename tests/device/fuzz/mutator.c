/* Changes packages so that most of them stay nearly right: single numbers of a table, records, texts, words of programs,
 * tables that grow or shrink with what follows them moved, and faults to inject. */
#include "fuzz.h"

#include "act_package.h"

#include <string.h>

static uint64_t state;

static uint64_t next(void) { /* splitmix64 */
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static size_t below(size_t limit) { return limit > 0 ? (size_t)(next() % limit) : 0; }

/* A number of `width` bytes; little-endian: the low bytes come first. */
static void change_number(uint8_t *place, size_t width, const uint8_t *data, size_t size) {
  static const uint64_t nasty[] = {0,          1,          2,          4,          64,         127,        128,
                                   129,        255,        4096,       65535,      65536,      65537,      0x7fffffff,
                                   0x80000000, 0xffffffff, 0xfffffffe, 0xffffffc0, 1ull << 40, 1ull << 63, UINT64_MAX,
                                   UINT64_MAX - 3, UINT64_MAX - 63, UINT64_MAX / 2, UINT64_MAX / 4 + 1,
                                   0x10000000000000f0};
  uint64_t value = 0;
  memcpy(&value, place, width);
  switch (below(6)) {
    case 0: value ^= 1ull << below(8 * width); break;
    case 1: value = nasty[below(sizeof nasty / sizeof *nasty)]; break;
    case 2: value += below(9) - 4; break;
    case 3: value = below(2) ? value * 2 : value / 2; break;
    case 4: memcpy(&value, data + below(size - width), width); break;
    default: value = next() >> below(64); break;
  }
  memcpy(place, &value, width);
}

static size_t record_bytes(unsigned section) {
  switch (section) {
    case ACT_SECTION_BUFFERS: return sizeof(act_file_buffer);
    case ACT_SECTION_KERNELS: return sizeof(act_file_kernel);
    case ACT_SECTION_STEPS: return sizeof(act_file_step);
    case ACT_SECTION_STRINGS: return 1;
    default: return 4;
  }
}

static uint32_t *record_count(act_file_header *header, unsigned section) {
  switch (section) {
    case ACT_SECTION_BUFFERS: return &header->buffer_count;
    case ACT_SECTION_KERNELS: return &header->kernel_count;
    case ACT_SECTION_STEPS: return &header->step_count;
    case ACT_SECTION_ARGUMENTS: return &header->argument_count;
    case ACT_SECTION_IO: return below(2) ? &header->input_count : &header->output_count;
    default: return NULL;
  }
}

static unsigned pick_section(void) {
  static const unsigned char likely[] = {
      ACT_SECTION_STRINGS, ACT_SECTION_PROGRAMS,  ACT_SECTION_PROGRAMS,          ACT_SECTION_PROGRAMS,
      ACT_SECTION_BUFFERS, ACT_SECTION_BUFFERS,   ACT_SECTION_BUFFERS,           ACT_SECTION_KERNELS,
      ACT_SECTION_KERNELS, ACT_SECTION_STEPS,     ACT_SECTION_STEPS,             ACT_SECTION_STEPS,
      ACT_SECTION_STEPS,   ACT_SECTION_ARGUMENTS, ACT_SECTION_ARGUMENTS,         ACT_SECTION_IO,
      ACT_SECTION_WEIGHTS, ACT_SECTION_METADATA,  ACT_SECTION_VERIFICATION_INPUT, ACT_SECTION_VERIFICATION_OUTPUT};
  return likely[below(sizeof likely)];
}

static int find_section(const act_file_header *header, unsigned index, size_t size, size_t *offset, size_t *bytes) {
  const act_file_section *sections = (const act_file_section *)(const void *)header->sections;
  if (sections[index].offset >= size || sections[index].size > size - sections[index].offset) return 0;
  *offset = (size_t)sections[index].offset;
  *bytes = (size_t)sections[index].size;
  return *bytes > 0;
}

/* Adds a copy of a record somewhere in a table, or takes one out, and moves all that follows. */
static size_t resize(uint8_t *data, size_t size, size_t room, act_file_header *header, unsigned index) {
  act_file_section *sections = (act_file_section *)(void *)header->sections;
  size_t offset, bytes, record = record_bytes(index);
  if (!find_section(header, index, size, &offset, &bytes) || bytes % record != 0) return size;
  size_t count = bytes / record, times = below(4) ? 1 : 1 + below(64), at = below(count + 1) * record;
  if (below(3) == 0 && count > 1) { /* shrinks: what follows stays where it is */
    at = below(count) * record;
    memmove(data + offset + at, data + offset + at + record, bytes - at - record);
    sections[index].size -= record;
    times = (size_t)-1;
  } else {
    size_t end = offset + bytes, added = times * record, moved = (added + 63) / 64 * 64;
    if (moved > room - size) return size;
    size_t source = below(count) * record;
    memmove(data + end + moved, data + end, size - end);
    memmove(data + offset + at + added, data + offset + at, bytes - at);
    for (size_t i = 0; i < times; i++) memmove(data + offset + at + i * record, data + offset + source, record);
    sections[index].size += added;
    for (unsigned i = index + 1; i < ACT_SECTION_COUNT; i++) sections[i].offset += moved;
    size += moved;
  }
  uint32_t *number = record_count(header, index);
  if (number != NULL) *number += (uint32_t)times;
  return size;
}

static void change_header(act_file_header *header, const uint8_t *data, size_t size) {
  uint8_t *bytes = (uint8_t *)header;
  size_t width = below(2) ? 4 : 8, last = offsetof(act_file_header, body_sha256) - width;
  if (below(2)) { /* counts and the like, not the section table */
    size_t first = offsetof(act_file_header, arena_bytes);
    change_number(bytes + first + below((offsetof(act_file_header, sections) - first) / 4) * 4, 4, data, size);
  } else {
    change_number(bytes + below(last / 4 + 1) * 4, width, data, size);
  }
}

/* Sizes that fit each other, so that they reach what else a launch must fulfil. */
static void change_launch(uint8_t *place) {
  act_file_step step;
  memcpy(&step, place, sizeof step);
  for (int i = 0; i < 3; i++) {
    if (below(2)) continue;
    step.local_size[i] = (uint32_t)1 << below(13);
    step.global_size[i] = step.local_size[i] << below(below(4) ? 3 : 20);
  }
  memcpy(place, &step, sizeof step);
}

static size_t change_once(uint8_t *data, size_t size, size_t room) {
  act_file_header header;
  size_t offset, bytes;
  unsigned index = pick_section();
  memcpy(&header, data, sizeof header);
  switch (below(16)) {
    case 0:
    case 1: change_header(&header, data, size); break;
    case 2: header.reserved = (uint32_t)below(96); break;
    case 3: header.reserved = (uint32_t)below(24) << FUZZ_ALLOCATION_SHIFT; break;
    case 4:
    case 5: size = resize(data, size, room, &header, index); break;
    case 6:
      if (find_section(&header, index, size, &offset, &bytes)) {
        size_t record = record_bytes(index), count = bytes / record;
        if (index == ACT_SECTION_STEPS && count > 0 && below(2)) change_launch(data + offset + below(count) * record);
        else memmove(data + offset + below(count) * record, data + offset + below(count) * record,
                     count > 0 ? record : 0);
      }
      break;
    case 7:
      if (below(32) == 0) header.reserved ^= FUZZ_KEEP_CHECKSUMS | (uint32_t)below(2);
      else if (below(64) == 0) header.reserved ^= FUZZ_FROM_FILE;
      else if (below(4) == 0) header.reserved ^= (uint32_t)below(8) << FUZZ_DEVICE_SHIFT;
      else if (below(16) == 0) size = sizeof header + below(size - sizeof header);
      break;
    default:
      if (!find_section(&header, index, size, &offset, &bytes)) break;
      if (bytes < 8 || below(8) == 0) data[offset + below(bytes)] = (uint8_t)next();
      else if (below(4) == 0) change_number(data + offset + below((bytes - 8) / 4 + 1) * 4, 8, data, size);
      else change_number(data + offset + below((bytes - 4) / 4 + 1) * 4, 4, data, size);
  }
  memcpy(data, &header, sizeof header);
  return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed) {
  state = seed * 0x2545f4914f6cdd1du;
  if (size < sizeof(act_file_header) + 16 || below(64) == 0) return LLVMFuzzerMutate(data, size, room);
  for (size_t i = 1 + below(below(3) ? 2 : 8); i > 0 && size > sizeof(act_file_header) + 16; i--)
    size = change_once(data, size, room);
  return size;
}
