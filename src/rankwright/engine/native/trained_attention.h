// Attention with dropout for training, forward and backward.
//
// Of the weights nothing is kept but the logarithm of every query's sum; the backward pass computes
// them again (T. Dao et al., "FlashAttention", 2022), and draws the same bytes for dropout again.
#pragma once
#include "attention.h"
#include "random.h"

// Pairs with queries, keys and values side by side in rows of 3 * heads * size numbers.
struct Attended {
  int64_t pairs, heads, size;
  const int64_t *starts, *lengths;  // of each pair, in rows
  Dropout drop;
  int32_t first_only;  // only first tokens ask, and a pair's row of results is its number
  int32_t threads;
};

struct Share {
  int64_t start, length, queries, first_row, stream;

  Share(const Attended &x, int64_t task) {
    const int64_t pair = task / x.heads;
    start = x.starts[pair];
    length = x.lengths[pair];
    queries = x.first_only ? 1 : length;
    first_row = x.first_only ? pair : start;
    stream = task << 24;
  }
};

// `what(key, c, mask)` for both halves of the sixteen weights of every key.
template <class Do>
static inline void for_weights(int64_t keys, const Dropout &drop, int64_t stream, Do what) {
  if (!drop.threshold) {
    const __m256 whole = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    for (int64_t k = 0; k < keys; k++)
      for (int c = 0; c < 2; c++) what(k, c, whole);
    return;
  }
  Random random(drop.seed, stream);
  for (int64_t k = 0; k < keys; k += 2) {
    const __m256i drawn = draw(random, drop);
    for (int c = 0; c < 2; c++) what(k, c, mask8(drawn, c));
    if (k + 1 < keys)
      for (int c = 0; c < 2; c++) what(k + 1, c, mask8(drawn, 2 + c));
  }
}

// One head of one pair. `sums` gets the logarithm of each query's sum, [rows][heads].
static inline void attend_dropping(const Attended &x, int64_t task, const float *qkv, float *out,
                                   float *sums, const AttentionRoom &room) {
  const Share s(x, task);
  const int64_t hidden = x.heads * x.size, stride = 3 * hidden, head = task % x.heads;
  const float *q = qkv + s.start * stride + head * x.size;
  attend({q, stride}, s.queries, {q + hidden, stride}, {q + 2 * hidden, stride}, s.length, x.size,
         out + s.first_row * hidden + head * x.size, hidden, room,
         [&](int64_t begin, int64_t count, float *weights, __m256 *total, __m256 *most) {
           alignas(32) float sum[QUERIES], top[QUERIES];
           for (int c = 0; c < 2; c++) {
             _mm256_store_ps(sum + 8 * c, total[c]);
             _mm256_store_ps(top + 8 * c, most[c]);
           }
           for (int64_t i = 0; i < count; i++)
             sums[(s.first_row + begin + i) * x.heads + head] = top[i] + logf(sum[i]);
           if (!x.drop.threshold) return x.drop.worth;
           for_weights(s.length, x.drop, s.stream + begin, [&](int64_t k, int c, __m256 mask) {
             float *at = weights + k * QUERIES + 8 * c;
             _mm256_store_ps(at, _mm256_and_ps(_mm256_load_ps(at), mask));
           });
           return x.drop.worth;
         });
}

// What one thread needs for the way back, for the longest pair.
struct BackwardRoom {
  float *keys, *values, *key_panels;           // [room][size], and keys in panels
  float *key_gradients, *value_gradients;      // in panels
  float *weights, *slopes;                     // [room + 16][16]: dropped weights, gradients of scores
  float *queries, *gradients;                  // as columns
  float *query_panels, *gradient_panels, *seen;

  static int64_t floats(int64_t longest, int64_t size) {
    const int64_t keys = key_room(longest), width = value_width(size);
    return keys * (2 * size + 3 * width) + 2 * (keys + QUERIES) * QUERIES + 2 * size * QUERIES +
           2 * width * QUERIES + 6 * QUERIES;
  }

  BackwardRoom(float *from, int64_t longest, int64_t size) {
    const int64_t room = key_room(longest), width = value_width(size);
    float **const parts[] = {&key_panels,    &key_gradients, &value_gradients, &query_panels,
                             &gradient_panels, &weights,     &slopes,          &seen,
                             &queries,       &gradients,     &keys,            &values};
    const int64_t sizes[] = {room * width,    room * width,
                             room * width,    width * QUERIES,
                             width * QUERIES, (room + QUERIES) * QUERIES,
                             (room + QUERIES) * QUERIES, 6 * QUERIES,
                             size * QUERIES,  size * QUERIES,
                             room * size,     room * size};
    for (int i = 0; i < 12; i++) {
      *parts[i] = from;
      from += sizes[i];
    }
  }
};

// Rows of a panelled gradient to where they belong, times `factor`.
static inline void unpanel(const float *panels, int64_t room, int64_t rows, int64_t size,
                           float factor, float *to, int64_t stride) {
  for (int64_t d = 0; d < size; d += 8) {
    const float *from = panels + d / 16 * 16 * room + d % 16;
    for (int64_t i = 0; i < rows; i++)
      _mm256_storeu_ps(to + i * stride + d,
                       _mm256_mul_ps(_mm256_loadu_ps(from + i * 16), all(factor)));
  }
}

