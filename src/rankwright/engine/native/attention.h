// Attention of one head of one pair, in float32.
//
// Sixteen queries go through at a time, as columns: scores lie as [keys][16], so that the softmax
// needs no sums across a register, and the product with the values broadcasts them from there.
#pragma once
#include <math.h>
#include <string.h>

#include "product.h"

constexpr int QUERIES = 16;
constexpr int KEY_STEP = 12;  // room for keys is a multiple of this: of six rows and of four steps

// A step for six keys that lie `far` bytes apart, with %[a] at the first and %[c] at the fourth.
#define RW_SCORE_STEP(at, b0, b1)                                                     \
  RW_STEP(RW_ROW32, b0, b1, at "(%[a])", at "(%[a],%[far])", at "(%[a],%[far],2)",    \
          at "(%[c])", at "(%[c],%[far])", at "(%[c],%[far],2)")

// Six rows of `size` numbers times [size][16], sums beginning with zero or with what is there.
#define RW_SCORE_TILE(BEGIN)                                                                  \
  asm volatile(RW_SUMS(BEGIN)                                                                 \
               ".p2align 5\n1:\n\t"                                                           \
               RW_SCORE_STEP("0", "0", "32") RW_SCORE_STEP("4", "64", "96")                   \
               RW_SCORE_STEP("8", "128", "160") RW_SCORE_STEP("12", "192", "224")             \
               "add $16, %[a]\n\tadd $16, %[c]\n\tadd $256, %[b]\n\tsub $4, %[k]\n\tjnz 1b\n\t" \
               RW_SUMS(RW_STORE)                                                              \
               : [a] "+r"(a), [c] "+r"(c), [b] "+r"(b), [k] "+r"(depth)                       \
               : [far] "r"(size * sizeof(float)), [s] "r"(out)                                \
               : RW_REGISTERS)

// Six keys of `size` numbers times sixteen queries: out[6][16].
static inline void score_tile(const float *a, int64_t size, const float *b, float *out) {
  const float *c = a + 3 * size;
  int64_t depth = size;
  RW_SCORE_TILE(RW_ZERO);
}

// The same, added to `out`.
static inline void add_score_tile(const float *a, int64_t size, const float *b, float *out) {
  const float *c = a + 3 * size;
  int64_t depth = size;
  RW_SCORE_TILE(RW_LOAD);
}

// Weights of six queries, as [keys][16], times sixteen numbers of the values: out[6][16].
static inline void seen_tile(const float *a, const float *b, int64_t keys, float *out) {
  asm volatile(RW_SUMS(RW_ZERO)
               ".p2align 5\n1:\n\t"
               RW_SIDE_STEP(RW_ROW32, "0", "32", "0", "4", "8", "12", "16", "20")
               RW_SIDE_STEP(RW_ROW32, "64", "96", "64", "68", "72", "76", "80", "84")
               RW_SIDE_STEP(RW_ROW32, "128", "160", "128", "132", "136", "140", "144", "148")
               RW_SIDE_STEP(RW_ROW32, "192", "224", "192", "196", "200", "204", "208", "212")
               "add $256, %[a]\n\tadd $256, %[b]\n\tsub $4, %[k]\n\tjnz 1b\n\t"
               RW_SUMS(RW_STORE)
               : [a] "+r"(a), [b] "+r"(b), [k] "+r"(keys)
               : [s] "r"(out)
               : RW_REGISTERS);
}

// What one thread needs for the longest pair: keys and values of a head, scores, queries, output.
struct AttentionRoom {
  float *keys, *values, *scores, *queries, *seen, *totals;
};

static inline int64_t key_room(int64_t keys) {
  return (keys + KEY_STEP - 1) / KEY_STEP * KEY_STEP;
}

static inline int64_t value_width(int64_t size) { return (size + 15) / 16 * 16; }

static inline int64_t attention_floats(int64_t longest, int64_t size) {
  const int64_t keys = key_room(longest);
  // Tiles of six reach two beyond sixteen queries.
  return keys * (size + value_width(size) + QUERIES) + QUERIES + size * QUERIES +
         6 * QUERIES + QUERIES;
}

static inline AttentionRoom attention_room(float *from, int64_t longest, int64_t size) {
  const int64_t keys = key_room(longest);
  AttentionRoom room;
  room.scores = from;
  room.queries = room.scores + keys * QUERIES + QUERIES;
  room.seen = room.queries + size * QUERIES;
  room.totals = room.seen + 6 * QUERIES;
  room.values = room.totals + QUERIES;
  room.keys = room.values + keys * value_width(size);
  return room;
}

