/* device.h - the few words of CUDA that the kernels are written in. */
#ifndef EK_CUDA_DEVICE_H
#define EK_CUDA_DEVICE_H

#include "program.h"

#ifndef __CUDACC__
#include "host.h"
#else

#define EK_DEVICE __device__ __forceinline__
#define EK_KERNEL extern "C" __global__ void __launch_bounds__(EK_GPU_THREADS, 4) /* four blocks: budgets.json */
#define EK_SHARED(name) uint32_t *name = reinterpret_cast<uint32_t *>(ek_shared_memory)

extern __shared__ uint4 ek_shared_memory[];

template <class T> EK_DEVICE T ek_load(const T *constant) {
  return __ldg(constant);
}

EK_DEVICE void ek_sync() {
  __syncthreads();
}
EK_DEVICE void ek_warp() {
  __syncwarp();
}
EK_DEVICE void ek_fence() {
  __threadfence();
}
EK_DEVICE void ek_fence_system() {
  __threadfence_system();
}
EK_DEVICE uint32_t ek_count(uint32_t *slot) {
  return atomicAdd(slot, 1u);
}
EK_DEVICE uint32_t ek_poll(const uint32_t *slot) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(slot) : "memory");
  return value;
}
template <class T> EK_DEVICE T ek_other(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
EK_DEVICE uint32_t ek_ballot(int vote) {
  return __ballot_sync(0xffffffffu, vote);
}
EK_DEVICE int ek_first_bit(uint32_t bits) {
  return __ffs((int)bits) - 1;
}
EK_DEVICE int32_t ek_dp4a(uint32_t a, uint32_t b, int32_t sum) {
  return __dp4a((int)a, (int)b, sum);
}
EK_DEVICE float ek_float(uint32_t half) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"((uint16_t)half));
  return value;
}
EK_DEVICE uint16_t ek_half(float value) {
  uint16_t half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
  return half;
}

#endif

#endif
