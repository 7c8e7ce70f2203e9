// Attention of one head of one pair, in float32.
//
// Sixteen queries go through at a time, as columns: scores lie as [keys][16], so that the softmax
// needs no sums across a register, and the product with the values takes them as they are.
#pragma once
#include <math.h>
#include <string.h>

#include "vector.h"

constexpr int QUERIES = 16;

// out[r][0..16) = sum over k of a[r * row + k * step] * b[k][0..16), for `count` rows.
template <int count>
static inline void add_rows(const float *a, int64_t row, int64_t step, const float *b,
                            int64_t depth, float *out) {
  __m256 s[count][2];
#pragma GCC unroll 6
  for (int r = 0; r < count; r++) s[r][0] = s[r][1] = _mm256_setzero_ps();
  for (int64_t k = 0; k < depth; k++, b += QUERIES) {
    const __m256 b0 = _mm256_load_ps(b), b1 = _mm256_load_ps(b + 8);
#pragma GCC unroll 6
    for (int r = 0; r < count; r++) {
      const __m256 x = _mm256_broadcast_ss(a + r * row + k * step);
      s[r][0] = _mm256_fmadd_ps(x, b0, s[r][0]);
      s[r][1] = _mm256_fmadd_ps(x, b1, s[r][1]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < count; r++) {
    _mm256_store_ps(out + r * QUERIES, s[r][0]);
    _mm256_store_ps(out + r * QUERIES + 8, s[r][1]);
  }
}

static inline void all_rows(const float *a, int64_t rows, int64_t row, int64_t step,
                            const float *b, int64_t depth, float *out) {
  int64_t r = 0;
  for (; r + 6 <= rows; r += 6) add_rows<6>(a + r * row, row, step, b, depth, out + r * QUERIES);
  a += r * row;
  out += r * QUERIES;
  switch (rows - r) {
    case 1: add_rows<1>(a, row, step, b, depth, out); break;
    case 2: add_rows<2>(a, row, step, b, depth, out); break;
    case 3: add_rows<3>(a, row, step, b, depth, out); break;
    case 4: add_rows<4>(a, row, step, b, depth, out); break;
    case 5: add_rows<5>(a, row, step, b, depth, out); break;
    default: break;
  }
}

// What one thread needs for the longest pair: keys and values of a head, scores, queries, output.
struct AttentionRoom {
  float *keys, *values, *scores, *queries, *seen;
};

static inline int64_t attention_floats(int64_t longest, int64_t size) {
  return longest * (2 * size + QUERIES) + 2 * size * QUERIES;
}

static inline AttentionRoom attention_room(float *from, int64_t longest, int64_t size) {
  AttentionRoom room;
  room.keys = from;
  room.values = room.keys + longest * size;
  room.scores = room.values + longest * size;
  room.queries = room.scores + longest * QUERIES;
  room.seen = room.queries + size * QUERIES;
  return room;
}

// Scores to weights that are not divided by their sum yet; the sum is returned in `total`.
static inline void weigh(float *scores, int64_t keys, __m256 total[2]) {
  __m256 most[2] = {all(-INFINITY), all(-INFINITY)};
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

// Queries [begin, begin + count) of one head as columns, divided by sqrt(size).
static inline void lay_queries(const float *q, int64_t stride, int64_t count, int64_t size,
                               float *columns) {
  const __m256 scale = all(1.0f / sqrtf((float)size));
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

// One head of one pair: `queries` rows of q, `keys` rows of k and v, to `queries` rows of out.
static inline void attend(const float *q, int64_t queries, int64_t q_stride, const float *k,
                          const float *v, int64_t keys, int64_t stride, int64_t size, float *out,
                          int64_t out_stride, const AttentionRoom &room) {
  // Copied, because rows that lie a multiple of the cache's size apart would push each other out.
  for (int64_t i = 0; i < keys; i++) {
    memcpy(room.keys + i * size, k + i * stride, size * sizeof(float));
    memcpy(room.values + i * size, v + i * stride, size * sizeof(float));
  }
  for (int64_t begin = 0; begin < queries; begin += QUERIES) {
    const int64_t count = queries - begin < QUERIES ? queries - begin : QUERIES;
    lay_queries(q + begin * q_stride, q_stride, count, size, room.queries);
    all_rows(room.keys, keys, size, 1, room.queries, size, room.scores);
    __m256 total[2];
    weigh(room.scores, keys, total);
    all_rows(room.values, size, 1, size, room.scores, keys, room.seen);
    for (int half = 0; half < 2; half++) {
      const __m256 share = _mm256_div_ps(all(1.0f), total[half]);
      for (int64_t d = 0; d < size; d += 8) {
        __m256 r[8];
        for (int i = 0; i < 8; i++)
          r[i] = _mm256_mul_ps(_mm256_load_ps(room.seen + (d + i) * QUERIES + half * 8), share);
        transpose8(r);
        for (int i = 0; i < 8 && half * 8 + i < count; i++)
          _mm256_storeu_ps(out + (begin + half * 8 + i) * out_stride + d, r[i]);
      }
    }
  }
}
