// Products of two float32 matrices, neither of which is laid out beforehand: those of training.
//
// Both are copied into the tiles and panels of product.h, some hundred of the summed index at a time;
// then each thread takes blocks of the result. (K. Goto and R. van de Geijn, "Anatomy of
// high-performance matrix multiplication", 2008.)
#pragma once
#include "exported.h"
#include "parallel.h"
#include "product.h"

// A matrix with a number for every (line, depth): depth is summed over.
struct Operand {
  const float *at;
  int64_t stride;
  int32_t by_depth;  // whether the lines of one depth lie side by side, or the depths of one line

  const float *from(int64_t line, int64_t depth) const {
    return by_depth ? at + depth * stride + line : at + line * stride + depth;
  }
};

// out[row][column] = sum over depth of a[row][depth] * b[column][depth], and `bias[column]`.
struct MatrixProduct {
  Operand a, b;
  const float *bias;
  float *out;
  int64_t rows, columns, depth;  // columns are a multiple of COLUMNS
  int32_t threads;
};

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

constexpr int64_t MOST_DEPTH = 1536;   // at a time
constexpr int64_t COLUMN_GROUP = 384;  // of a block of the result
constexpr int64_t PIECES = 4;          // tiles or panels that are packed together

// Up to eight lines, each of which lies in one stretch, to `to`, [depth][width].
template <int width>
static inline void pack_lines(const Operand &x, int64_t line, int64_t lines, int64_t begin,
                              int64_t depth, float *to) {
  constexpr int most = width < 8 ? width : 8;
  int64_t k = 0;
  if (lines >= most)
    for (; k + 8 <= depth; k += 8) {
      __m256 r[8];
      for (int i = 0; i < 8; i++)
        r[i] = i < most ? _mm256_loadu_ps(x.from(line + i, begin + k)) : _mm256_setzero_ps();
      transpose8(r);
      for (int i = 0; i < 8; i++) memcpy(to + (k + i) * width, &r[i], most * sizeof(float));
    }
  for (; k < depth; k++)
    for (int64_t i = 0; i < most && i < lines; i++)
      to[k * width + i] = *x.from(line + i, begin + k);
}

// Lines in pieces of `width`, each [room][width]; zeros beyond the lines, and beyond `depth`. Several
// pieces at once: where the lines of a depth lie side by side, memory is read in longer stretches.
template <int width>
static inline void pack(const Operand &x, int64_t line, int64_t lines, int64_t pieces,
                        int64_t begin, int64_t depth, int64_t room, float *to) {
  const int64_t whole = lines - line < pieces * width ? (lines - line) / width : pieces;
  const int64_t size = room * width, left = lines - line - whole * width;
  for (int64_t p = 0; p < pieces; p++) {
    float *piece = to + p * size;
    if (p == whole) memset(piece, 0, size * sizeof(float));
    memset(piece + depth * width, 0, (room - depth) * width * sizeof(float));
  }
  if (x.by_depth) {
    for (int64_t k = 0; k < depth; k++) {
      const float *from = x.from(line, begin + k);
      for (int64_t p = 0; p < whole; p++)
        memcpy(to + p * size + k * width, from + p * width, width * sizeof(float));
      for (int64_t i = 0; whole < pieces && i < left; i++)
        to[whole * size + k * width + i] = from[whole * width + i];
    }
    return;
  }
  for (int64_t p = 0; p < pieces; p++) {
    const int64_t count = p < whole ? width : left;
    for (int64_t first = 0; first < count; first += 8)
      pack_lines<width>(x, line + p * width + first, count - first, begin, depth,
                        to + p * size + first);
  }
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
        for (int64_t task; (task = tasks.next()) >= 0;)
          if (task < tasks_of_a)
            pack<ROWS>(x.a, task * PIECES * ROWS, x.rows, least(PIECES, tiles - task * PIECES), begin, depth, room,
                       a + task * PIECES * ROWS * room);
          else
            pack<COLUMNS>(x.b, (task - tasks_of_a) * PIECES * COLUMNS, x.columns,
                          least(PIECES, panels - (task - tasks_of_a) * PIECES), begin, depth, room,
                          b + (task - tasks_of_a) * PIECES * COLUMNS * room);
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
