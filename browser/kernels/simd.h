/* Four floats at a time, without intrinsics.
 *
 * The kernels use the compiler's vector extension only: with -msimd128 an operation on f32x4 is one WebAssembly SIMD
 * instruction, without it four scalar ones. Both round each element alike, and every sum is written in one order, so the
 * two builds of this source give the same bits.
 */
#ifndef MESHLEARN_SIMD_H
#define MESHLEARN_SIMD_H

typedef unsigned char u8;
typedef int i32;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef float f32;
typedef double f64;

typedef f32 f32x4 __attribute__((vector_size(16)));
typedef i32 i32x4 __attribute__((vector_size(16)));
typedef u32 u32x4 __attribute__((vector_size(16)));
typedef u8 u8x4_unaligned __attribute__((vector_size(4), aligned(1)));
typedef f32 f32x4_unaligned __attribute__((vector_size(16), aligned(4)));

#define EXPORT(name) __attribute__((export_name(#name))) name
#define INLINE static inline __attribute__((always_inline))

INLINE f32x4 load4(const f32 *from) { return *(const f32x4_unaligned *)from; }

INLINE void store4(f32 *to, f32x4 value) { *(f32x4_unaligned *)to = value; }

INLINE i32x4 load_bytes4(const u8 *from) { return __builtin_convertvector(*(const u8x4_unaligned *)from, i32x4); }

INLINE f32x4 splat(f32 value) { return (f32x4){value, value, value, value}; }

/* The first `count` (1 to 3) floats, zeros after them: the tail of a row takes the same path as its middle. */
INLINE f32x4 load_tail(const f32 *from, i32 count) {
  return (f32x4){from[0], count > 1 ? from[1] : 0.0f, count > 2 ? from[2] : 0.0f, 0.0f};
}

INLINE void store_tail(f32 *to, f32x4 value, i32 count) {
  to[0] = value[0];
  if (count > 1) to[1] = value[1];
  if (count > 2) to[2] = value[2];
}

/* Element for element: where the mask is set (all ones) `yes`, else `no`. */
INLINE f32x4 select4(i32x4 mask, f32x4 yes, f32x4 no) {
  return (f32x4)((mask & (i32x4)yes) | (~mask & (i32x4)no));
}

INLINE f32x4 max4(f32x4 x, f32x4 y) { return select4(x < y, y, x); }

INLINE f32x4 sqrt4(f32x4 x) { return __builtin_elementwise_sqrt(x); }

/* Horizontal sum and maximum: pairs (0,2) and (1,3) first, as the order is part of the result. */
INLINE f32 sum_of(f32x4 x) { return (x[0] + x[2]) + (x[1] + x[3]); }

INLINE f32 max_of(f32x4 x) {
  f32 even = x[0] < x[2] ? x[2] : x[0];
  f32 odd = x[1] < x[3] ? x[3] : x[1];
  return even < odd ? odd : even;
}

#endif
