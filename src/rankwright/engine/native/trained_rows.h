// What lies between products in training, row by row, forward and backward.
#pragma once
#include <math.h>

#include "model.h"
#include "random.h"
#include "vector.h"

// Rows of `width` numbers, side by side.
struct Normed {
  int64_t rows, width;
  Norm norm;
  Dropout drop;
  int32_t threads;
};

// `what(i, mask)` for every eight numbers of a row.
template <class Do>
static inline void for_numbers(const Normed &x, int64_t row, Do what) {
  if (!x.drop.threshold) {
    const __m256 whole = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    for (int64_t i = 0; i < x.width; i += 8) what(i, whole);
    return;
  }
  Random random(x.drop.seed, row);
  for (int64_t i = 0; i < x.width; i += 32) {
    const __m256i drawn = draw(random, x.drop);
    for (int part = 0; part < 4 && i + 8 * part < x.width; part++)
      what(i + 8 * part, mask8(drawn, part));
  }
}

// out = norm(a + dropped(b)). `kept` gets the normalised sum before weight and bias, `scale` one
// over the row's standard deviation.
static inline void add_norm_row(const Normed &x, int64_t row, const float *a, const float *b,
                                float *kept, float *scale, float *out) {
  const __m256 worth = all(x.drop.worth);
  __m256 sum = _mm256_setzero_ps();
  for_numbers(x, row, [&](int64_t i, __m256 mask) {
    const __m256 added = _mm256_and_ps(_mm256_loadu_ps(b + i), mask);
    const __m256 y = _mm256_fmadd_ps(added, worth, _mm256_loadu_ps(a + i));
    _mm256_storeu_ps(kept + i, y);
    sum = _mm256_add_ps(sum, y);
  });
  const __m256 mean = all(sum8(sum) / (float)x.width);
  __m256 squares = _mm256_setzero_ps();
  for (int64_t i = 0; i < x.width; i += 8) {
    const __m256 y = _mm256_sub_ps(_mm256_loadu_ps(kept + i), mean);
    squares = _mm256_fmadd_ps(y, y, squares);
  }
  *scale = 1.0f / sqrtf(sum8(squares) / (float)x.width + (float)x.norm.epsilon);
  for (int64_t i = 0; i < x.width; i += 8) {
    const __m256 y = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(kept + i), mean), all(*scale));
    const __m256 bias = x.norm.bias ? _mm256_loadu_ps(x.norm.bias + i) : _mm256_setzero_ps();
    _mm256_storeu_ps(kept + i, y);
    _mm256_storeu_ps(out + i, _mm256_fmadd_ps(y, _mm256_loadu_ps(x.norm.weight + i), bias));
  }
}

// Gradients of a and b from that of out; those of weight and bias are added to `sums`, [2][width].
static inline void add_norm_row_back(const Normed &x, int64_t row, const float *kept, float scale,
                                     const float *gradient, float *a, float *b, float *sums) {
  __m256 plain = _mm256_setzero_ps(), leaning = _mm256_setzero_ps();
  for (int64_t i = 0; i < x.width; i += 8) {
    const __m256 g = _mm256_loadu_ps(gradient + i), y = _mm256_loadu_ps(kept + i);
    float *weight = sums + i, *bias = sums + x.width + i;
    _mm256_storeu_ps(weight, _mm256_fmadd_ps(g, y, _mm256_loadu_ps(weight)));
    _mm256_storeu_ps(bias, _mm256_add_ps(g, _mm256_loadu_ps(bias)));
    const __m256 weighted = _mm256_mul_ps(g, _mm256_loadu_ps(x.norm.weight + i));
    plain = _mm256_add_ps(plain, weighted);
    leaning = _mm256_fmadd_ps(weighted, y, leaning);
  }
  const __m256 mean = all(sum8(plain) / (float)x.width);
  const __m256 lean = all(sum8(leaning) / (float)x.width);
  const __m256 worth = all(x.drop.worth);
  for_numbers(x, row, [&](int64_t i, __m256 mask) {
    const __m256 weighted =
        _mm256_mul_ps(_mm256_loadu_ps(gradient + i), _mm256_loadu_ps(x.norm.weight + i));
    __m256 slope = _mm256_sub_ps(weighted, mean);
    slope = _mm256_fnmadd_ps(_mm256_loadu_ps(kept + i), lean, slope);
    slope = _mm256_mul_ps(slope, all(scale));
    _mm256_storeu_ps(a + i, slope);
    if (b) _mm256_storeu_ps(b + i, _mm256_mul_ps(_mm256_and_ps(slope, mask), worth));
  });
}

// The slope of `activate<activation>` at x.
template <int activation>
static inline __m256 slope(__m256 x) {
  if (activation == GELU) {
    // Phi(x) + x * phi(x).
    const __m256 density = _mm256_mul_ps(
        all(0.39894228f), exp8(_mm256_mul_ps(all(-0.5f), _mm256_mul_ps(x, x))));
    return _mm256_fmadd_ps(x, density, normal8(x));
  }
  if (activation == GELU_TANH) {
    // x * s(u) with the logistic function s: s + x * s * (1 - s) * u'.
    const __m256 square = _mm256_mul_ps(x, x);
    const __m256 u = _mm256_mul_ps(x, _mm256_fmadd_ps(square, all(0.07135481f), all(1.59576912f)));
    const __m256 inner = _mm256_fmadd_ps(square, all(0.21406444f), all(1.59576912f));
    const __m256 e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), u));
    const __m256 s = _mm256_div_ps(all(1.0f), _mm256_add_ps(all(1.0f), e));
    const __m256 rest = _mm256_mul_ps(s, _mm256_sub_ps(all(1.0f), s));
    return _mm256_fmadd_ps(_mm256_mul_ps(x, rest), inner, s);
  }
  return _mm256_and_ps(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ), all(1.0f));
}
