/* Softmax, and softmax with cross-entropy: loss, hits and gradient in one pass over the rows. */
#include "simd.h"
#include "transcendental.h"

INLINE f32 row_maximum(const f32 *row, i32 n) {
  f32 largest = row[0];
  i32 i = 0;
  if (n >= 4) {
    f32x4 lanes = load4(row);
    for (i = 4; i + 4 <= n; i += 4) lanes = max4(lanes, load4(row + i));
    largest = max_of(lanes);
  }
  for (; i < n; i++) largest = largest < row[i] ? row[i] : largest;
  return largest;
}

/* to[i] = e^(from[i] - shift); answers their sum. */
INLINE f32 exponentials(f32 *to, const f32 *from, i32 n, f32 shift) {
  f32x4 lanes = splat(0.0f);
  i32 i = 0;
  for (; i + 4 <= n; i += 4) {
    f32x4 e = exp4(load4(from + i) - splat(shift));
    store4(to + i, e);
    lanes += e;
  }
  f32 sum = sum_of(lanes);
  if (i < n) {
    store_tail(to + i, exp4(load_tail(from + i, n - i) - splat(shift)), n - i);
    for (; i < n; i++) sum += to[i];
  }
  return sum;
}

INLINE void scale(f32 *row, i32 n, f32 factor) {
  i32 i = 0;
  for (; i + 4 <= n; i += 4) store4(row + i, load4(row + i) * splat(factor));
  for (; i < n; i++) row[i] *= factor;
}

/* Rows of logits to rows of probabilities; `probabilities` may be `logits`. */
void EXPORT(softmax)(f32 *probabilities, const f32 *logits, i32 rows, i32 classes) {
  for (i32 row = 0; row < rows; row++, logits += classes, probabilities += classes) {
    f32 sum = exponentials(probabilities, logits, classes, row_maximum(logits, classes));
    scale(probabilities, classes, 1.0f / sum);
  }
}

/* gradient = (softmax(logits) - one_hot(labels)) / examples: that of the mean cross-entropy by the logits.
 *
 * `examples` are those of the whole batch, of which these rows may be a part: the gradients of the parts then add up to that of
 * the batch. Answers the sum (not the mean) of the losses in nats; `correct` receives the number of rows whose first largest
 * logit is the label's. `gradient` may be `logits`. Labels are 0 to classes - 1: the caller has checked them, others trap.
 */
f64 EXPORT(softmax_cross_entropy)(f32 *gradient, const f32 *logits, const i32 *labels, i32 rows, i32 classes, i32 examples,
                                  i32 *correct) {
  f64 loss = 0.0;
  i32 hits = 0;
  for (i32 row = 0; row < rows; row++, logits += classes, gradient += classes) {
    i32 label = labels[row];
    if (label < 0 || label >= classes) __builtin_trap();
    f32 largest = row_maximum(logits, classes);
    f32 own = logits[label] - largest;
    i32 first = 0;
    while (first < classes - 1 && logits[first] != largest) first++;
    hits += first == label;
    f32 sum = exponentials(gradient, logits, classes, largest);
    loss += log1((f64)sum) - (f64)own;
    scale(gradient, classes, 1.0f / sum);
    gradient[label] -= 1.0f;
    scale(gradient, classes, 1.0f / (f32)examples);
  }
  *correct = hits;
  return loss;
}
