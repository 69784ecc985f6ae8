#include "train/fused.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

#include "train/tiling.h"
#include "train/vector_kernels.h"

namespace reducenet::train {
namespace {

/// Per channel.
struct Statistics {
  Doubles mean, variance;  // biased
};

/// Corrected two-pass mean and squared deviations per chunk; chunks joined as in Chan, Golub and LeVeque 1979.
Statistics batch_statistics(const Tiling& tiling, const float* x) {
  const size_t channels = tiling.channels();
  Doubles means(tiling.chunks() * channels), squares(tiling.chunks() * channels);
  tiling.for_chunks([&](size_t chunk) {
    double *mean = &means[chunk * channels], *square = &squares[chunk * channels];
    Floats sum(tiling.tile()), sum_of_squares(tiling.tile());
    tiling.for_tiles(chunk, [&](size_t at, size_t n) { add(sum.data(), x + at, n); });
    tiling.fold(sum, mean);
    for (size_t c = 0; c < channels; ++c) mean[c] /= tiling.pixels(chunk);
    const Floats center = tiling.spread(mean);
    std::ranges::fill(sum, 0.0f);
    tiling.for_tiles(chunk, [&](size_t at, size_t n) {
      add_deviations(sum.data(), sum_of_squares.data(), x + at, center.data(), n);
    });
    Doubles residue(channels);
    tiling.fold(sum, residue.data());
    tiling.fold(sum_of_squares, square);
    for (size_t c = 0; c < channels; ++c) {
      mean[c] = static_cast<double>(center[c]) + residue[c] / tiling.pixels(chunk);
      square[c] -= residue[c] * residue[c] / tiling.pixels(chunk);
    }
  });
  Statistics joined{Doubles(channels), Doubles(channels)};
  double count = 0;
  for (size_t chunk = 0; chunk < tiling.chunks(); ++chunk) {
    const double more = tiling.pixels(chunk), total = count + more;
    for (size_t c = 0; c < channels; ++c) {
      const double delta = means[chunk * channels + c] - joined.mean[c];
      joined.mean[c] += delta * more / total;
      joined.variance[c] += squares[chunk * channels + c] + delta * delta * count * more / total;
    }
    count = total;
  }
  for (double& variance : joined.variance) variance /= count;
  return joined;
}

Statistics running_statistics(const NormSum::Branch& branch) {
  const at::Tensor mean = branch.mean.contiguous(), variance = branch.variance.contiguous();
  const auto* m = mean.data_ptr<float>();
  const auto* v = variance.data_ptr<float>();
  return {Doubles(m, m + mean.numel()), Doubles(v, v + variance.numel())};
}

/// running ← (1 − momentum)·running + momentum·batch, the variance unbiased.
void update_running(const NormSum::Branch& branch, const Statistics& batch, double pixels) {
  const auto update = [&](const at::Tensor& running, const Doubles& values, double scale) {
    auto* value = running.data_ptr<float>();
    for (size_t c = 0; c < values.size(); ++c) {
      value[c] = static_cast<float>((1 - branch.momentum) * static_cast<double>(value[c]) +
                                    branch.momentum * scale * values[c]);
    }
  };
  update(branch.mean, batch.mean, 1);
  update(branch.variance, batch.variance, pixels / (pixels - 1));
}

/// g = A′(y)·Σ ∂y, tile by tile.
struct Upstream {
  std::vector<at::Tensor> gradients;  // channels last
  at::Tensor y;                       // undefined when A is absent
  float slope = 1;

  bool is_plain() const { return slope == 1 && gradients.size() == 1; }

