/* hist.c - log-linear histogram of durations: fixed size, constant time, nothing dropped. */
#include "edgekin.h"
#include <string.h>

#define SUB_BUCKETS (1 << EK_HIST_SUB_BITS)
#define LIMIT_LOG2 36 /* values from 2^36 ns on are overflow: counted, and exact in max_ns */

_Static_assert(EK_HIST_BUCKETS == SUB_BUCKETS * (1 + LIMIT_LOG2 - EK_HIST_SUB_BITS), "one block an octave");

static int bucket_of(int64_t value_ns) {
  if (value_ns < SUB_BUCKETS)
    return (int)value_ns;
  int shift = 63 - __builtin_clzll((uint64_t)value_ns) - EK_HIST_SUB_BITS;
  return shift * SUB_BUCKETS + (int)(value_ns >> shift);
}

/* The largest value that falls into the bucket. */
static int64_t bucket_end(int bucket) {
  if (bucket < SUB_BUCKETS)
    return bucket;
  int shift = bucket / SUB_BUCKETS - 1;
  int64_t first = (int64_t)(bucket - shift * SUB_BUCKETS) << shift;
  return first + ((int64_t)1 << shift) - 1;
}

void ek_hist_reset(ek_hist *hist) {
  memset(hist, 0, sizeof *hist);
}

void ek_hist_add(ek_hist *hist, int64_t value_ns) {
  if (!hist->count || value_ns < hist->min_ns)
    hist->min_ns = value_ns;
  if (!hist->count || value_ns > hist->max_ns)
    hist->max_ns = value_ns;
  hist->count++;
  hist->sum_ns += (double)value_ns;
  if (value_ns < 0)
    hist->underflow++;
  else if (value_ns >> LIMIT_LOG2)
    hist->overflow++;
  else
    hist->bucket[bucket_of(value_ns)]++;
}

int64_t ek_hist_percentile(const ek_hist *hist, double p) {
  if (!hist->count)
    return 0;
  if (!(p < 1.0)) /* also NaN: the pessimistic answer */
    return hist->max_ns;
  double exact = p > 0.0 ? p * (double)hist->count : 0.0;
  uint64_t rank = (uint64_t)exact;
  if ((double)rank < exact || !rank)
    rank++;
  uint64_t seen = hist->underflow;
  if (seen >= rank)
    return hist->min_ns;
  for (int b = 0; b < EK_HIST_BUCKETS; b++) {
    seen += hist->bucket[b];
    if (seen >= rank) {
      int64_t end = bucket_end(b);
      return end < hist->max_ns ? end : hist->max_ns;
    }
  }
  return hist->max_ns;
}
