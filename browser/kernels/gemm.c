/* Matrix products: C = op(A) . op(B), or C += op(A) . op(B), all row-major and dense.
 *
 * The loops are those of Goto & van de Geijn (2008), with blocks for one core that has 32 KiB of L1 and works on batches of
 * tens of rows: both operands are packed into panels (which absorbs the transposes and the edges), and a micro-kernel
 * keeps a tile of 4 x 8 results in eight registers while it runs along the inner dimension. WebAssembly engines allot 15
 * vector registers on x86-64: 8 sums, 2 of B, 1 of A and a product fit, 5 x 8 or an unrolled loop spills.
 *
 * Every result is a sum in the order of the inner dimension, in blocks of DEPTH, whatever the size of the batch.
 */
#include "simd.h"

enum {
  DEPTH = 256,     /* inner dimension of a block: a panel of B is 8 KiB, a panel of A 4 KiB */
  HEIGHT = 128,    /* rows of op(A) packed at once: 128 KiB, a part of L2 */
  TILE_ROWS = 4,
  TILE_COLUMNS = 8,
};

/* Floats of workspace that `gemm` needs. */
i32 EXPORT(gemm_workspace_floats)(void) { return DEPTH * (HEIGHT + TILE_COLUMNS); }

INLINE i32 at_most(i32 value, i32 limit) { return value < limit ? value : limit; }

