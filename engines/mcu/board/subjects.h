/* subjects.h - what the bench runs: one model, or many small ones at once. */
#ifndef EK_SUBJECTS_H
#define EK_SUBJECTS_H

#include <stdint.h>

typedef struct {
  const int8_t *(*predict)(const int32_t *joints);
  void (*score)(const uint8_t *mask, void *score); /* NULL: none */
  int32_t joints, logits, mask, score_bytes;       /* numbers of joints; bytes of the others */
} ek_subject;

extern const ek_subject ek_subjects[];
extern const int ek_n_subjects;

#endif
