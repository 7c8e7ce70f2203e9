// Attention of one query per head, where neither keys nor values are needed as such.
//
// A query's product with the key W x of a token is (W.T q) x, and a weighted sum of values V x is V
// times the weighted sum of x: two products per pair in place of two per token. A key's bias adds
// the same to all of a query's scores, so it makes no difference.
#pragma once
#include "attention.h"

struct FirstToken {
  const float *keys, *values;  // weights, [outputs][inputs]
  const float *bias;           // of values; or null
  int64_t hidden, heads;
};

// y += factor * x.
static inline void add_times(float *y, const float *x, float factor, int64_t width) {
  for (int64_t i = 0; i < width; i += 8)
    _mm256_storeu_ps(
        y + i, _mm256_fmadd_ps(_mm256_loadu_ps(x + i), all(factor), _mm256_loadu_ps(y + i)));
}

static inline float dot(const float *x, const float *y, int64_t width) {
  __m256 sum = _mm256_setzero_ps();
  for (int64_t i = 0; i < width; i += 8)
    sum = _mm256_fmadd_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i), sum);
  return sum8(sum);
}

// Query `q` and `tokens` rows of `x`, all [hidden], to `out`. `spare` has room for 32 rows; memory may
// be read (but not used) up to KEY_STEP rows beyond x.
static inline void attend_from_first(const FirstToken &f, const float *q, const float *x,
                                     int64_t tokens, float *out, const AttentionRoom &room,
                                     float *spare) {
  const int64_t size = f.hidden / f.heads, all_keys = key_room(tokens);
  const float scale = 1.0f / sqrtf((float)size);
  float *asked = spare, *columns = spare + QUERIES * f.hidden;
  // Sixteen heads go through at a time, as queries do elsewhere.
  for (int64_t begin = 0; begin < f.heads; begin += QUERIES) {
    const int64_t count = f.heads - begin < QUERIES ? f.heads - begin : QUERIES;
    memset(asked, 0, QUERIES * f.hidden * sizeof(float));
    for (int64_t h = 0; h < count; h++)
      for (int64_t d = (begin + h) * size; d < (begin + h + 1) * size; d++)
        add_times(asked + h * f.hidden, f.keys + d * f.hidden, q[d], f.hidden);
    lay_columns(asked, f.hidden, count, f.hidden, scale, columns);
    for (int64_t i = 0; i < tokens; i += 6)
      score_tile(x + i * f.hidden, f.hidden, columns, room.scores + i * QUERIES);
    __m256 total[2], most[2];
    weigh(room.scores, tokens, total, most);
    memset(room.scores + tokens * QUERIES, 0, (all_keys - tokens) * QUERIES * sizeof(float));
    for (int c = 0; c < 2; c++)
      _mm256_storeu_ps(room.totals + 8 * c, _mm256_div_ps(all(1.0f), total[c]));
    // The weighted sums of x take the place of what was asked.
    for (int64_t d = 0; d < f.hidden; d += 16) {
      lay_panels(x + d, f.hidden, tokens, all_keys, 16, room.values);
      for (int64_t first = 0; first < count; first += 6) {
        seen_tile(room.scores + first, room.values, all_keys, room.seen);
        for (int64_t r = 0; r < 6 && first + r < count; r++)
          memcpy(asked + (first + r) * f.hidden + d, room.seen + r * 16, 16 * sizeof(float));
      }
    }
    for (int64_t h = 0; h < count; h++)
      for (int64_t d = (begin + h) * size; d < (begin + h + 1) * size; d++)
        out[d] = dot(f.values + d * f.hidden, asked + h * f.hidden, f.hidden) * room.totals[h] +
                 (f.bias ? f.bias[d] : 0.0f);
  }
}
