#include "train/vector_kernels.h"

#if !defined(__x86_64__) || !defined(__ELF__)
#define REDUCENET_CLONES
#elif defined(__clang__)
#define REDUCENET_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define REDUCENET_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif

#if defined(__clang__)
#define REDUCENET_VECTORIZE _Pragma("clang loop vectorize(assume_safety)")
#else
#define REDUCENET_VECTORIZE _Pragma("GCC ivdep")
#endif

namespace reducenet::train {

REDUCENET_CLONES void add(float* s, const float* x, size_t n) noexcept {
  REDUCENET_VECTORIZE
  for (size_t j = 0; j < n; ++j) s[j] += x[j];
}

REDUCENET_CLONES void add_deviations(float* s, float* t, const float* x, const float* mean, size_t n) noexcept {
  REDUCENET_VECTORIZE
  for (size_t j = 0; j < n; ++j) {
    const float deviation = x[j] - mean[j];
    s[j] += deviation;
    t[j] += deviation * deviation;
  }
}

REDUCENET_CLONES void add_products(float* t, const float* g, const float* x, const float* mean, size_t n) noexcept {
  REDUCENET_VECTORIZE
  for (size_t j = 0; j < n; ++j) t[j] += g[j] * (x[j] - mean[j]);
}

REDUCENET_CLONES void affine(float* y, const float* x, const float* a, const float* b, size_t n) noexcept {
  REDUCENET_VECTORIZE
  for (size_t j = 0; j < n; ++j) y[j] = a[j] * x[j] + b[j];
}

REDUCENET_CLONES void add_scaled(float* y, const float* x, const float* a, size_t n) noexcept {
  REDUCENET_VECTORIZE
  for (size_t j = 0; j < n; ++j) y[j] += a[j] * x[j];
}

REDUCENET_CLONES void leaky_relu(float* y, float slope, size_t n) noexcept {
  REDUCENET_VECTORIZE
  for (size_t j = 0; j < n; ++j) y[j] *= y[j] > 0 ? 1.0f : slope;
}

REDUCENET_CLONES void leaky_relu_gradient(float* g, const float* dy, const float* y, float slope, size_t n) noexcept {
  REDUCENET_VECTORIZE
  for (size_t j = 0; j < n; ++j) g[j] = dy[j] * (y[j] > 0 ? 1.0f : slope);
}

REDUCENET_CLONES void leaky_relu(float* y, const float* x, const float* slope, size_t n) noexcept {
  REDUCENET_VECTORIZE
  for (size_t j = 0; j < n; ++j) y[j] = x[j] * (x[j] > 0 ? 1.0f : slope[j]);
}

REDUCENET_CLONES void leaky_relu_gradient(float* dx, float* s, const float* dy, const float* x, const float* slope,
                                          size_t n) noexcept {
  REDUCENET_VECTORIZE
  for (size_t j = 0; j < n; ++j) {
    dx[j] = dy[j] * (x[j] > 0 ? 1.0f : slope[j]);
    s[j] += dy[j] * (x[j] > 0 ? 0.0f : x[j]);
  }
}

REDUCENET_CLONES void norm_gradient(float* dx, const float* g, const float* x, const float* a, const float* b,
                                    const float* c, const float* mean, size_t n) noexcept {
  REDUCENET_VECTORIZE
  for (size_t j = 0; j < n; ++j) dx[j] = a[j] * g[j] - b[j] * (x[j] - mean[j]) - c[j];
}

}  // namespace reducenet::train