  /// g at an offset: a gradient itself if that is all, else written to `out`.
  const float* load(float* out, size_t at, size_t n) const {
    const float* first = gradients[0].data_ptr<float>() + at;
    if (is_plain()) return first;
    const float* sum = first;
    for (size_t k = 1; k < gradients.size(); ++k) {
      if (k == 1) std::copy_n(first, n, out);
      add(out, gradients[k].data_ptr<float>() + at, n);
      sum = out;
    }
    if (slope != 1) leaky_relu_gradient(out, sum, y.data_ptr<float>() + at, slope, n);
    return out;
  }
};

/// Per channel and branch, from mean μ and 1/σ.
struct Norm {
  at::Tensor x, gamma;
  const double *mean, *inverse_deviation;
};

/// Σ g and, per branch, Σ g·(x − μ): [1 + branches][C]. Writes g to `kept` unless that is null.
Doubles reduce(const Tiling& tiling, const Upstream& upstream, const std::vector<Norm>& norms, float* kept) {
  const size_t channels = tiling.channels(), row = (1 + norms.size()) * channels;
  std::vector<Floats> means;
  for (const Norm& norm : norms) means.push_back(tiling.spread(norm.mean));
  Doubles partial(tiling.chunks() * row);
  tiling.for_chunks([&](size_t chunk) {
    Floats scratch(tiling.tile());
    std::vector<Floats> sums(1 + norms.size(), Floats(tiling.tile()));
    tiling.for_tiles(chunk, [&](size_t at, size_t n) {
      const float* g = upstream.load(kept ? kept + at : scratch.data(), at, n);
      add(sums[0].data(), g, n);
      for (size_t i = 0; i < norms.size(); ++i) {
        add_products(sums[1 + i].data(), g, norms[i].x.data_ptr<float>() + at, means[i].data(), n);
      }
    });
    for (size_t i = 0; i < sums.size(); ++i) tiling.fold(sums[i], &partial[chunk * row + i * channels]);
  });
  Doubles total(row);
  for (size_t j = 0; j < partial.size(); ++j) total[j % row] += partial[j];
  return total;
}

/// ∂x = γ/σ·g − γ/σ³·mean(g·(x − μ))·(x − μ) − γ/σ·mean(g) in training; γ/σ·g at inference.
struct NormGradient {
  at::Tensor x, dx;
  Floats a, b, c, mean;

