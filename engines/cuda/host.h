/* host.h - the part of CUDA that the kernels use, for a C++ compiler: the same text then runs on a processor, where the
 * tests compare it with the scalar engine. tests/cuda/host_driver.cc gives every thread of the grid a stack of its own,
 * and switches between them where they wait for each other. */
#ifndef EK_CUDA_HOST_H
#define EK_CUDA_HOST_H

#include "half.h"
#include <algorithm>
#include <math.h>
#include <stdint.h>

#define EK_DEVICE inline
#define EK_KERNEL extern "C" void
#define EK_SHARED(name) uint32_t *name = ek_host_shared()

struct ek_host_index {
  unsigned x;
};
struct uint4 {
  uint32_t x, y, z, w;
};
extern ek_host_index threadIdx, blockIdx, blockDim, gridDim;

uint32_t *ek_host_shared();
void ek_host_yield();                       /* lets the other threads run */
void ek_host_block_barrier();               /* __syncthreads */
void ek_host_warp_barrier();                /* __syncwarp */
uint32_t ek_host_shuffle(uint32_t, int);    /* __shfl_xor_sync of the whole warp */
uint32_t ek_host_ballot(int);               /* __ballot_sync of the whole warp */
uint32_t ek_host_add(uint32_t *, uint32_t); /* atomicAdd */

template <class T> EK_DEVICE T ek_load(const T *constant) {
  return *constant;
}
EK_DEVICE void ek_sync() {
  ek_host_block_barrier();
}
EK_DEVICE void ek_warp() {
  ek_host_warp_barrier();
}
EK_DEVICE void ek_fence() {}
EK_DEVICE void ek_fence_system() {}
EK_DEVICE uint32_t ek_count(uint32_t *slot) {
  return ek_host_add(slot, 1);
}
EK_DEVICE uint32_t ek_poll(const uint32_t *slot) {
  ek_host_yield();
  return *slot;
}
EK_DEVICE int32_t ek_other(int32_t value, int mask) {
  return (int32_t)ek_host_shuffle((uint32_t)value, mask);
}
EK_DEVICE float ek_other(float value, int mask) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  bits = ek_host_shuffle(bits, mask);
  memcpy(&value, &bits, sizeof bits);
  return value;
}
EK_DEVICE uint64_t ek_other(uint64_t value, int mask) {
  uint64_t high = ek_host_shuffle((uint32_t)(value >> 32), mask);
  return high << 32 | ek_host_shuffle((uint32_t)value, mask);
}
EK_DEVICE uint32_t ek_ballot(int vote) {
  return ek_host_ballot(vote);
}
EK_DEVICE int ek_first_bit(uint32_t bits) {
  return __builtin_ctz(bits);
}
EK_DEVICE int32_t ek_dp4a(uint32_t a, uint32_t b, int32_t sum) {
  for (int i = 0; i < 32; i += 8)
    sum += (int8_t)(a >> i) * (int8_t)(b >> i);
  return sum;
}
EK_DEVICE float ek_float(uint32_t half) {
  return ek_half_float((uint16_t)half);
}
EK_DEVICE uint16_t ek_half(float value) {
  return ek_half_of(value);
}

#endif
