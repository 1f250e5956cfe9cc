/* test_engine.c - the engine without Python: scalar and vector kernels agree, and hostile files are refused, which the
 * sanitizer build (make -C engines asan) watches for stray reads and writes. */
#include "check.h"
#include "blob.h"
#include "edgekin.h"
#include "core/status.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 9 };

/* 3 joints -> 2 views of 20 x 25, with every kind of layer but `joints`. */
static const net NET = {3,
                        LAYERS,
                        32,
                        {
                            {EK_SINCOS, 0, {6, 1, 1}, 0, 0, 0, 0},
                            {EK_LINEAR, 1, {96, 1, 1}, 0, 0, 0, 0},
                            {EK_RESHAPE, 0, {8, 3, 4}, 0, 0, 0, 0},
                            {EK_CONVT, 1, {12, 6, 8}, 4, 2, 1, 0},
                            {EK_CONVT, 0, {10, 4, 6}, 3, 1, 2, 0},
                            {EK_RESIZE, 0, {10, 11, 13}, 0, 0, 0, 0},
                            {EK_CONV, 0, {8, 11, 13}, 3, 1, 1, 0},
                            {EK_PIXEL_SHUFFLE, 0, {2, 22, 26}, 0, 0, 0, 2},
                            {EK_CROP, 0, {2, 20, 25}, 0, 0, 0, 0},
                        }};

static void kernels_agree(const uint8_t *blob, size_t bytes, int int8) {
  int status = 0;
  ek_engine *scalar = ek_engine_open(blob, bytes, EK_ISA_SCALAR, &status);
  CHECK(scalar && status == EK_OK);
  ek_engine *best = ek_engine_open(blob, bytes, EK_ISA_AUTO, &status);
  CHECK(best && status == EK_OK);
  static float a[1000], b[1000];
  static uint8_t mask[2 * 20 * 4];
  for (size_t i = 0; i < sizeof mask; i++)
    mask[i] = (uint8_t)rnd();
  for (int round = 0; round < 20; round++) {
    float q[3];
    for (int i = 0; i < 3; i++)
      q[i] = (float)(rnd() % 6000) / 1000.0f - 3.0f;
    CHECK(ek_engine_run(scalar, q) == EK_OK && ek_engine_run(best, q) == EK_OK);
    CHECK(ek_engine_logits(scalar, a) == EK_OK && ek_engine_logits(best, b) == EK_OK);
    for (int i = 0; i < 1000; i++)
      CHECK(int8 ? a[i] == b[i] : fabsf(a[i] - b[i]) < 1e-4f);
    ek_score s, t;
    CHECK(ek_engine_score(scalar, mask, &s) == EK_OK && ek_engine_score(best, mask, &t) == EK_OK);
    CHECK(s.n_pixels == 1000 && s.intersection <= s.union_ && s.union_ <= 1000);
    CHECK(fabs(s.nll - t.nll) < 1e-4 * s.nll && isfinite(s.squared_err));
  }
  ek_engine_close(scalar);
  ek_engine_close(best);
}

/* Interesting values in random words of header and table, with a valid checksum: only the validation stands between
 * them and the kernels. */
static void hostile_files_are_refused(uint8_t *blob, size_t bytes) {
  static uint8_t copy[CAPACITY];
  static const uint32_t words[] = {0,          1,          2,          3,          4,        7,
                                   16,         64,         255,        4096,       1u << 16, 1u << 22,
                                   0x7fffffff, 0x80000000, 0xffffffff, 0x7fc00000, 1u << 28};
  static float logits[1 << 22];
  for (int round = 0; round < 5000; round++) {
    memcpy(copy, blob, bytes);
    for (int k = 1 + (int)(rnd() % 2); k > 0; k--) {
      size_t word = 1 + rnd() % ((HEADER + LAYERS * RECORD) / 4 - 1);
      uint32_t old;
      memcpy(&old, copy + 4 * word, 4);
      put32(copy + 4 * word, rnd() % 4 ? words[rnd() % (sizeof words / sizeof *words)] : old + rnd() % 5 - 2);
    }
    seal(copy, bytes);
    int status = 0;
    ek_engine *e = ek_engine_open(copy, bytes, EK_ISA_AUTO, &status);
    CHECK((e != NULL) == (status == EK_OK));
    if (e) {
      float q[EK_MAX_JOINTS] = {0.1f};
      CHECK(ek_engine_run(e, q) == EK_OK && ek_engine_logits(e, logits) == EK_OK);
      ek_engine_close(e);
    }
  }
  for (size_t n = 0; n < bytes; n += 1 + rnd() % 97) {
    uint8_t *exact = malloc(n + 1); /* so that a read beyond the end is seen */
    memcpy(exact, blob, n);
    int status = 0;
    CHECK(!ek_engine_open(exact, n, EK_ISA_AUTO, &status) && status < 0);
    free(exact);
  }
}

