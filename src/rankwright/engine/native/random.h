// Dropout's random bytes: SFC64 (C. Doty-Humphrey, PractRand), four generators side by side.
#pragma once
#include <immintrin.h>
#include <stdint.h>

// What a caller wants dropped: bytes below `threshold` (0 for none); `worth` multiplies the rest.
struct Dropout {
  uint64_t seed;
  int32_t threshold;
  float worth;
};

// Bytes of one stream. The same seed and stream give the same bytes, on any thread.
struct Random {
  __m256i a, b, c, n;

  Random(uint64_t seed, uint64_t stream)
      : a(_mm256_set1_epi64x((long long)seed)),
        b(_mm256_set1_epi64x((long long)stream)),
        c(_mm256_setr_epi64x(1, 2, 3, 4)),
        n(_mm256_set1_epi64x(1)) {
    for (int i = 0; i < 12; i++) next();
  }

  __m256i next() {
    const __m256i result = _mm256_add_epi64(_mm256_add_epi64(a, b), n);
    n = _mm256_add_epi64(n, _mm256_set1_epi64x(1));
    a = _mm256_xor_si256(b, _mm256_srli_epi64(b, 11));
    b = _mm256_add_epi64(c, _mm256_slli_epi64(c, 3));
    c = _mm256_add_epi64(
        _mm256_or_si256(_mm256_slli_epi64(c, 24), _mm256_srli_epi64(c, 40)), result);
    return result;
  }
};

// For each of 32 numbers a byte of ones (kept) or zeros (dropped).
static inline __m256i draw(Random &random, const Dropout &drop) {
  const __m256i bytes = random.next(), threshold = _mm256_set1_epi8((char)drop.threshold);
  return _mm256_cmpeq_epi8(_mm256_max_epu8(bytes, threshold), bytes);
}

// The numbers 8 * part to 8 * part + 7 of what was drawn, as masks for floats.
static inline __m256 mask8(__m256i drawn, int part) {
  __m128i half = part & 2 ? _mm256_extracti128_si256(drawn, 1) : _mm256_castsi256_si128(drawn);
  if (part & 1) half = _mm_srli_si128(half, 8);
  return _mm256_castsi256_ps(_mm256_cvtepi8_epi32(half));
}
