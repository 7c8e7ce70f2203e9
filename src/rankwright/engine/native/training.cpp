// Operations of training that PyTorch has only as several: attention with dropout, residual with
// dropout and normalisation, activations. Results do not depend on the number of threads.
#include "exported.h"
#include "gemm.h"
#include "parallel.h"
#include "product.h"
#include "trained_attention.h"
#include "trained_rows.h"

Team team = nullptr;

namespace {

int64_t longest_of(const Attended &x) {
  int64_t longest = 0;
  for (int64_t i = 0; i < x.pairs; i++)
    if (x.lengths[i] > longest) longest = x.lengths[i];
  return longest;
}

// `what(task, memory)` for every head of every pair, each thread with memory of its own. 0, or 1 for
// lack of memory.
template <class Do>
int32_t for_heads(const Attended &x, int64_t memory, const Do &what) {
  return !parallel(x.threads, x.pairs * x.heads, [&](Tasks &tasks) {
    float *own = floats(memory);
    if (!own) return;
    for (int64_t task; (task = tasks.next()) >= 0;) what(task, own);
    free(own);
  });
}

// `what(begin, end)` for pieces of `size`.
template <class Do>
void for_pieces(int64_t count, int64_t size, int64_t threads, const Do &what) {
  parallel(threads, (count + size - 1) / size, [&](Tasks &tasks) {
    for (int64_t task; (task = tasks.next()) >= 0;) {
      const int64_t begin = task * size;
      what(begin, begin + size < count ? begin + size : count);
    }
  });
}

// `of(i)` for every eighth number.
template <class Of>
void by_eight(int64_t count, int64_t threads, const Of &of) {
  for_pieces(count, 1 << 14, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += 8) of(i);
  });
}

template <int activation>
void activate_all(const float *x, float *out, int64_t count, int64_t threads) {
  by_eight(count, threads, [&](int64_t i) {
    _mm256_storeu_ps(out + i, activate<activation>(_mm256_loadu_ps(x + i)));
  });
}

template <int activation>
void activate_all_back(const float *x, const float *gradient, float *out, int64_t count,
                       int64_t threads) {
  by_eight(count, threads, [&](int64_t i) {
    const __m256 g = _mm256_loadu_ps(gradient + i);
    _mm256_storeu_ps(out + i, _mm256_mul_ps(slope<activation>(_mm256_loadu_ps(x + i)), g));
  });
}

}  // namespace

EXPORTED void rw_use_team(Team given) { team = given; }

EXPORTED int32_t rw_attend(const Attended *x, const float *qkv, float *out, float *sums) {
  const int64_t longest = longest_of(*x);
  return for_heads(*x, attention_floats(longest, x->size), [&](int64_t task, float *memory) {
    attend_dropping(*x, task, qkv, out, sums, attention_room(memory, longest, x->size));
  });
}

EXPORTED int32_t rw_attend_back(const Attended *x, const float *qkv, const float *out,
                                const float *sums, const float *gradient, float *to) {
  const int64_t longest = longest_of(*x);
  return for_heads(*x, BackwardRoom::floats(longest, x->size), [&](int64_t task, float *memory) {
    attend_back(*x, task, qkv, out, sums, gradient, to, BackwardRoom(memory, longest, x->size));
  });
}

EXPORTED void rw_add_norm(const Normed *x, const float *a, const float *b, float *kept,
                          float *scales, float *out) {
  for_pieces(x->rows, 16, x->threads, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
      const int64_t at = row * x->width;
      add_norm_row(*x, row, a + at, b + at, kept + at, scales + row, out + at);
    }
  });
}

// `sums` is [pieces][2][width] of zeros, of `piece` rows each: gradients of weight and bias.
EXPORTED void rw_add_norm_back(const Normed *x, const float *kept, const float *scales,
                               const float *gradient, float *a, float *b, float *sums,
                               int64_t piece) {
  for_pieces(x->rows, piece, x->threads, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
      const int64_t at = row * x->width;
      add_norm_row_back(*x, row, kept + at, scales[row], gradient + at, a + at,
                        b ? b + at : nullptr, sums + begin / piece * 2 * x->width);
    }
  });
}

// `count` is a multiple of 8.
EXPORTED void rw_activate(int32_t activation, const float *x, float *out, int64_t count,
                          int32_t threads) {
  switch (activation) {
    case GELU: return activate_all<GELU>(x, out, count, threads);
    case GELU_TANH: return activate_all<GELU_TANH>(x, out, count, threads);
    default: return activate_all<RELU>(x, out, count, threads);
  }
}

// out = gradient * slope at x.
EXPORTED void rw_activate_back(int32_t activation, const float *x, const float *gradient,
                               float *out, int64_t count, int32_t threads) {
  switch (activation) {
    case GELU: return activate_all_back<GELU>(x, gradient, out, count, threads);
    case GELU_TANH: return activate_all_back<GELU_TANH>(x, gradient, out, count, threads);
    default: return activate_all_back<RELU>(x, gradient, out, count, threads);
  }
}

// 0, or 1 for lack of memory.
EXPORTED int32_t rw_multiply(const MatrixProduct *x) { return !multiply_matrices(*x); }
