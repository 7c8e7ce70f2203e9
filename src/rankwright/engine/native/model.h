// What the caller describes: the model and a batch. `library.py` has the same structures.
#pragma once
#include <stdint.h>

enum Activation : int32_t { GELU = 0, GELU_TANH = 1, RELU = 2, NONE = 3 };

// A linear layer. Its weight lies in panels of 16 outputs each: for float32 [inputs][16], for 16
// bits [inputs / 2][16][2]. `scales` is what a unit of an output's 16-bit weights stands for.
struct Product {
  const void *panels;
  const float *scales;
  const float *bias;
  int64_t inputs, outputs;
};

struct Norm {
  const float *weight, *bias;
  double epsilon;
};

struct Layer {
  Product qkv, out, up, down;
  const float *keys, *values;  // the last layer's weights of keys and values, [outputs][inputs]
  Norm out_norm, down_norm;
};

struct Model {
  int64_t hidden, inner, heads, layers;
  int32_t activation;
  int32_t bits;  // of a weight: 32 (float) or 16 (integer)
  const float *words, *places, *types;
  Norm norm;
  const Layer *layer;
};

struct Batch {
  int64_t pairs;
  const int64_t *lengths;
  const int64_t *ids, *positions, *types;
  int32_t first_only;
  int32_t threads;
};