// Gradients of one head of one pair: of queries, keys and values in rows like `qkv`'s. `out` and
// `sums` are what the way forward gave, `gradient` is that of `out`.
static inline void attend_back(const Attended &x, int64_t task, const float *qkv, const float *out,
                               const float *sums, const float *gradient, float *to,
                               const BackwardRoom &room) {
  const Share s(x, task);
  const int64_t hidden = x.heads * x.size, stride = 3 * hidden, head = task % x.heads;
  const int64_t all_keys = key_room(s.length), width = value_width(x.size);
  const float *q = qkv + s.start * stride + head * x.size, *k = q + hidden, *v = k + hidden;
  float *q_to = to + s.start * stride + head * x.size;
  const float scale = 1.0f / sqrtf((float)x.size);
  const __m256 worth = all(x.drop.worth);
  lay_side_by_side(k, stride, s.length, x.size, room.keys);
  lay_side_by_side(v, stride, s.length, x.size, room.values);
  lay_panels(k, stride, s.length, all_keys, x.size, room.key_panels);
  memset(room.key_gradients, 0, all_keys * width * sizeof(float));
  memset(room.value_gradients, 0, all_keys * width * sizeof(float));
  for (int64_t begin = 0; begin < s.queries; begin += QUERIES) {
    const int64_t count = s.queries - begin < QUERIES ? s.queries - begin : QUERIES;
    const float *ask = q + begin * stride;
    const float *given = gradient + (s.first_row + begin) * hidden + head * x.size;
    lay_columns(ask, stride, count, x.size, scale, room.queries);
    lay_columns(given, hidden, count, x.size, 1.0f, room.gradients);
    lay_panels(ask, stride, count, QUERIES, x.size, room.query_panels);
    lay_panels(given, hidden, count, QUERIES, x.size, room.gradient_panels);
    for (int64_t i = 0; i < s.length; i += 6) {
      score_tile(room.keys + i * x.size, x.size, room.queries, room.weights + i * QUERIES);
      score_tile(room.values + i * x.size, x.size, room.gradients, room.slopes + i * QUERIES);
    }
    // Of every query, the sum over its keys of weight times the weight's gradient: from results.
    alignas(32) float sum[QUERIES] = {}, product[QUERIES] = {};
    for (int64_t i = 0; i < count; i++) {
      const int64_t row = s.first_row + begin + i;
      const float *seen = out + row * hidden + head * x.size;
      __m256 total = _mm256_setzero_ps();
      for (int64_t d = 0; d < x.size; d += 8)
        total = _mm256_fmadd_ps(_mm256_loadu_ps(seen + d), _mm256_loadu_ps(given + i * hidden + d),
                                total);
      product[i] = sum8(total);
      sum[i] = sums[row * x.heads + head];
    }
    for_weights(s.length, x.drop, s.stream + begin, [&](int64_t key, int c, __m256 mask) {
      float *weight = room.weights + key * QUERIES + 8 * c;
      float *slope = room.slopes + key * QUERIES + 8 * c;
      const __m256 share =
          exp8(_mm256_sub_ps(_mm256_load_ps(weight), _mm256_load_ps(sum + 8 * c)));
      const __m256 kept = _mm256_and_ps(mask, worth);
      const __m256 change = _mm256_sub_ps(_mm256_mul_ps(_mm256_load_ps(slope), kept),
                                          _mm256_load_ps(product + 8 * c));
      _mm256_store_ps(weight, _mm256_mul_ps(share, kept));
      _mm256_store_ps(slope, _mm256_mul_ps(share, change));
    });
    const size_t beyond = (all_keys - s.length) * QUERIES * sizeof(float);
    memset(room.weights + s.length * QUERIES, 0, beyond);
    memset(room.slopes + s.length * QUERIES, 0, beyond);
    for (int64_t d = 0; d < x.size; d += 16) {
      for (int64_t i = 0; i < s.length; i += 6) {
        add_score_tile(room.slopes + i * QUERIES, QUERIES, room.query_panels + d * QUERIES,
                       room.key_gradients + d * all_keys + i * 16);
        add_score_tile(room.weights + i * QUERIES, QUERIES, room.gradient_panels + d * QUERIES,
                       room.value_gradients + d * all_keys + i * 16);
      }
      for (int64_t first = 0; first < count; first += 6) {
        seen_tile(room.slopes + first, room.key_panels + d * all_keys, all_keys, room.seen);
        const int64_t rows = count - first < 6 ? count - first : 6;
        unpanel(room.seen, 6, rows, x.size - d < 16 ? x.size - d : 16, scale,
                q_to + (begin + first) * stride + d, stride);
      }
    }
  }
  unpanel(room.key_gradients, all_keys, s.length, x.size, scale, q_to + hidden, stride);
  unpanel(room.value_gradients, all_keys, s.length, x.size, 1.0f, q_to + 2 * hidden, stride);
  if (x.first_only)
    for (int64_t i = 1; i < s.length; i++)
      memset(q_to + i * stride, 0, x.size * sizeof(float));
}
