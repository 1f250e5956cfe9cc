/* half.h - IEEE 754 half precision in integers, for the processor: plan.c packs weights, host.h runs kernels. */
#ifndef EK_CUDA_HALF_H
#define EK_CUDA_HALF_H

#include <stdint.h>
#include <string.h>

/* Rounds half to even; too large becomes infinite. */
static inline uint16_t ek_half_of(float value) {
  uint32_t bits, sign;
  memcpy(&bits, &value, sizeof bits);
  sign = bits >> 16 & 0x8000u;
  bits &= 0x7fffffffu;
  if (bits >= 0x7f800000u)
    return (uint16_t)(sign | (bits > 0x7f800000u ? 0x7e00u : 0x7c00u));
  if (bits >= 0x477ff000u)
    return (uint16_t)(sign | 0x7c00u);
  if (bits < 0x38800000u) { /* subnormal: the addition rounds to steps of 2^-24 */
    float magnitude, half = 0.5f;
    memcpy(&magnitude, &bits, sizeof bits);
    magnitude += half;
    memcpy(&bits, &magnitude, sizeof bits);
    return (uint16_t)(sign | (bits - 0x3f000000u));
  }
  uint32_t odd = bits >> 13 & 1u;
  return (uint16_t)(sign | ((bits + 0xfffu + odd - 0x38000000u) >> 13));
}

static inline float ek_half_float(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7fffu, bits;
  float value;
  if (rest >= 0x7c00u) {
    bits = sign | 0x7f800000u | (rest & 0x3ffu) << 13;
  } else if (rest < 0x400u) {
    value = (float)rest * 0x1p-24f;
    memcpy(&bits, &value, sizeof bits);
    bits |= sign;
  } else {
    bits = sign | ((rest << 13) + 0x38000000u);
  }
  memcpy(&value, &bits, sizeof value);
  return value;
}

#endif
