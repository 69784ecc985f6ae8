// classify MODEL.safetensors FILE: the five best classes of an image (JPEG, PNG) or of raw float32 input (.raw).

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "reducenet/collapse.h"
#include "reducenet/data.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/runtime.h"

using namespace reducenet;

namespace {

std::vector<float> read_input(const std::string& path, const Graph& model, size_t size) {
  std::vector<float> input(size);
  if (path.ends_with(".raw")) {
    std::ifstream file(path, std::ios::binary);
    file.read(reinterpret_cast<char*>(input.data()), static_cast<std::streamsize>(size * sizeof(float)));
    if (!file) throw Error(ErrorKind::io, path + ": fewer than " + std::to_string(size) + " floats");
    return input;
  }
  const auto preprocessing = Preprocessing::from_metadata(model.metadata);
  if (!preprocessing) throw Error(ErrorKind::unsupported, "the model does not say how its images are made");
  const ImageSet image = load_image_file(path, {.height = preprocessing->height,
                                                .width = preprocessing->width,
                                                .channels = preprocessing->channels,
                                                .cache = {},
                                                .progress = {}});
  preprocessing->apply(image.image(0), input.data());
  return input;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL.safetensors IMAGE|FLOATS.raw\n", argv[0]);
    return 2;
  }
  const Graph model = settle(load_native(argv[1]));
  const Plan plan(model, {.threads = 2});
  const std::vector<float> input = read_input(argv[2], model, static_cast<size_t>(plan.input_size()));
  std::vector<float> scores(static_cast<size_t>(plan.output_size()));
  plan.run(input, scores);

  const std::vector<std::string> names = class_names(model.metadata);
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  for (size_t i = 0; i < std::min<size_t>(5, order.size()); ++i) {
    const std::string name = names.empty() ? std::to_string(order[i]) : names[order[i]];
    std::printf("%-20s %g\n", name.c_str(), scores[order[i]]);
  }
} catch (const Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return static_cast<int>(error.kind());
}