INLINE void transpose4(f32x4 row[4]) {
  f32x4 a = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
  f32x4 b = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
  f32x4 c = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
  f32x4 d = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
  row[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  row[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  row[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
  row[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

/* panel[p * width + i] = from[p * stride + i] for i < count, and 0 for count <= i < width: the panel lies along rows. */
INLINE void pack_rows(f32 *panel, const f32 *from, i32 stride, i32 depth, i32 width, i32 count) {
  for (i32 p = 0; p < depth; p++, from += stride, panel += width) {
    for (i32 i = 0; i < width; i += 4) {
      i32 left = count - i;
      store4(panel + i, left >= 4 ? load4(from + i) : left > 0 ? load_tail(from + i, left) : splat(0.0f));
    }
  }
}

/* panel[p * width + i] = from[i * stride + p] for i < count, and 0 for count <= i < width: the panel lies across rows. */
INLINE void pack_columns(f32 *panel, const f32 *from, i32 stride, i32 depth, i32 width, i32 count) {
  for (i32 i = 0; i < width; i += 4) {
    f32 *to = panel + i;
    const f32 *rows = from + i * stride;
    i32 left = count - i;
    i32 p = 0;
    if (left >= 4) {
      for (; p + 4 <= depth; p += 4) {
        f32x4 square[4] = {load4(rows + p), load4(rows + stride + p), load4(rows + 2 * stride + p),
                           load4(rows + 3 * stride + p)};
        transpose4(square);
        for (i32 q = 0; q < 4; q++) store4(to + (p + q) * width, square[q]);
      }
    }
    for (; p < depth; p++) {
      for (i32 q = 0; q < 4; q++) to[p * width + q] = q < left ? rows[q * stride + p] : 0.0f;
    }
  }
}

INLINE void store_vector(f32 *to, f32x4 value, i32 columns, i32 accumulate) {
  if (columns >= 4) {
    store4(to, accumulate ? load4(to) + value : value);
  } else if (columns > 0) {
    store_tail(to, accumulate ? load_tail(to, columns) + value : value, columns);
  }
}

/* One tile: c[i][j] (+)= sum over p of a[p * 4 + i] * b[p * 8 + j]. */
INLINE void tile_wide(f32 *c, i32 c_stride, const f32 *a, const f32 *b, i32 depth, i32 rows, i32 columns, i32 accumulate) {
  f32x4 sum[TILE_ROWS][2];
#pragma clang loop unroll(full)
  for (i32 i = 0; i < TILE_ROWS; i++) sum[i][0] = sum[i][1] = splat(0.0f);
#pragma clang loop unroll(disable)
  for (i32 p = 0; p < depth; p++, a += TILE_ROWS, b += TILE_COLUMNS) {
    f32x4 left = load4(b);
    f32x4 right = load4(b + 4);
#pragma clang loop unroll(full)
    for (i32 i = 0; i < TILE_ROWS; i++) {
      f32x4 factor = splat(a[i]);
      sum[i][0] += factor * left;
      sum[i][1] += factor * right;
    }
  }
#pragma clang loop unroll(full)
  for (i32 i = 0; i < TILE_ROWS; i++) {
    if (i < rows) {
      store_vector(c + i * c_stride, sum[i][0], columns, accumulate);
      store_vector(c + i * c_stride + 4, sum[i][1], columns - 4, accumulate);
    }
  }
}

/* The same for at most 4 columns: c[i][j] (+)= sum over p of a[p * 4 + i] * b[p * 4 + j]. */
INLINE void tile_narrow(f32 *c, i32 c_stride, const f32 *a, const f32 *b, i32 depth, i32 rows, i32 columns, i32 accumulate) {
  f32x4 sum[TILE_ROWS];
#pragma clang loop unroll(full)
  for (i32 i = 0; i < TILE_ROWS; i++) sum[i] = splat(0.0f);
#pragma clang loop unroll(disable)
  for (i32 p = 0; p < depth; p++, a += TILE_ROWS, b += 4) {
    f32x4 left = load4(b);
#pragma clang loop unroll(full)
    for (i32 i = 0; i < TILE_ROWS; i++) sum[i] += splat(a[i]) * left;
  }
#pragma clang loop unroll(full)
  for (i32 i = 0; i < TILE_ROWS; i++) {
    if (i < rows) store_vector(c + i * c_stride, sum[i], columns, accumulate);
  }
}

/* C[m][n] = op(A)[m][k] . op(B)[k][n], added to C where `accumulate` is set.
 *
 * op(A) is A[m][k], or the transpose of A[k][m] where `a_transposed` is set; op(B) is B[k][n], or the transpose of B[n][k].
 * `workspace` has gemm_workspace_floats() floats and is 16-byte aligned; C overlaps nothing.
 */
void EXPORT(gemm)(f32 *c, const f32 *a, const f32 *b, i32 m, i32 n, i32 k, i32 a_transposed, i32 b_transposed,
                  i32 accumulate, f32 *workspace) {
  f32 *b_panel = workspace;
  f32 *a_panels = workspace + DEPTH * TILE_COLUMNS;
  for (i32 p = 0; p < k; p += DEPTH) {
    i32 depth = at_most(k - p, DEPTH);
    i32 add = accumulate || p > 0;
    for (i32 top = 0; top < m; top += HEIGHT) {
      i32 bottom = top + at_most(m - top, HEIGHT);
      for (i32 i = top; i < bottom; i += TILE_ROWS) {
        f32 *panel = a_panels + (i - top) * depth;
        i32 rows = at_most(bottom - i, TILE_ROWS);
        if (a_transposed) {
          pack_rows(panel, a + p * m + i, m, depth, TILE_ROWS, rows);
        } else {
          pack_columns(panel, a + i * k + p, k, depth, TILE_ROWS, rows);
        }
      }
      for (i32 j = 0; j < n; j += TILE_COLUMNS) {
        i32 columns = at_most(n - j, TILE_COLUMNS);
        i32 width = columns <= 4 ? 4 : TILE_COLUMNS;
        if (b_transposed) {
          pack_columns(b_panel, b + j * k + p, k, depth, width, columns);
        } else {
          pack_rows(b_panel, b + p * n + j, n, depth, width, columns);
        }
        for (i32 i = top; i < bottom; i += TILE_ROWS) {
          const f32 *panel = a_panels + (i - top) * depth;
          i32 rows = at_most(bottom - i, TILE_ROWS);
          if (columns <= 4) {
            tile_narrow(c + i * n + j, n, panel, b_panel, depth, rows, columns, add);
          } else {
            tile_wide(c + i * n + j, n, panel, b_panel, depth, rows, columns, add);
          }
        }
      }
    }
  }
}
