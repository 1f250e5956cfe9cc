/* lanes.h - eight floats that the compiler puts into whatever registers the instruction set has. */
#ifndef EK_NATIVE_LANES_H
#define EK_NATIVE_LANES_H

#include <stdint.h>

typedef float ek_lanes __attribute__((vector_size(32)));
typedef int32_t ek_lane_bits __attribute__((vector_size(32)));

#define POSITIVE(x) ((ek_lanes)((ek_lane_bits)(x) & ((x) > 0)))

#endif
