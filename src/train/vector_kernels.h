#pragma once

#include <cstddef>

// Element-wise loops over n floats, for j < n. Arrays do not overlap unless they are the same argument.
// Compiled for several instruction sets; the loader picks one.

namespace reducenet::train {

/// s[j] += x[j]
void add(float* s, const float* x, size_t n) noexcept;
/// s[j] += x[j] − mean[j],  t[j] += (x[j] − mean[j])²
void add_deviations(float* s, float* t, const float* x, const float* mean, size_t n) noexcept;
/// t[j] += g[j]·(x[j] − mean[j])
void add_products(float* t, const float* g, const float* x, const float* mean, size_t n) noexcept;
/// y[j] = a[j]·x[j] + b[j]
void affine(float* y, const float* x, const float* a, const float* b, size_t n) noexcept;
/// y[j] += a[j]·x[j]
void add_scaled(float* y, const float* x, const float* a, size_t n) noexcept;
/// y[j] = y[j] > 0 ? y[j] : slope·y[j]
void leaky_relu(float* y, float slope, size_t n) noexcept;
/// g[j] = y[j] > 0 ? dy[j] : slope·dy[j]; g may be dy
void leaky_relu_gradient(float* g, const float* dy, const float* y, float slope, size_t n) noexcept;
/// y[j] = x[j] > 0 ? x[j] : slope[j]·x[j]
void leaky_relu(float* y, const float* x, const float* slope, size_t n) noexcept;
/// dx[j] = x[j] > 0 ? dy[j] : slope[j]·dy[j],  s[j] += x[j] > 0 ? 0 : x[j]·dy[j]
void leaky_relu_gradient(float* dx, float* s, const float* dy, const float* x, const float* slope, size_t n) noexcept;
/// dx[j] = a[j]·g[j] − b[j]·(x[j] − mean[j]) − c[j]
void norm_gradient(float* dx, const float* g, const float* x, const float* a, const float* b, const float* c,
                   const float* mean, size_t n) noexcept;

}  // namespace reducenet::train
