// Elementwise functions on eight floats at a time (AVX2 and FMA).
#pragma once
#include <immintrin.h>
#include <stdint.h>

static inline __m256 all(float value) { return _mm256_set1_ps(value); }

// A value that is no number must stay one on its way to the scores, where it is refused. The
// instructions for minimum and maximum return their second operand then, so the value comes second.

// e**x to about 1 unit in the last place; below -87.3 the smallest normal number, not 0.
static inline __m256 exp8(__m256 x) {
  x = _mm256_min_ps(all(88.3f), _mm256_max_ps(all(-87.3f), x));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, all(1.44269504f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  // ln 2 in two parts, so that the difference is exact to float32's last bit.
  __m256 r = _mm256_fnmadd_ps(n, all(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, all(-2.12194440e-4f), r);
  __m256 p = all(1.9875691500e-4f);
  p = _mm256_fmadd_ps(p, r, all(1.3981999507e-3f));
  p = _mm256_fmadd_ps(p, r, all(8.3334519073e-3f));
  p = _mm256_fmadd_ps(p, r, all(4.1665795894e-2f));
  p = _mm256_fmadd_ps(p, r, all(1.6666665459e-1f));
  p = _mm256_fmadd_ps(p, r, all(5.0000001201e-1f));
  p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), _mm256_add_ps(r, all(1.0f)));
  const __m256i power = _mm256_slli_epi32(
      _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
}

// The error function of x / sqrt(2), as a quotient of polynomials (Remez) within 1e-7 of the true one;
// beyond 4 it is 1 in float32.
static inline __m256 erf8(__m256 x) {
  const __m256 z =
      _mm256_min_ps(all(4.0f), _mm256_max_ps(all(-4.0f), _mm256_mul_ps(x, all(0.70710678f))));
  const __m256 s = _mm256_mul_ps(z, z);
  __m256 p = all(-2.72614225801306e-10f);
  p = _mm256_fmadd_ps(p, s, all(2.77068142495902e-08f));
  p = _mm256_fmadd_ps(p, s, all(-2.10102402082508e-06f));
  p = _mm256_fmadd_ps(p, s, all(-5.69250639462346e-05f));
  p = _mm256_fmadd_ps(p, s, all(-7.34990630326855e-04f));
  p = _mm256_fmadd_ps(p, s, all(-2.95459980854025e-03f));
  p = _mm256_fmadd_ps(p, s, all(-1.60960333262415e-02f));
  __m256 q = all(-1.45660718464996e-05f);
  q = _mm256_fmadd_ps(q, s, all(-2.13374055278905e-04f));
  q = _mm256_fmadd_ps(q, s, all(-1.68282697438203e-03f));
  q = _mm256_fmadd_ps(q, s, all(-7.37332916720468e-03f));
  q = _mm256_fmadd_ps(q, s, all(-1.42647390514189e-02f));
  return _mm256_div_ps(_mm256_mul_ps(z, p), q);
}

// Phi(x), the normal distribution.
static inline __m256 normal8(__m256 x) { return _mm256_fmadd_ps(erf8(x), all(0.5f), all(0.5f)); }

// x * Phi(x).
static inline __m256 gelu8(__m256 x) {
  const __m256 half = _mm256_mul_ps(x, all(0.5f));
  return _mm256_fmadd_ps(half, erf8(x), half);
}

// x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x**3))) / 2, written with the logistic function.
static inline __m256 gelu_tanh8(__m256 x) {
  const __m256 cube = _mm256_mul_ps(_mm256_mul_ps(x, x), x);
  const __m256 inner = _mm256_fmadd_ps(cube, all(0.044715f), x);
  const __m256 e = exp8(_mm256_mul_ps(inner, all(-1.59576912f)));
  return _mm256_div_ps(x, _mm256_add_ps(all(1.0f), e));
}

static inline float sum8(__m256 x) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// The largest magnitude of a row. Magnitudes are ordered as integers too, with what is no number
// above all others.
static inline float largest_of(const float *row, int64_t width) {
  const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
  __m256i most = _mm256_setzero_si256();
  for (int64_t i = 0; i < width; i += 8)
    most = _mm256_max_epi32(
        most, _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(row + i)), magnitude));
  __m128i s = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
  s = _mm_max_epi32(s, _mm_shuffle_epi32(s, 0x4E));
  s = _mm_max_epi32(s, _mm_shuffle_epi32(s, 0xB1));
  return _mm_cvtss_f32(_mm_castsi128_ps(s));
}

// Eight rows of eight numbers to eight columns.
static inline void transpose8(__m256 r[8]) {
  __m256 t[8], u[8];
  for (int i = 0; i < 4; i++) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
    u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
  }
  for (int i = 0; i < 4; i++) {
    r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
    r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
  }
}
