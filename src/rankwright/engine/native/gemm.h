// Products of two float32 matrices, neither of which is laid out beforehand: those of training.
//
// Both are copied into the tiles and panels of product.h, some hundred of the summed index at a time;
// then each thread takes blocks of the result. (K. Goto and R. van de Geijn, "Anatomy of
// high-performance matrix multiplication", 2008.)
#pragma once
#include "exported.h"
#include "parallel.h"
#include "product.h"

// out = a @ b.T + bias, or a @ b for a `transposed` b. All lie without gaps: a as [rows][depth], b as
// [columns][depth] or [depth][columns]; columns are a multiple of COLUMNS.
struct MatrixProduct {
  const float *a, *b, *bias;
  float *out;
  int64_t rows, columns, depth;
  int32_t transposed, threads;
};

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

constexpr int64_t MOST_DEPTH = 1536;   // at a time
constexpr int64_t COLUMN_GROUP = 384;  // of a block of the result
constexpr int64_t PIECES = 4;          // tiles or panels that are packed together

// Up to eight lines of `stride` numbers, `depth` of each, to `to`, [depth][width].
template <int width>
static inline void pack_lines(const float *from, int64_t stride, int64_t lines, int64_t depth,
                              float *to) {
  constexpr int most = width < 8 ? width : 8;
  int64_t k = 0;
  if (lines >= most)
    for (; k + 8 <= depth; k += 8) {
      __m256 r[8];
      for (int i = 0; i < 8; i++)
        r[i] = i < most ? _mm256_loadu_ps(from + i * stride + k) : _mm256_setzero_ps();
      transpose8(r);
      for (int i = 0; i < 8; i++) memcpy(to + (k + i) * width, &r[i], most * sizeof(float));
    }
  for (; k < depth; k++)
    for (int64_t i = 0; i < most && i < lines; i++) to[k * width + i] = from[i * stride + k];
}

// Up to six rows of a as a tile, [room][6]; zeros beyond the rows, and beyond `depth`.
static inline void pack_tile(const MatrixProduct &x, int64_t row, int64_t begin, int64_t depth,
                             int64_t room, float *to) {
  const int64_t count = least(x.rows - row, ROWS);
  const int64_t filled = count < ROWS ? 0 : depth;
  memset(to + filled * ROWS, 0, (room - filled) * ROWS * sizeof(float));
  pack_lines<ROWS>(x.a + row * x.depth + begin, x.depth, count, depth, to);
}

// `count` panels of b, each [room][16]; zeros beyond `depth`. Several at once: where the columns of a
// depth lie side by side, memory is then read in longer stretches.
static inline void pack_panels(const MatrixProduct &x, int64_t column, int64_t count,
                               int64_t begin, int64_t depth, int64_t room, float *to) {
  const int64_t size = room * COLUMNS;
  for (int64_t p = 0; p < count; p++)
    memset(to + p * size + depth * COLUMNS, 0, (room - depth) * COLUMNS * sizeof(float));
  if (x.transposed) {
    for (int64_t k = 0; k < depth; k++)
      for (int64_t p = 0; p < count; p++)
        memcpy(to + p * size + k * COLUMNS, x.b + (begin + k) * x.columns + column + p * COLUMNS,
               COLUMNS * sizeof(float));
    return;
  }
  for (int64_t p = 0; p < count; p++)
    for (int64_t i = 0; i < COLUMNS; i += 8)
      pack_lines<COLUMNS>(x.b + (column + p * COLUMNS + i) * x.depth + begin, x.depth, 8, depth,
                          to + p * size + i);
}

// A block of the result: up to BLOCK rows in tiles, some panels. Added to what is there, or to bias.
static inline void multiply_block(const float *tiles, int64_t rows, const float *panels,
                                  int64_t columns, int64_t room, const float *bias, bool add,
                                  float *out, int64_t stride) {
  using K = Kind<float>;
  alignas(32) __m256 sums[BLOCK / ROWS][ROWS][2];
  for (int64_t column = 0; column < columns; column += COLUMNS) {
    const float *panel = panels + column * room;
    __m256 start[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    if (bias)
      for (int c = 0; c < 2; c++) start[c] = _mm256_loadu_ps(bias + column + 8 * c);
    for (int64_t row = 0; row < rows; row++)
      for (int c = 0; c < 2; c++)
        sums[row / ROWS][row % ROWS][c] =
            add ? _mm256_loadu_ps(out + row * stride + column + 8 * c) : start[c];
    for (int64_t k = 0; k < room; k += K::DEPTH)
      for (int64_t t = 0; t * ROWS < rows; t++)
        K::add(tiles + (t * room + k) * ROWS, panel + k * COLUMNS,
               least(room - k, K::DEPTH), sums[t][0]);
    for (int64_t row = 0; row < rows; row++)
      for (int c = 0; c < 2; c++)
        _mm256_storeu_ps(out + row * stride + column + 8 * c, sums[row / ROWS][row % ROWS][c]);
  }
}

// False for lack of memory.
static inline bool multiply_matrices(const MatrixProduct &x) {
  const int64_t tiles = (x.rows + ROWS - 1) / ROWS, panels = x.columns / COLUMNS;
  // The same for any number of threads, so that sums are too.
  const int64_t parts = (x.depth + MOST_DEPTH - 1) / MOST_DEPTH;
  const int64_t most = ((x.depth + parts - 1) / parts + 3) / 4 * 4;
  float *a = floats(tiles * ROWS * most), *b = floats(x.columns * most);
  if (a && b)
    for (int64_t begin = 0; begin < x.depth; begin += most) {
      const int64_t depth = least(x.depth - begin, most);
      const int64_t room = (depth + 3) / 4 * 4;
      const int64_t tasks_of_a = (tiles + PIECES - 1) / PIECES, tasks_of_b = (panels + PIECES - 1) / PIECES;
      parallel(x.threads, tasks_of_a + tasks_of_b, [&](Tasks &tasks) {
        for (int64_t task; (task = tasks.next()) >= 0;) {
          if (task < tasks_of_a) {
            for (int64_t t = task * PIECES; t < least(tiles, (task + 1) * PIECES); t++)
              pack_tile(x, t * ROWS, begin, depth, room, a + t * ROWS * room);
          } else {
            const int64_t first = (task - tasks_of_a) * PIECES;
            pack_panels(x, first * COLUMNS, least(PIECES, panels - first), begin, depth, room,
                        b + first * COLUMNS * room);
          }
        }
      });
      const int64_t blocks = (x.rows + BLOCK - 1) / BLOCK;
      const int64_t groups = (x.columns + COLUMN_GROUP - 1) / COLUMN_GROUP;
      parallel(x.threads, blocks * groups, [&](Tasks &tasks) {
        for (int64_t task; (task = tasks.next()) >= 0;) {
          const int64_t row = task / groups * BLOCK, column = task % groups * COLUMN_GROUP;
          multiply_block(a + row * room, least(x.rows - row, BLOCK), b + column * room,
                         least(x.columns - column, COLUMN_GROUP), room,
                         x.bias ? x.bias + column : nullptr, begin > 0,
                         x.out + row * x.columns + column, x.columns);
        }
      });
    }
  free(a);
  free(b);
  return a && b;
}