  NormGradient(const Tiling& tiling, const Norm& norm, const double* sum_g, const double* sum_products, bool training)
      : x(norm.x), dx(at::empty_like(norm.x)), mean(tiling.spread(norm.mean)) {
    const auto gamma = norm.gamma.accessor<float, 1>();
    const double weight = training ? 1 / tiling.pixels() : 0;
    Doubles a_(tiling.channels()), b_(tiling.channels()), c_(tiling.channels());
    for (size_t k = 0; k < tiling.channels(); ++k) {
      const double inverse = norm.inverse_deviation[k];
      a_[k] = static_cast<double>(gamma[static_cast<int64_t>(k)]) * inverse;
      b_[k] = a_[k] * inverse * inverse * sum_products[k] * weight;
      c_[k] = a_[k] * sum_g[k] * weight;
    }
    a = tiling.spread(a_), b = tiling.spread(b_), c = tiling.spread(c_);
  }
};

/// y = A(Σᵢ aᵢ·xᵢ + b + Σⱼ rⱼ), aᵢ = γᵢ/σᵢ, b = Σᵢ (βᵢ − aᵢ·μᵢ). statistics[i] holds μᵢ and 1/σᵢ.
at::Tensor scale_and_add(const NormSum& sum, const Tiling& tiling, const at::Tensor& statistics) {
  const auto known = statistics.accessor<double, 3>();
  std::vector<Floats> scales;
  Doubles shift(tiling.channels());
  for (size_t i = 0; i < sum.branches.size(); ++i) {
    const auto gamma = sum.branches[i].gamma.accessor<float, 1>(), beta = sum.branches[i].beta.accessor<float, 1>();
    Doubles scale(tiling.channels());
    for (size_t c = 0; c < tiling.channels(); ++c) {
      const auto at = static_cast<int64_t>(c);
      const auto [mean, inverse] =
          std::pair(known[static_cast<int64_t>(i)][0][at], known[static_cast<int64_t>(i)][1][at]);
      scale[c] = static_cast<double>(gamma[at]) * inverse;
      shift[c] += static_cast<double>(beta[at]) - scale[c] * mean;
    }
    scales.push_back(tiling.spread(scale));
  }
  const Floats b = tiling.spread(shift);
  at::Tensor y = at::empty_like(sum.branches[0].x);
  tiling.for_chunks([&](size_t chunk) {
    tiling.for_tiles(chunk, [&](size_t at, size_t n) {
      float* out = y.data_ptr<float>() + at;
      affine(out, sum.branches[0].x.data_ptr<float>() + at, scales[0].data(), b.data(), n);
      for (size_t i = 1; i < sum.branches.size(); ++i) {
        add_scaled(out, sum.branches[i].x.data_ptr<float>() + at, scales[i].data(), n);
      }
      for (const at::Tensor& r : sum.residuals) add(out, r.data_ptr<float>() + at, n);
      if (sum.slope != 1) leaky_relu(out, static_cast<float>(sum.slope), n);
    });
  });
  return y;
}

/// μ and 1/σ of every branch, [branches, 2, C]; updates the running statistics in training.
at::Tensor find_statistics(const NormSum& sum, const Tiling& tiling, bool training) {
  const auto channels = static_cast<int64_t>(tiling.channels());
  at::Tensor statistics = at::empty({static_cast<int64_t>(sum.branches.size()), 2, channels}, at::kDouble);
  auto* out = statistics.data_ptr<double>();
  for (const NormSum::Branch& branch : sum.branches) {
    const Statistics found =
        training ? batch_statistics(tiling, branch.x.data_ptr<float>()) : running_statistics(branch);
    if (training) update_running(branch, found, tiling.pixels());
    out = std::ranges::copy(found.mean, out).out;
    out = std::ranges::transform(found.variance, out, [&](double v) { return 1 / std::sqrt(v + branch.epsilon); }).out;
  }
  return statistics;
}

/// Tensor arguments in autograd's order: x, gamma, beta of every branch, then the residuals.
class NormSumFunction : public torch::autograd::Function<NormSumFunction> {
 public:
  using Context = torch::autograd::AutogradContext;
  using Tensors = torch::autograd::variable_list;

  /// `arguments` are the tensors that `sum` holds.
  static Tensors forward(Context* context, at::TensorList /*arguments*/, const NormSum& sum, bool training,
                         size_t readers) {
    const Tiling tiling(sum.branches[0].x);
    const at::Tensor statistics = find_statistics(sum, tiling, training);
    Tensors outputs{scale_and_add(sum, tiling, statistics)};
    while (outputs.size() < readers) outputs.push_back(outputs[0].tensor_data());

    Tensors saved{statistics, sum.slope == 1 ? at::Tensor() : outputs[0]};
    for (const NormSum::Branch& branch : sum.branches) saved.insert(saved.end(), {branch.x, branch.gamma});
    context->save_for_backward(std::move(saved));
    context->saved_data["slope"] = sum.slope;
    context->saved_data["training"] = training;
    context->saved_data["residuals"] = static_cast<int64_t>(sum.residuals.size());
    context->set_materialize_grads(false);
    return outputs;
  }

