/* span.h - where an outline lies in a row. Text of isas.h. */

/* The pixels of a row that an outline reaches. */
ISA_TARGET static inline ek_reach ISA(span)(const ek_outline *o, float dy, int width) {
  float slope = o->b2 / (2 * o->a), left = 1 - o->inner - (o->c - slope * o->b2 / 2) * (dy * dy);
  float half = sqrtf(left > 0 ? left / o->a : 0), middle = o->u - slope * dy;
  float first = ceilf(middle - half), last = floorf(middle + half);
  first = first > 0 ? first : 0, last = last < (float)(width - 1) ? last : (float)(width - 1);
  return first <= last ? (ek_reach){(int16_t)first, (int16_t)last} : (ek_reach){INT16_MAX, -1};
}
