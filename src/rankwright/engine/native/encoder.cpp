// The forward pass of a post-norm encoder (BERT and its relatives) on AVX2.
//
// A thread takes a few whole pairs at a time through all layers, so that threads never wait for
// each other within a layer, and what lies between two products stays in a core's own caches.
// There is no C++ run-time library in here, so that the result depends on the C library alone.
#include "attention.h"
#include "exported.h"
#include "first_token.h"
#include "parallel.h"
#include "product.h"

namespace {

constexpr int64_t MOST_TOKENS = 384;  // of one piece of work, unless a pair is longer
constexpr int64_t FEWEST_TOKENS = 96;

struct Piece {
  int64_t first_pair, pairs, first_token, tokens;
};

struct Work {
  const Model *model;
  const Batch *batch;
  const Piece *pieces;
  int64_t count, longest, largest;  // pieces; tokens of the longest pair and of the largest piece
  float *out;
};

// What one thread needs.
struct Room {
  float *hidden, *qkv, *seen, *first, *inner, *product, *scales, *attention;
  void *tiles;

  bool make(const Model &m, int64_t tokens, int64_t pairs, int64_t longest) {
    const int64_t widest = m.inner > m.hidden ? m.inner : m.hidden;
    hidden = floats((tokens + KEY_STEP) * m.hidden);  // tiles reach beyond the last token
    qkv = floats(tokens * 3 * m.hidden);
    seen = floats(tokens * m.hidden);
    first = floats(pairs * m.hidden);
    inner = floats(BLOCK * m.inner > 2 * QUERIES * m.hidden ? BLOCK * m.inner
                                                            : 2 * QUERIES * m.hidden);
    product = floats(BLOCK * m.hidden);
    scales = floats(BLOCK);
    attention = floats(attention_floats(longest, m.hidden / m.heads));
    tiles = floats(BLOCK * widest);
    return hidden && qkv && seen && first && inner && product && scales && attention && tiles;
  }

  void give_back() {
    void *const parts[] = {hidden,  qkv,    seen,      first, inner,
                           product, scales, attention, tiles};
    for (void *part : parts) free(part);
  }
};

// Rows of the next block: about as many in each, and full tiles but for the last.
int64_t block_rows(int64_t rows) {
  const int64_t blocks = (rows + BLOCK - 1) / BLOCK;
  const int64_t even = (rows + blocks - 1) / blocks;
  return (even + ROWS - 1) / ROWS * ROWS;
}

// Adds `b` to `a` and normalises the sum, in place.
void add_norm(float *a, const float *b, int64_t width, const Norm &norm) {
  __m256 sum = _mm256_setzero_ps();
  for (int64_t i = 0; i < width; i += 8) {
    __m256 x = _mm256_loadu_ps(a + i);
    if (b) x = _mm256_add_ps(x, _mm256_loadu_ps(b + i));
    _mm256_storeu_ps(a + i, x);
    sum = _mm256_add_ps(sum, x);
  }
  const __m256 mean = all(sum8(sum) / (float)width);
  __m256 squares = _mm256_setzero_ps();
  for (int64_t i = 0; i < width; i += 8) {
    const __m256 x = _mm256_sub_ps(_mm256_loadu_ps(a + i), mean);
    squares = _mm256_fmadd_ps(x, x, squares);
  }
  const float variance = sum8(squares) / (float)width;
  const __m256 scale = all(1.0f / sqrtf(variance + (float)norm.epsilon));
  for (int64_t i = 0; i < width; i += 8) {
    const __m256 x = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(a + i), mean), scale);
    const __m256 bias = norm.bias ? _mm256_loadu_ps(norm.bias + i) : _mm256_setzero_ps();
    _mm256_storeu_ps(a + i, _mm256_fmadd_ps(x, _mm256_loadu_ps(norm.weight + i), bias));
  }
}

