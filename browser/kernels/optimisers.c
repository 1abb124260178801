/* From a gradient to the change that is added to the parameter vector. State stays with the peer and is never sent. */
#include "simd.h"

/* The change of four parameters of each rule, so that writing it out and applying it share one arithmetic. */
INLINE f32x4 sgd4(f32x4 gradient, f32 rate) { return splat(-rate) * gradient; }

INLINE f32x4 momentum4(f32 *velocity, f32x4 gradient, f32 rate, f32 momentum) {
  f32x4 v = splat(momentum) * load4(velocity) + gradient;
  store4(velocity, v);
  return splat(-rate) * v;
}

INLINE f32x4 adam4(f32 *mean, f32 *square, f32x4 gradient, f32 rate, f32 beta1, f32 beta2, f32 rest1, f32 rest2,
                   f32 root_correction, f32 epsilon) {
  f32x4 m = splat(beta1) * load4(mean) + splat(rest1) * gradient;
  f32x4 v = splat(beta2) * load4(square) + splat(rest2) * (gradient * gradient);
  store4(mean, m);
  store4(square, v);
  return (splat(-rate) * m) / (sqrt4(v) * splat(root_correction) + splat(epsilon));
}

/* Every vector has room for a multiple of four floats (the arena rounds up), so there are no tails here. */
#define FOUR_BY_FOUR(n, body) for (i32 i = 0; i < (n); i += 4) { body; }

/* change = -rate * gradient; `change` may be `gradient`. */
void EXPORT(sgd_change)(f32 *change, const f32 *gradient, i32 n, f32 rate) {
  FOUR_BY_FOUR(n, store4(change + i, sgd4(load4(gradient + i), rate)))
}

/* velocity = momentum * velocity + gradient; change = -rate * velocity. */
void EXPORT(momentum_change)(f32 *change, const f32 *gradient, f32 *velocity, i32 n, f32 rate, f32 momentum) {
  FOUR_BY_FOUR(n, store4(change + i, momentum4(velocity + i, load4(gradient + i), rate, momentum)))
}

/* Adam (Kingma & Ba 2015, algorithm 1); the caller keeps the powers of the betas and gives
 * rate = learning_rate / (1 - beta1^t), root_correction = 1 / sqrt(1 - beta2^t), rest1 = 1 - beta1, rest2 = 1 - beta2. */
void EXPORT(adam_change)(f32 *change, const f32 *gradient, f32 *mean, f32 *square, i32 n, f32 rate, f32 beta1, f32 beta2,
                         f32 rest1, f32 rest2, f32 root_correction, f32 epsilon) {
  FOUR_BY_FOUR(n, store4(change + i, adam4(mean + i, square + i, load4(gradient + i), rate, beta1, beta2, rest1, rest2,
                                           root_correction, epsilon)))
}

/* The same three, added to the vector at once: one pass less where nothing needs the change itself. */
void EXPORT(sgd_step)(f32 *vector, const f32 *gradient, i32 n, f32 rate) {
  FOUR_BY_FOUR(n, store4(vector + i, load4(vector + i) + sgd4(load4(gradient + i), rate)))
}

void EXPORT(momentum_step)(f32 *vector, const f32 *gradient, f32 *velocity, i32 n, f32 rate, f32 momentum) {
  FOUR_BY_FOUR(n, store4(vector + i, load4(vector + i) + momentum4(velocity + i, load4(gradient + i), rate, momentum)))
}

void EXPORT(adam_step)(f32 *vector, const f32 *gradient, f32 *mean, f32 *square, i32 n, f32 rate, f32 beta1, f32 beta2,
                       f32 rest1, f32 rest2, f32 root_correction, f32 epsilon) {
  FOUR_BY_FOUR(n, store4(vector + i, load4(vector + i) + adam4(mean + i, square + i, load4(gradient + i), rate, beta1, beta2,
                                                               rest1, rest2, root_correction, epsilon)))
}

/* vector += change. */
void EXPORT(add)(f32 *vector, const f32 *change, i32 n) {
  FOUR_BY_FOUR(n, store4(vector + i, load4(vector + i) + load4(change + i)))
}
