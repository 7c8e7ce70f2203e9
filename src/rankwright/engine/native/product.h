// Products of a few rows with a weight in panels, in float32 and in 16-bit integers.
//
// Six rows times sixteen columns is the largest tile whose sums stay in the sixteen registers of
// AVX2. In 16 bits an instruction multiplies twice as many numbers as in float32 and adds
// neighbours into 32 bits. The caller chose the weights' scales so that no sum can overflow.
#pragma once
#include <string.h>

#include "model.h"
#include "vector.h"

constexpr int ROWS = 6;
constexpr int COLUMNS = 16;
constexpr float LARGEST = 16383.0f;  // of a 16-bit input; `weights.py` has the same

// The innermost loops are assembly: compilers move loads and multiplications ahead of where they are
// needed, run out of registers and keep sums in memory, which costs a third of the speed.
//
// ymm0 to ymm11 hold the sums, row by row; ymm12 and ymm13 a unit of the panel's columns; ymm14 is
// a row's unit, ymm15 a product. Rows' units are given by their addresses, columns' by their
// distance in bytes from where %[b] points.
#define RW_ROW32(at, s0, s1)                       \
  "vbroadcastss " at ", %%ymm14\n\t"               \
  "vfmadd231ps %%ymm12, %%ymm14, %%ymm" s0 "\n\t" \
  "vfmadd231ps %%ymm13, %%ymm14, %%ymm" s1 "\n\t"
#define RW_ROW16(at, s0, s1)                      \
  "vpbroadcastd " at ", %%ymm14\n\t"              \
  "vpmaddwd %%ymm12, %%ymm14, %%ymm15\n\t"        \
  "vpaddd %%ymm15, %%ymm" s0 ", %%ymm" s0 "\n\t"  \
  "vpmaddwd %%ymm13, %%ymm14, %%ymm15\n\t"        \
  "vpaddd %%ymm15, %%ymm" s1 ", %%ymm" s1 "\n\t"
#define RW_STEP(ROW, b0, b1, a0, a1, a2, a3, a4, a5)                     \
  "vmovaps " b0 "(%[b]), %%ymm12\n\tvmovaps " b1 "(%[b]), %%ymm13\n\t" \
  ROW(a0, "0", "1") ROW(a1, "2", "3") ROW(a2, "4", "5")                  \
  ROW(a3, "6", "7") ROW(a4, "8", "9") ROW(a5, "10", "11")
// Six rows whose units lie side by side from the given distances on.
#define RW_SIDE_STEP(ROW, b0, b1, a0, a1, a2, a3, a4, a5)                     \
  RW_STEP(ROW, b0, b1, a0 "(%[a])", a1 "(%[a])", a2 "(%[a])", a3 "(%[a])", \
          a4 "(%[a])", a5 "(%[a])")
#define RW_SUMS(MOVE) \
  MOVE("0", "0") MOVE("32", "1") MOVE("64", "2") MOVE("96", "3") MOVE("128", "4") \
  MOVE("160", "5") MOVE("192", "6") MOVE("224", "7") MOVE("256", "8") MOVE("288", "9") \
  MOVE("320", "10") MOVE("352", "11")
#define RW_LOAD(at, s) "vmovaps " at "(%[s]), %%ymm" s "\n\t"
#define RW_STORE(at, s) "vmovaps %%ymm" s ", " at "(%[s])\n\t"
#define RW_ZERO(at, s) "vxorps %%ymm" s ", %%ymm" s ", %%ymm" s "\n\t"
#define RW_REGISTERS                                                                     \
  "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \
      "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define RW_TILE(ROW)                                                                 \
  asm volatile(RW_SUMS(RW_LOAD)                                                      \
               ".p2align 5\n1:\n\t"                                                  \
               RW_SIDE_STEP(ROW, "0", "32", "0", "4", "8", "12", "16", "20")         \
               RW_SIDE_STEP(ROW, "64", "96", "24", "28", "32", "36", "40", "44")     \
               RW_SIDE_STEP(ROW, "128", "160", "48", "52", "56", "60", "64", "68")   \
               RW_SIDE_STEP(ROW, "192", "224", "72", "76", "80", "84", "88", "92")   \
               "add $96, %[a]\n\tadd $256, %[b]\n\tsub $4, %[k]\n\tjnz 1b\n\t"        \
               RW_SUMS(RW_STORE)                                                     \
               : [a] "+r"(a), [b] "+r"(b), [k] "+r"(depth)                           \
               : [s] "r"(sums)                                                       \
               : RW_REGISTERS)

template <class Weight>
struct Kind;

// `add` adds `depth` units of a tile (unit after unit, six rows each) times a panel to the sums
// [rows][columns]; `depth` is a multiple of 4, and not 0.
template <>
struct Kind<float> {
  using Unit = float;
  static constexpr int PER_UNIT = 1;
  static constexpr int DEPTH = 384;  // inputs at a time: a panel's part stays in the first cache
  static inline void add(const Unit *a, const Unit *b, int64_t depth, __m256 *sums) {
    RW_TILE(RW_ROW32);
  }
  static inline __m256 real(__m256 s) { return s; }
};