  static Tensors backward(Context* context, const Tensors& output_gradients) {
    const Tensors saved = context->get_saved_variables();
    const size_t branches = saved.size() / 2 - 1;
    const auto residuals = static_cast<size_t>(context->saved_data["residuals"].toInt());
    Tensors gradients(3 * branches + residuals + 3);  // three for the arguments that are no tensors
    Upstream upstream{.y = saved[1], .slope = static_cast<float>(context->saved_data["slope"].toDouble())};
    for (const at::Tensor& gradient : output_gradients) {
      if (gradient.defined()) upstream.gradients.push_back(channels_last(gradient));
    }
    if (upstream.gradients.empty()) return gradients;

    std::vector<Norm> norms;
    for (size_t i = 0; i < branches; ++i) {
      const double* statistics = saved[0][static_cast<int64_t>(i)].data_ptr<double>();
      const at::Tensor& x = saved[2 + 2 * i];
      norms.push_back({x, saved[3 + 2 * i], statistics, statistics + x.size(1)});
    }
    const Tiling tiling(norms[0].x);
    at::Tensor g;  // kept when a residual needs it
    for (size_t j = 0; j < residuals; ++j) {
      if (!context->needs_input_grad(3 * branches + j)) continue;
      if (!g.defined()) g = upstream.is_plain() ? upstream.gradients[0] : at::empty_like(norms[0].x);
      gradients[3 * branches + j] = g;
    }
    const bool keep = g.defined() && !upstream.is_plain();
    const Doubles sums = reduce(tiling, upstream, norms, keep ? g.data_ptr<float>() : nullptr);
    if (keep) upstream = {.gradients = {g}};

    const size_t channels = tiling.channels();
    std::vector<NormGradient> passes;
    for (size_t i = 0; i < branches; ++i) {
      const double* products = &sums[(1 + i) * channels];
      if (context->needs_input_grad(3 * i)) {
        passes.emplace_back(tiling, norms[i], sums.data(), products, context->saved_data["training"].toBool());
        gradients[3 * i] = passes.back().dx;
      }
      at::Tensor& gamma = gradients[3 * i + 1] = at::empty({static_cast<int64_t>(channels)}, at::kFloat);
      at::Tensor& beta = gradients[3 * i + 2] = at::empty({static_cast<int64_t>(channels)}, at::kFloat);
      for (size_t c = 0; c < channels; ++c) {
        gamma.data_ptr<float>()[c] = static_cast<float>(products[c] * norms[i].inverse_deviation[c]);
        beta.data_ptr<float>()[c] = static_cast<float>(sums[c]);
      }
    }
    run(tiling, upstream, passes);
    return gradients;
  }

 private:
  static void run(const Tiling& tiling, const Upstream& upstream, const std::vector<NormGradient>& passes) {
    tiling.for_chunks([&](size_t chunk) {
      Floats scratch(tiling.tile());
      tiling.for_tiles(chunk, [&](size_t at, size_t n) {
        const float* g = upstream.load(scratch.data(), at, n);
        for (const NormGradient& pass : passes) {
          norm_gradient(pass.dx.data_ptr<float>() + at, g, pass.x.data_ptr<float>() + at, pass.a.data(), pass.b.data(),
                        pass.c.data(), pass.mean.data(), n);
        }
      });
    });
  }
};

}  // namespace

std::vector<at::Tensor> norm_sum(NormSum sum, bool training, size_t readers) {
  const at::Tensor& first = sum.branches.at(0).x;
  const auto prepare = [sizes = first.sizes().vec()](at::Tensor& x) {
    TORCH_CHECK(x.sizes() == at::IntArrayRef(sizes), "terms of shapes ", x.sizes(), " and ", sizes);
    TORCH_CHECK(x.is_cpu(), "terms are on CPU");
    x = x.to(at::kFloat);  // bfloat16 under autocast
    x = channels_last(x);
  };
  TORCH_CHECK(!training || first.numel() > first.size(1), "one value per channel has no variance");
  std::vector<at::Tensor> arguments;
  for (NormSum::Branch& branch : sum.branches) {
    prepare(branch.x);
    arguments.insert(arguments.end(), {branch.x, branch.gamma, branch.beta});
  }
  for (at::Tensor& residual : sum.residuals) {
    prepare(residual);
    arguments.push_back(residual);
  }
  return NormSumFunction::apply(at::TensorList(arguments), sum, training, readers);
}

}  // namespace reducenet::train
