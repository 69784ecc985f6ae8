#include "train/leak.h"

#include <torch/csrc/autograd/custom_function.h>

#include "train/tiling.h"
#include "train/vector_kernels.h"

namespace reducenet::train {
namespace {

class LeakFunction : public torch::autograd::Function<LeakFunction> {
 public:
  using Context = torch::autograd::AutogradContext;
  using Tensors = torch::autograd::variable_list;

  /// x channels last, slope [C].
  static at::Tensor forward(Context* context, const at::Tensor& x, const at::Tensor& slope) {
    context->save_for_backward({x, slope});
    const Tiling tiling(x);
    const Floats spread = tiling.spread(slope.accessor<float, 1>());
    at::Tensor y = at::empty_like(x);
    tiling.for_chunks([&](size_t chunk) {
      tiling.for_tiles(chunk, [&](size_t at, size_t n) {
        leaky_relu(y.data_ptr<float>() + at, x.data_ptr<float>() + at, spread.data(), n);
      });
    });
    return y;
  }

  static Tensors backward(Context* context, const Tensors& output_gradients) {
    const Tensors saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], dy = channels_last(output_gradients[0]);
    const Tiling tiling(x);
    const Floats spread = tiling.spread(saved[1].accessor<float, 1>());
    at::Tensor dx = at::empty_like(x);
    Doubles partial(tiling.chunks() * tiling.channels());
    tiling.for_chunks([&](size_t chunk) {
      Floats sum(tiling.tile());
      tiling.for_tiles(chunk, [&](size_t at, size_t n) {
        leaky_relu_gradient(dx.data_ptr<float>() + at, sum.data(), dy.data_ptr<float>() + at, x.data_ptr<float>() + at,
                            spread.data(), n);
      });
      tiling.fold(sum, &partial[chunk * tiling.channels()]);
    });
    at::Tensor total = at::zeros(saved[1].sizes(), at::kDouble);
    for (size_t j = 0; j < partial.size(); ++j) total.data_ptr<double>()[j % tiling.channels()] += partial[j];
    return {dx, total.to(at::kFloat)};
  }
};

}  // namespace

at::Tensor leak(const at::Tensor& x, const at::Tensor& slope) {
  const bool by_channel = x.is_cpu() && x.dim() == 4 && slope.dim() == 3 && slope.size(0) == x.size(1) &&
                          slope.numel() == slope.size(0) && slope.scalar_type() == at::kFloat;
  if (!by_channel) return at::where(x > 0, x, slope * x);
  return LeakFunction::apply(channels_last(x.to(at::kFloat)), slope.flatten());
}

}  // namespace reducenet::train
