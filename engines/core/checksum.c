/* checksum.c - CRC32C with the CPU's instruction where there is one, by table elsewhere; and a picture hash. */
#include "checksum.h"
#include <string.h>

#define POLYNOMIAL 0x82f63b78u

/* Four bits at a time: 64 bytes of table instead of 1 kB, and never on the fast path of x86-64 or an ARMv8 with CRC. */
static uint32_t crc_portable(uint32_t crc, const uint8_t *p, size_t n) {
  static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                     0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                     0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
  for (; n; n--) {
    crc ^= *p++;
    crc = (crc >> 4) ^ table[crc & 15];
    crc = (crc >> 4) ^ table[crc & 15];
  }
  return crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>
#define HAVE_CRC_INSTRUCTION 1
static int crc_instruction_present(void) {
  return __builtin_cpu_supports("sse4.2");
}
__attribute__((target("sse4.2"))) static uint32_t crc_instruction(uint32_t crc, const uint8_t *p, size_t n) {
  uint64_t state = crc;
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    state = _mm_crc32_u64(state, word);
  }
  crc = (uint32_t)state;
  for (; n; n--)
    crc = _mm_crc32_u8(crc, *p++);
  return crc;
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define HAVE_CRC_INSTRUCTION 1
static int crc_instruction_present(void) {
  return 1;
}
static uint32_t crc_instruction(uint32_t crc, const uint8_t *p, size_t n) {
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    crc = __crc32cd(crc, word);
  }
  for (; n; n--)
    crc = __crc32cb(crc, *p++);
  return crc;
}
#endif

uint32_t ek_crc32c(uint32_t crc, const void *data, size_t bytes) {
#ifdef HAVE_CRC_INSTRUCTION
  if (crc_instruction_present())
    return ~crc_instruction(~crc, data, bytes);
#endif
  return ~crc_portable(~crc, data, bytes);
}

uint64_t ek_hash64(const void *data, size_t bytes) {
  const uint8_t *p = data;
  uint64_t hash = 0x9e3779b97f4a7c15ull ^ bytes, word;
  for (; bytes; p += bytes < 8 ? bytes : 8, bytes -= bytes < 8 ? bytes : 8) {
    word = 0;
    memcpy(&word, p, bytes < 8 ? bytes : 8);
    /* Odd multiplier and a shift of the high half down: every input bit reaches the low bits of the next round. */
    hash = (hash ^ word) * 0xd6e8feb86659fd93ull;
    hash ^= hash >> 32;
  }
  return hash;
}
