/* exp, tanh and the logistic function, four at a time, and a scalar logarithm: the same bits in every browser.
 *
 * Polynomials of Cephes (Moshier), single precision; against float64 tanh errs by 1.3 units in the last place and the logistic
 * function by 2.7 (tests/browser/test_kernels.py measures them). Argument reduction is by Cody & Waite.
 */
#ifndef MESHLEARN_TRANSCENDENTAL_H
#define MESHLEARN_TRANSCENDENTAL_H

#include "simd.h"

INLINE f32x4 power_of_two(i32x4 exponent) { return (f32x4)((exponent + 127) << 23); }

/* e^x: 0 below -104, infinity above 88.73, NaN where x is NaN. */
INLINE f32x4 exp4(f32x4 x) {
  const f32x4 shift = splat(12582912.0f); /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
  x = select4(x < splat(-104.0f), splat(-104.0f), x);
  x = select4(x > splat(89.0f), splat(89.0f), x);
  f32x4 shifted = x * splat(1.44269504088896341f) + shift;
  i32x4 n = (i32x4)shifted - (i32x4)shift;
  f32x4 multiple = shifted - shift;
  f32x4 r = (x - multiple * splat(0.693359375f)) - multiple * splat(-2.12194440e-4f);
  f32x4 p = splat(1.9875691500e-4f);
  p = p * r + splat(1.3981999507e-3f);
  p = p * r + splat(8.3334519073e-3f);
  p = p * r + splat(4.1665795894e-2f);
  p = p * r + splat(1.6666665459e-1f);
  p = p * r + splat(5.0000001201e-1f);
  p = (p * (r * r) + r) + splat(1.0f);
  i32x4 half = n >> 1; /* in two factors, so that neither leaves the range of exponents */
  return p * power_of_two(half) * power_of_two(n - half);
}

INLINE f32x4 abs4(f32x4 x) { return (f32x4)((i32x4)x & 0x7fffffff); }

INLINE f32x4 tanh4(f32x4 x) {
  f32x4 size = abs4(x);
  i32x4 sign = (i32x4)x & (i32)0x80000000;
  f32x4 large = splat(1.0f) - splat(2.0f) / (exp4(size + size) + splat(1.0f));
  f32x4 square = x * x;
  f32x4 p = splat(-5.70498872745e-3f);
  p = p * square + splat(2.06390887954e-2f);
  p = p * square + splat(-5.37397155531e-2f);
  p = p * square + splat(1.33314422036e-1f);
  p = p * square + splat(-3.33332819422e-1f);
  f32x4 small = p * square * x + x;
  return select4(size < splat(0.625f), small, (f32x4)((i32x4)large | sign));
}

/* 1 / (1 + e^-x), without overflow on either side. */
INLINE f32x4 sigmoid4(f32x4 x) {
  f32x4 e = exp4((f32x4)((i32x4)x | (i32)0x80000000));
  f32x4 inverse = splat(1.0f) / (splat(1.0f) + e);
  return select4(x < splat(0.0f), e * inverse, inverse);
}

/* ln x for a normal, positive x (fdlibm's e_log.c): atanh series on x / 2^k in [sqrt(1/2), sqrt(2)). Infinity and NaN as is. */
INLINE f64 log1(f64 x) {
  if (!(x < __builtin_inf())) return x;
  u64 bits = __builtin_bit_cast(u64, x);
  u64 fraction = bits & 0xfffffffffffffULL;
  i32 k = (i32)(bits >> 52) - 1023;
  f64 f = __builtin_bit_cast(f64, fraction | 0x3ff0000000000000ULL);
  if (f > 1.4142135623730951) {
    f *= 0.5;
    k += 1;
  }
  f -= 1.0;
  f64 s = f / (2.0 + f);
  f64 z = s * s;
  f64 w = z * z;
  f64 odd = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
  f64 even = z * (6.666666666666735130e-01 +
                  w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
  f64 series = odd + even;
  f64 half_square = 0.5 * f * f;
  return k * 6.93147180369123816490e-01 - ((half_square - (s * (half_square + series) + k * 1.90821492927058770002e-10)) - f);
}

#endif