void embed(const Model &m, const Batch &batch, const Piece &piece, float *hidden) {
  for (int64_t t = 0; t < piece.tokens; t++, hidden += m.hidden) {
    const int64_t token = piece.first_token + t;
    const float *word = m.words + batch.ids[token] * m.hidden;
    const float *place = m.places + batch.positions[token] * m.hidden;
    const float *type =
        m.types ? m.types + (batch.types ? batch.types[token] : 0) * m.hidden : nullptr;
    for (int64_t i = 0; i < m.hidden; i += 8) {
      __m256 x = _mm256_add_ps(_mm256_loadu_ps(word + i), _mm256_loadu_ps(place + i));
      if (type) x = _mm256_add_ps(x, _mm256_loadu_ps(type + i));
      _mm256_storeu_ps(hidden + i, x);
    }
    add_norm(hidden, nullptr, m.hidden, m.norm);
  }
}

template <class Weight, int activation>
class Encoder {
  using Unit = typename Kind<Weight>::Unit;

 public:
  Encoder(const Model &model, const Batch &batch, Room &room, int64_t longest)
      : m(model),
        batch(batch),
        room(room),
        attention(attention_room(room.attention, longest, model.hidden / model.heads)) {}

  // All layers for the pairs of one piece of work; `out` is where the batch's results begin.
  void run(const Piece &piece, float *out) {
    embed(m, batch, piece, room.hidden);
    for (int64_t i = 0; i < m.layers; i++) layer(m.layer[i], piece, i == m.layers - 1);
    if (batch.first_only)
      memcpy(out + piece.first_pair * m.hidden, room.first,
             piece.pairs * m.hidden * sizeof(float));
    else
      memcpy(out + piece.first_token * m.hidden, room.hidden,
             piece.tokens * m.hidden * sizeof(float));
  }

 private:
  const Model &m;
  const Batch &batch;
  Room &room;
  const AttentionRoom attention;

  // activation(x @ W.T + b) for rows that lie side by side, and outputs from `begin` to `end`.
  template <int kind = NONE>
  void times(const Product &w, const float *x, int64_t rows, int64_t begin, int64_t end,
             float *out, int64_t stride) {
    Unit *tiles = (Unit *)room.tiles;
    lay_rows(x, w.inputs, rows, w.inputs, tiles, room.scales);
    multiply<Weight, kind>(tiles, room.scales, rows, w, begin, end, out, stride);
  }

  void layer(const Layer &l, const Piece &piece, bool last) {
    if (last && batch.first_only) {
      look_from_first(l, piece);
      finish(l, piece.pairs, room.first);
      return;
    }
    blocks(piece.tokens, [&](int64_t row, int64_t rows) {
      times(l.qkv, room.hidden + row * m.hidden, rows, 0, 3 * m.hidden,
            room.qkv + row * 3 * m.hidden, 3 * m.hidden);
    });
    look(piece);
    finish(l, piece.tokens, room.hidden);
  }

  void look(const Piece &piece) {
    const int64_t size = m.hidden / m.heads, stride = 3 * m.hidden;
    int64_t token = 0;
    for (int64_t p = 0; p < piece.pairs; p++) {
      const int64_t keys = batch.lengths[piece.first_pair + p];
      const float *q = room.qkv + token * stride, *k = q + m.hidden, *v = k + m.hidden;
      for (int64_t h = 0; h < m.heads; h++)
        attend({q + h * size, stride}, keys, {k + h * size, stride}, {v + h * size, stride}, keys,
               size, room.seen + token * m.hidden + h * size, m.hidden, attention,
               [](int64_t, int64_t, float *, __m256 *, __m256 *) { return 1.0f; });
      token += keys;
    }
  }

  // Attention where only first tokens ask: their states to `room.first`, what they see to
  // `room.seen`, a row per pair.
  void look_from_first(const Layer &l, const Piece &piece) {
    int64_t token = 0;
    for (int64_t p = 0; p < piece.pairs; token += batch.lengths[piece.first_pair + p++])
      memcpy(room.first + p * m.hidden, room.hidden + token * m.hidden,
             m.hidden * sizeof(float));
    blocks(piece.pairs, [&](int64_t row, int64_t rows) {
      times(l.qkv, room.first + row * m.hidden, rows, 0, m.hidden, room.qkv + row * m.hidden,
            m.hidden);
    });
    const FirstToken first = {l.keys, l.values, l.qkv.bias ? l.qkv.bias + 2 * m.hidden : nullptr,
                              m.hidden, m.heads};
    token = 0;
    for (int64_t p = 0; p < piece.pairs; token += batch.lengths[piece.first_pair + p++])
      attend_from_first(first, room.qkv + p * m.hidden, room.hidden + token * m.hidden,
                        batch.lengths[piece.first_pair + p], room.seen + p * m.hidden, attention,
                        room.inner);
  }

