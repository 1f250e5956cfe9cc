/* test_inspect_anything.c - an inspector before any pictures and joint angles whatever, which the sanitizer build (make
 * -C engines asan) watches. */
#include "inspected.h"

static void check_numbers(const ek_finding *f) {
  double all[] = {f->evidence, f->against, f->lag_s,   f->misfit,    f->fitted,    f->misfit_z,
                  f->size[0],  f->size[1], f->size[2], f->spread[0], f->spread[1], f->spread[2]};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    CHECK(isfinite(all[i]));
  for (int j = 0; j < COORDINATES; j++)
    CHECK(isfinite(f->offset_rad[j]) && isfinite(f->drift_rad[j]) && isfinite(f->drift_spread_rad[j]));
  CHECK(f->alarm >= EK_CLASS_NONE && f->alarm <= EK_CLASS_SENSOR && f->alarm_frame <= f->frames);
  CHECK(f->hypothesis >= 0 && f->hypothesis <= HYPOTHESES && f->rival >= -1 && f->rival <= HYPOTHESES);
  CHECK(f->link >= -1 && f->link < LINKS && f->joint >= -1 && f->joint < COORDINATES);
}

/* Accepts something or other, or the model, or forgets. */
static void intervene(ek_inspector *i, world *w) {
  ek_changed_body changed = {.worse = 1 + rnd() % 3, .lost = rnd() % 8 ? 0 : (int32_t)(rnd() % LINKS)};
  for (int k = 0; k < DEVIATIONS; k++)
    changed.sizes[k] = EK_FARTHEST * (rnd() % 4 ? unit() * unit() * unit() : unit());
  switch (rnd() % 4) {
  case 0:
    ek_inspector_reset(i);
    break;
  case 1:
    CHECK(!ek_inspector_accept(i, NULL));
    break;
  case 2:
    CHECK(!ek_inspector_accept(i, &changed));
    break;
  default:
    CHECK(!ek_body_deviate(w->body, changed.sizes));
  }
}

static void spoil_picture(world *w) {
  int from = (int)(rnd() % MASK), to = from + (int)(rnd() % (MASK - (uint32_t)from));
  switch (rnd() % 6) {
  case 0:
    memset(w->mask, rnd() % 2 ? 255 : 0, sizeof w->mask);
    break;
  case 1:
    memset(w->mask + from, rnd() % 2 ? 255 : 0, (size_t)(to - from));
    break;
  case 2:
    for (int k = from; k < to; k++)
      w->mask[k] = (uint8_t)rnd();
    break;
  default:
    break;
  }
}

static void test_anything(int rounds) {
  scene c;
  open_scene(&c);
  int alarms[EK_CLASS_SENSOR + 1] = {0};
  for (int round = 0; round < rounds; round++) {
    if (rnd() % 40 == 0)
      intervene(c.inspector, &c.world);
    int stretch = (int)(rnd() % 30), wild = rnd() % 3 == 0, blind = rnd() % 3 == 0;
    ek_finding f = {0};
    for (int k = 0; k < stretch; k++) {
      float q[COORDINATES], sent[COORDINATES];
      if (rnd() % 20 < 18)
        move_on(&c.world);
      if (wild)
        spoil_picture(&c.world);
      for (int j = 0; j < COORDINATES; j++) {
        q[j] = c.world.q[j] + (float)(wild && rnd() % 50 == 0 ? 9000 * unit() : 0.003 * unit());
        sent[j] = c.world.q[j] + (float)(wild ? unit() : 0);
      }
      CHECK(!ek_inspector_update(c.inspector, q, blind ? NULL : sent, c.world.mask, &f));
      check_numbers(&f);
    }
    alarms[f.alarm]++;
    if (f.alarm && rnd() % 3 == 0)
      ek_inspector_reset(c.inspector);
  }
  CHECK(alarms[EK_CLASS_NONE] && alarms[EK_CLASS_BODY] && alarms[EK_CLASS_APPEARANCE]);
  close_scene(&c);
}

int main(void) {
  test_anything(200);
  return 0;
}