// Scores to weights that are not divided by their sum yet; the sum is returned in `total`, what was
// taken from the scores in `most`.
static inline void weigh(float *scores, int64_t keys, __m256 total[2], __m256 most[2]) {
  most[0] = most[1] = all(-INFINITY);
  for (int64_t k = 0; k < keys; k++)
    for (int c = 0; c < 2; c++)
      most[c] = _mm256_max_ps(most[c], _mm256_load_ps(scores + k * QUERIES + 8 * c));
  total[0] = total[1] = _mm256_setzero_ps();
  for (int64_t k = 0; k < keys; k++)
    for (int c = 0; c < 2; c++) {
      float *at = scores + k * QUERIES + 8 * c;
      const __m256 e = exp8(_mm256_sub_ps(_mm256_load_ps(at), most[c]));
      _mm256_store_ps(at, e);
      total[c] = _mm256_add_ps(total[c], e);
    }
}

// Up to sixteen rows as columns, [size][16], times `factor`.
static inline void lay_columns(const float *q, int64_t stride, int64_t count, int64_t size,
                               float factor, float *columns) {
  const __m256 scale = all(factor);
  for (int64_t d = 0; d < size; d += 8)
    for (int half = 0; half < 2; half++) {
      __m256 r[8];
      for (int i = 0; i < 8; i++) {
        const int64_t query = half * 8 + i;
        r[i] = query < count ? _mm256_mul_ps(_mm256_loadu_ps(q + query * stride + d), scale)
                             : _mm256_setzero_ps();
      }
      transpose8(r);
      for (int i = 0; i < 8; i++) _mm256_store_ps(columns + (d + i) * QUERIES + half * 8, r[i]);
    }
}

// Rows as they are, [keys][size]; what lies beyond, up to `key_room`, is zero. Copied, because rows
// that lie a multiple of the cache's size apart would push each other out.
static inline void lay_side_by_side(const float *x, int64_t stride, int64_t keys, int64_t size,
                                    float *to) {
  for (int64_t i = 0; i < keys; i++) memcpy(to + i * size, x + i * stride, size * sizeof(float));
  memset(to + keys * size, 0, (key_room(keys) - keys) * size * sizeof(float));
}

// Rows in panels of sixteen numbers, [panel][room][16]; what lies beyond the rows is zero.
static inline void lay_panels(const float *x, int64_t stride, int64_t rows, int64_t room,
                              int64_t size, float *to) {
  for (int64_t d = 0; d < size; d += 16) {
    float *panel = to + d * room;
    const int64_t width = size - d < 16 ? size - d : 16;
    if (width < 16) memset(panel, 0, room * 16 * sizeof(float));
    for (int64_t i = 0; i < rows; i++)
      memcpy(panel + i * 16, x + i * stride + d, width * sizeof(float));
    memset(panel + rows * 16, 0, (room - rows) * 16 * sizeof(float));
  }
}

// Rows of states: where the first one's part for a head begins, and how far apart they lie.
struct Rows {
  const float *at;
  int64_t stride;

  Rows from(int64_t row) const { return {at + row * stride, stride}; }
};

// One head of one pair: `queries` rows of q, `keys` rows of k and v, to `queries` rows of out.
//
// `change(begin, count, weights, total, most)` may change the weights of the queries from `begin` on before
// they are applied, and gives what results are multiplied by beside one over the total.
template <class Change>
static inline void attend(Rows q, int64_t queries, Rows k, Rows v, int64_t keys, int64_t size,
                          float *out, int64_t out_stride, const AttentionRoom &room,
                          Change change) {
  const int64_t all_keys = key_room(keys);
  lay_side_by_side(k.at, k.stride, keys, size, room.keys);
  lay_panels(v.at, v.stride, keys, all_keys, size, room.values);
  for (int64_t begin = 0; begin < queries; begin += QUERIES) {
    const int64_t count = queries - begin < QUERIES ? queries - begin : QUERIES;
    lay_columns(q.from(begin).at, q.stride, count, size, 1.0f / sqrtf((float)size), room.queries);
    for (int64_t i = 0; i < keys; i += 6)
      score_tile(room.keys + i * size, size, room.queries, room.scores + i * QUERIES);
    __m256 total[2], most[2];
    weigh(room.scores, keys, total, most);
    const __m256 worth = all(change(begin, count, room.scores, total, most));
    memset(room.scores + keys * QUERIES, 0, (all_keys - keys) * QUERIES * sizeof(float));
    for (int c = 0; c < 2; c++)
      _mm256_storeu_ps(room.totals + 8 * c, _mm256_div_ps(worth, total[c]));
    for (int64_t first = 0; first < count; first += 6)
      for (int64_t d = 0; d < size; d += 16) {
        seen_tile(room.scores + first, room.values + d * all_keys, all_keys, room.seen);
        for (int64_t r = 0; r < 6 && first + r < count; r++) {
          float *to = out + (begin + first + r) * out_stride + d;
          const __m256 share = _mm256_broadcast_ss(room.totals + first + r);
          const float *from = room.seen + r * 16;
          _mm256_storeu_ps(to, _mm256_mul_ps(_mm256_load_ps(from), share));
          if (d + 8 < size) _mm256_storeu_ps(to + 8, _mm256_mul_ps(_mm256_load_ps(from + 8), share));
        }
      }
  }
}