static void arguments_are_guarded(const uint8_t *blob, size_t bytes) {
  int status = 0;
  CHECK(!ek_engine_open(NULL, 10, EK_ISA_AUTO, &status) && status == EK_E_ARGUMENT);
  CHECK(!ek_engine_open(blob, bytes, 99, &status) && status == EK_E_ARGUMENT);
  CHECK(!ek_engine_open(blob, bytes - 1, EK_ISA_AUTO, NULL));
  ek_engine *e = ek_engine_open(blob, bytes, EK_ISA_AUTO, NULL);
  const float nan3[3] = {NAN, 0, 0}, far3[3] = {0, 1e9f, 0};
  CHECK(ek_engine_run(e, nan3) == EK_E_NONFINITE && ek_engine_run(e, far3) == EK_E_RANGE);
  CHECK(ek_engine_run(NULL, far3) == EK_E_ARGUMENT && ek_engine_run(e, NULL) == EK_E_ARGUMENT);
  CHECK(ek_engine_score(e, NULL, NULL) == EK_E_ARGUMENT && ek_engine_logits(e, NULL) == EK_E_ARGUMENT);
  ek_engine_close(e);
  ek_engine_close(NULL);
}

/* Timed operation by operation, the engine computes what it computes otherwise, and the layers add up to the whole. */
static void profile_covers_every_layer(const uint8_t *blob, size_t bytes) {
  enum { TICKS = 5 };
  static float before[1000], after[1000];
  static uint8_t mask[2 * 20 * 4];
  const float q[3] = {0.3f, -0.2f, 1.0f};
  for (int isa = EK_ISA_AUTO; isa <= EK_ISA_SCALAR; isa++) {
    ek_engine *e = ek_engine_open(blob, bytes, isa, NULL);
    ek_engine_info info;
    ek_layer_info layer;
    int32_t ns[TICKS][LAYERS + 1];
    CHECK(e && ek_engine_describe(e, &info) == EK_OK);
    CHECK(ek_engine_run(e, q) == EK_OK && ek_engine_logits(e, before) == EK_OK);
    CHECK(ek_engine_profile(e, q, mask, TICKS, &ns[0][0]) == EK_OK && ek_engine_logits(e, after) == EK_OK);
    CHECK(!memcmp(before, after, sizeof before));
    int64_t macs = 0, total = 0;
    for (int i = 0; i < LAYERS; i++) {
      CHECK(ek_engine_layer(e, i, &layer) == EK_OK && layer.kind == NET.layers[i].kind &&
            layer.out_c == NET.layers[i].out[0]);
      macs += layer.macs;
      for (int t = 0; t < TICKS; t++) {
        CHECK(ns[t][i] >= 0 && (layer.n_ops > 0 || ns[t][i] == 0));
        total += ns[t][i];
      }
    }
    CHECK(macs == info.macs && total > 0 && ns[0][LAYERS] > 0);
    CHECK(ek_engine_profile(e, q, NULL, TICKS, &ns[0][0]) == EK_OK && ns[TICKS - 1][LAYERS] == 0);
    CHECK(ek_engine_layer(e, LAYERS, &layer) == EK_E_ARGUMENT && ek_engine_layer(e, -1, &layer) == EK_E_ARGUMENT);
    CHECK(ek_engine_profile(e, q, mask, 0, &ns[0][0]) == EK_E_ARGUMENT);
    ek_engine_close(e);
  }
}

static void rooflines_are_measured(void) {
  for (int isa = EK_ISA_AUTO; isa <= EK_ISA_NEON; isa++)
    for (int precision = 0; precision < 2; precision++) {
      double gmacs = ek_roofline_gmacs(isa, precision, 0);
      CHECK(ek_isa_supported(isa) ? gmacs > 0 : gmacs == EK_E_UNSUPPORTED);
    }
  CHECK(ek_roofline_gmacs(EK_ISA_AUTO, 7, 0) == EK_E_ARGUMENT && ek_roofline_gmacs(99, 0, 0) == EK_E_UNSUPPORTED);
  CHECK(ek_roofline_read_gb_s(4096, 0) > 0 && ek_roofline_read_gb_s(1000, 0) > 0);
  CHECK(ek_roofline_read_gb_s(100, 0) == EK_E_ARGUMENT && ek_roofline_read_gb_s(INT64_C(1) << 40, 0) == EK_E_ARGUMENT);
}

static void statuses_have_names(void) {
  for (int i = 0; i < ek_status_count(); i++)
    CHECK(strcmp(ek_status_name(-i), "EK_E_UNKNOWN") && strlen(ek_status_text(-i)) > 1);
  CHECK(!strcmp(ek_status_name(EK_E_FORMAT), "EK_E_FORMAT") && !strcmp(ek_status_name(-999), "EK_E_UNKNOWN"));
}

int main(void) {
  static uint8_t blob[CAPACITY];
  for (int int8 = 0; int8 < 2; int8++) {
    size_t bytes = build(blob, int8, &NET);
    kernels_agree(blob, bytes, int8);
    arguments_are_guarded(blob, bytes);
    profile_covers_every_layer(blob, bytes);
    hostile_files_are_refused(blob, bytes);
  }
  rooflines_are_measured();
  statuses_have_names();
  puts("engine: ok");
  return 0;
}
