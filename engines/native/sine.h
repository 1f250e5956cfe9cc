/* sine.h - the one sine of all engines: CPU and CUDA kernels include this text, so their bits are the same.
 * Taylor polynomials in t = r^2 at |r| <= pi/4; edgekin.models.reference.sincos is the same in numpy. */
#ifndef EK_NATIVE_SINE_H
#define EK_NATIVE_SINE_H

#ifndef EK_DEVICE /* of a kernel: cuda/device.h */
#include <math.h>
#define EK_DEVICE static inline
#endif

EK_DEVICE double ek_sin_tail(double t) {
  double p = 1.0 / 6227020800.0;
  p = p * t + -1.0 / 39916800.0;
  p = p * t + 1.0 / 362880.0;
  p = p * t + -1.0 / 5040.0;
  p = p * t + 1.0 / 120.0;
  return p * t + -1.0 / 6.0;
}

EK_DEVICE double ek_cos_tail(double t) {
  double p = -1.0 / 87178291200.0;
  p = p * t + 1.0 / 479001600.0;
  p = p * t + -1.0 / 3628800.0;
  p = p * t + 1.0 / 40320.0;
  p = p * t + -1.0 / 720.0;
  p = p * t + 1.0 / 24.0;
  return p * t + -0.5;
}

/* The sine of x, |x| <= 10^4 rad, or with a quarter 1 the cosine. */
EK_DEVICE double ek_sine(double x, int quarter) {
  const double pi = 3.141592653589793;
  double n = rint(x * (2.0 / pi));
  double r = x - n * (pi / 2.0), t = r * r;
  int k = ((int)n + quarter) & 3;
  double y = k & 1 ? 1.0 + t * ek_cos_tail(t) : r + r * (t * ek_sin_tail(t));
  return k & 2 ? -y : y;
}

#endif
