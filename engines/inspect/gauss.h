/* gauss.h - symmetric positive definite systems, row-major, in place. */
#ifndef EK_INSPECT_GAUSS_H
#define EK_INSPECT_GAUSS_H

#include <math.h>

/* The lower triangle becomes L of a = L L'. 0 where a is not positive definite. */
static inline int ek_factor(double *a, int n) {
  for (int i = 0; i < n; i++) {
    double *row = a + i * n;
    for (int j = 0; j <= i; j++) {
      const double *other = a + j * n;
      double sum = row[j];
      for (int k = 0; k < j; k++)
        sum -= row[k] * other[k];
      if (i != j)
        row[j] = sum / other[j];
      else if (sum > 0)
        row[i] = sqrt(sum);
      else
        return 0;
    }
  }
  return 1;
}

/* x becomes the solution of L L' x = x. */
static inline void ek_solve(const double *l, int n, double *x) {
  for (int i = 0; i < n; i++) {
    for (int k = 0; k < i; k++)
      x[i] -= l[i * n + k] * x[k];
    x[i] /= l[i * n + i];
  }
  for (int i = n - 1; i >= 0; i--) {
    x[i] /= l[i * n + i];
    for (int k = 0; k < i; k++)
      x[k] -= l[i * n + k] * x[i];
  }
}

/* out (n, n) becomes the inverse of L L', whole; l is lost. */
static inline void ek_invert(double *l, int n, double *out) {
  for (int i = 0; i < n; i++) { /* l becomes L^-1, row by row */
    double *row = l + i * n, pivot = 1 / row[i];
    for (int j = 0; j < i; j++) {
      double sum = 0;
      for (int k = j; k < i; k++)
        sum += row[k] * l[k * n + j];
      out[j] = -sum * pivot;
    }
    for (int j = 0; j < i; j++)
      row[j] = out[j];
    row[i] = pivot;
  }
  for (int i = 0; i < n * n; i++)
    out[i] = 0;
  for (int k = 0; k < n; k++)
    for (int i = 0; i <= k; i++) {
      double factor = l[k * n + i];
      for (int j = 0; j <= i; j++)
        out[i * n + j] += factor * l[k * n + j];
    }
  for (int i = 0; i < n; i++)
    for (int j = 0; j < i; j++)
      out[j * n + i] = out[i * n + j];
}

#endif
