/* What lies between the matrix products: inputs, biases, activations, and the column sums of the bias gradient. */
#include "simd.h"
#include "transcendental.h"

/* The codes that browser/src/learning/spec.ts gives the activations. */
enum activation { LINEAR = 0, RELU = 1, TANH = 2, SIGMOID = 3 };

/* to[i] = from[i] / scale: images arrive as bytes and, with a scale of 255, reach the model as numbers from 0 to 1. */
void EXPORT(bytes_to_floats)(f32 *to, const u8 *from, i32 n, f32 scale) {
  i32 i = 0;
  for (; i + 4 <= n; i += 4) store4(to + i, __builtin_convertvector(load_bytes4(from + i), f32x4) / splat(scale));
  for (; i < n; i++) to[i] = (f32)from[i] / scale;
}

INLINE f32x4 activate(f32x4 x, enum activation activation) {
  switch (activation) {
    case LINEAR: return x;
    case RELU: return (f32x4)((i32x4)x & ~(x < splat(0.0f)));  /* lets NaN through */
    case TANH: return tanh4(x);
    case SIGMOID: return sigmoid4(x);
  }
}

/* The derivative by the activation's input, given its output y. */
INLINE f32x4 slope(f32x4 y, enum activation activation) {
  switch (activation) {
    case LINEAR: return splat(1.0f);
    case RELU: return select4(y > splat(0.0f), splat(1.0f), splat(0.0f));
    case TANH: return splat(1.0f) - y * y;
    case SIGMOID: return y * (splat(1.0f) - y);
  }
}

INLINE void activate_all(f32 *to, const f32 *from, i32 n, enum activation activation) {
  i32 i = 0;
  for (; i + 4 <= n; i += 4) store4(to + i, activate(load4(from + i), activation));
  if (i < n) store_tail(to + i, activate(load_tail(from + i, n - i), activation), n - i);
}

INLINE void biased(f32 *y, const f32 *bias, i32 rows, i32 columns, enum activation activation) {
  for (i32 row = 0; row < rows; row++, y += columns) {
    i32 i = 0;
    for (; i + 4 <= columns; i += 4) store4(y + i, activate(load4(y + i) + load4(bias + i), activation));
    if (i < columns) {
      f32x4 tail = load_tail(y + i, columns - i) + load_tail(bias + i, columns - i);
      store_tail(y + i, activate(tail, activation), columns - i);
    }
  }
}

INLINE void times_slope(f32 *gradient, const f32 *y, i32 n, enum activation activation) {
  i32 i = 0;
  for (; i + 4 <= n; i += 4) store4(gradient + i, load4(gradient + i) * slope(load4(y + i), activation));
  if (i < n) {
    f32x4 tail = load_tail(gradient + i, n - i) * slope(load_tail(y + i, n - i), activation);
    store_tail(gradient + i, tail, n - i);
  }
}

/* One loop an activation: the choice is made once a call, not once an element. */
#define FOR_EACH_ACTIVATION(code, call)          \
  switch (code) {                                \
    case LINEAR: { enum activation const chosen = LINEAR; call; break; } \
    case RELU: { enum activation const chosen = RELU; call; break; }     \
    case TANH: { enum activation const chosen = TANH; call; break; }     \
    case SIGMOID: { enum activation const chosen = SIGMOID; call; break; } \
    default: __builtin_trap();                   \
  }

/* to = activation(from), n floats; `to` may be `from`. */
void EXPORT(activation_forward)(f32 *to, const f32 *from, i32 n, i32 activation) {
  FOR_EACH_ACTIVATION(activation, activate_all(to, from, n, chosen))
}

/* y[row] = activation(y[row] + bias) for each row of `columns` floats. */
void EXPORT(bias_activation_forward)(f32 *y, const f32 *bias, i32 rows, i32 columns, i32 activation) {
  FOR_EACH_ACTIVATION(activation, biased(y, bias, rows, columns, chosen))
}

/* gradient *= the derivative of the activation whose output was y; n floats. */
void EXPORT(activation_backward)(f32 *gradient, const f32 *y, i32 n, i32 activation) {
  FOR_EACH_ACTIVATION(activation, times_slope(gradient, y, n, chosen))
}

/* to[column] = the sum of the rows: the gradient of a bias. */
void EXPORT(column_sums)(f32 *to, const f32 *from, i32 rows, i32 columns) {
  i32 i = 0;
  for (; i + 4 <= columns; i += 4) {
    f32x4 sum = splat(0.0f);
    for (i32 row = 0; row < rows; row++) sum += load4(from + row * columns + i);
    store4(to + i, sum);
  }
  for (; i < columns; i++) {
    f32 sum = 0.0f;
    for (i32 row = 0; row < rows; row++) sum += from[row * columns + i];
    to[i] = sum;
  }
}