template <>
struct Kind<int16_t> {
  using Unit = int32_t;  // two neighbours
  static constexpr int PER_UNIT = 2;
  static constexpr int DEPTH = 768;
  static inline void add(const Unit *a, const Unit *b, int64_t depth, __m256 *sums) {
    RW_TILE(RW_ROW16);
  }
  static inline __m256 real(__m256 s) { return _mm256_cvtepi32_ps(_mm256_castps_si256(s)); }
};

// Rows laid out for `add_tile`, tile after tile; the last one is filled up with zeros.
static inline void lay_rows(const float *x, int64_t stride, int64_t rows, int64_t inputs,
                            float *tiles, float *) {
  for (int64_t first = 0; first < rows; first += ROWS, tiles += ROWS * inputs)
    for (int r = 0; r < ROWS; r++)
      if (first + r < rows) {
        const float *row = x + (first + r) * stride;
        for (int64_t k = 0; k < inputs; k++) tiles[k * ROWS + r] = row[k];
      } else {
        for (int64_t k = 0; k < inputs; k++) tiles[k * ROWS + r] = 0;
      }
}

// The same in 16 bits. `scales` gets what a unit of each row stands for: its largest number / 16383.
static inline void lay_rows(const float *x, int64_t stride, int64_t rows, int64_t inputs,
                            int32_t *tiles, float *scales) {
  const int64_t units = inputs / 2;
  for (int64_t first = 0; first < rows; first += ROWS, tiles += ROWS * units)
    for (int r = 0; r < ROWS; r++) {
      if (first + r >= rows) {
        for (int64_t k = 0; k < units; k++) tiles[k * ROWS + r] = 0;
        continue;
      }
      const float *row = x + (first + r) * stride;
      const float largest = largest_of(row, inputs);
      scales[first + r] = largest / LARGEST;  // infinite or no number, if the row has any such
      const __m256 factor = all(largest > 0 ? LARGEST / largest : 0.0f);
      for (int64_t k = 0; k < inputs; k += 16) {
        const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(row + k), factor));
        const __m256i high =
            _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(row + k + 8), factor));
        alignas(32) int32_t pairs[8];
        // Packing works within halves of a register; the permutation puts them in order.
        _mm256_store_si256((__m256i *)pairs,
                           _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8));
        int32_t *to = tiles + k / 2 * ROWS + r;
        for (int i = 0; i < 8; i++) to[i * ROWS] = pairs[i];
      }
    }
}

template <int activation>
static inline __m256 activate(__m256 x) {
  if (activation == GELU) return gelu8(x);
  if (activation == GELU_TANH) return gelu_tanh8(x);
  if (activation == RELU) return _mm256_max_ps(_mm256_setzero_ps(), x);
  return x;
}

constexpr int64_t BLOCK = 48;  // rows at a time: what lies between two products stays in the caches

// activation(x @ W.T + b) for up to BLOCK rows and the outputs from `begin` to `end`.
//
// `tiles` has room for BLOCK rows of the inputs, laid out already by `lay_rows`.
template <class Weight, int activation>
static void multiply(const typename Kind<Weight>::Unit *tiles, const float *row_scales,
                     int64_t rows, const Product &w, int64_t begin, int64_t end, float *out,
                     int64_t stride) {
  using K = Kind<Weight>;
  const int64_t units = w.inputs / K::PER_UNIT, most = K::DEPTH / K::PER_UNIT;
  alignas(32) __m256 sums[BLOCK / ROWS][ROWS][2];
  for (int64_t column = begin; column < end; column += COLUMNS) {
    const auto *panel = (const typename K::Unit *)w.panels + column * units;
    memset((void *)sums, 0, sizeof sums);
    for (int64_t k = 0; k < units; k += most) {
      const int64_t depth = units - k < most ? units - k : most;
      for (int64_t t = 0; t * ROWS < rows; t++)
        K::add(tiles + (t * units + k) * ROWS, panel + k * COLUMNS, depth, sums[t][0]);
    }
    for (int c = 0; c < 2; c++) {
      const int64_t from = column + 8 * c;
      const __m256 bias = w.bias ? _mm256_loadu_ps(w.bias + from) : _mm256_setzero_ps();
      const __m256 scale = w.scales ? _mm256_loadu_ps(w.scales + from) : all(1.0f);
      for (int64_t row = 0; row < rows; row++) {
        __m256 y = K::real(sums[row / ROWS][row % ROWS][c]);
        if (K::PER_UNIT == 2) y = _mm256_mul_ps(y, _mm256_mul_ps(scale, all(row_scales[row])));
        _mm256_storeu_ps(out + row * stride + from, activate<activation>(_mm256_add_ps(y, bias)));
      }
    }
  }
}