  // What follows attention, for rows of `room.seen`, into `hidden`, which has the residual.
  void finish(const Layer &l, int64_t count, float *hidden) {
    blocks(count, [&](int64_t row, int64_t rows) {
      float *here = hidden + row * m.hidden;
      times(l.out, room.seen + row * m.hidden, rows, 0, m.hidden, room.product, m.hidden);
      for (int64_t r = 0; r < rows; r++)
        add_norm(here + r * m.hidden, room.product + r * m.hidden, m.hidden, l.out_norm);
      times<activation>(l.up, here, rows, 0, m.inner, room.inner, m.inner);
      times(l.down, room.inner, rows, 0, m.hidden, room.product, m.hidden);
      for (int64_t r = 0; r < rows; r++)
        add_norm(here + r * m.hidden, room.product + r * m.hidden, m.hidden, l.down_norm);
    });
  }

  template <class Do>
  static void blocks(int64_t count, Do what) {
    const int64_t most = count ? block_rows(count) : 0;
    for (int64_t row = 0; row < count; row += most)
      what(row, count - row < most ? count - row : most);
  }
};

template <class Weight, int activation>
void drain(const Work &work, Room &room, Tasks &tasks) {
  Encoder<Weight, activation> encoder(*work.model, *work.batch, room, work.longest);
  for (int64_t i; (i = tasks.next()) >= 0;) encoder.run(work.pieces[i], work.out);
}

template <class Weight>
void by_activation(const Work &work, Room &room, Tasks &tasks) {
  switch (work.model->activation) {
    case GELU: return drain<Weight, GELU>(work, room, tasks);
    case GELU_TANH: return drain<Weight, GELU_TANH>(work, room, tasks);
    default: return drain<Weight, RELU>(work, room, tasks);
  }
}

// Pairs in order, in pieces of some hundred tokens; `pieces` has room for one per pair.
void cut(Work &work, Piece *pieces) {
  const Batch &batch = *work.batch;
  int64_t tokens = 0;
  for (int64_t p = 0; p < batch.pairs; p++) {
    tokens += batch.lengths[p];
    if (batch.lengths[p] > work.longest) work.longest = batch.lengths[p];
  }
  int64_t wanted = tokens / (4 * (batch.threads > 0 ? batch.threads : 1));
  wanted = wanted < FEWEST_TOKENS ? FEWEST_TOKENS : wanted > MOST_TOKENS ? MOST_TOKENS : wanted;
  Piece piece = {0, 0, 0, 0};
  for (int64_t p = 0; p < batch.pairs; p++) {
    if (piece.pairs && piece.tokens + batch.lengths[p] > wanted) {
      pieces[work.count++] = piece;
      piece = {p, 0, piece.first_token + piece.tokens, 0};
    }
    piece.pairs++;
    piece.tokens += batch.lengths[p];
    if (piece.tokens > work.largest) work.largest = piece.tokens;
  }
  if (piece.pairs) pieces[work.count++] = piece;
  work.pieces = pieces;
}

}  // namespace

// Increased whenever a structure of model.h or a function that is exported changes.
EXPORTED int32_t rw_version() { return 4; }

// Last hidden states: a row per pair (its first token's) or per token. 0, or 1 for lack of memory.
EXPORTED int32_t rw_encode(const Model *model, const Batch *batch, float *out) {
  Piece *pieces = (Piece *)malloc((batch->pairs > 0 ? batch->pairs : 1) * sizeof(Piece));
  if (!pieces) return 1;
  Work work = {model, batch, nullptr, 0, 0, 0, out};
  cut(work, pieces);
  const bool done = parallel(batch->threads, work.count, [&](Tasks &tasks) {
    Room room;
    if (room.make(*model, work.largest, work.largest, work.longest)) {
      if (model->bits == 16)
        by_activation<int16_t>(work, room, tasks);
      else
        by_activation<float>(work, room, tasks);
    }
    room.give_back();
  });
  free(pieces);
  return !done;
}
