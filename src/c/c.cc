// The C API: every function catches what the C++ one throws.

#include <cstdio>
#include <exception>
#include <optional>

#include "reducenet.h"
#include "reducenet/collapse.h"
#include "reducenet/data.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/runtime.h"

using namespace reducenet;

struct reducenet_model {
  Graph graph;
  std::vector<std::string> class_names;
  std::optional<Preprocessing> preprocessing;
};
struct reducenet_plan {
  Plan plan;
};
struct reducenet_arena {
  std::unique_ptr<Plan::Arena, void (*)(Plan::Arena*)> arena;
};

namespace {

thread_local char last_error[1024] = "";

reducenet_status fail(reducenet_status status, const char* what) noexcept {
  std::snprintf(last_error, sizeof last_error, "%s", what);
  return status;
}

reducenet_status status_of(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::usage:
      return REDUCENET_USAGE;
    case ErrorKind::bad_input:
      return REDUCENET_BAD_INPUT;
    case ErrorKind::io:
      return REDUCENET_IO;
    case ErrorKind::unsupported:
      return REDUCENET_UNSUPPORTED;
    case ErrorKind::check_failed:
      return REDUCENET_FAILED;
  }
  return REDUCENET_FAILED;
}

template <class Body>
reducenet_status guarded(Body body) noexcept {
  try {
    body();
    return REDUCENET_OK;
  } catch (const Error& error) {
    return fail(status_of(error.kind()), error.what());
  } catch (const std::exception& error) {
    return fail(REDUCENET_FAILED, error.what());
  } catch (...) {
    return fail(REDUCENET_FAILED, "unknown failure");
  }
}

void require(bool holds, const char* what) {
  if (!holds) throw Error(ErrorKind::usage, what);
}

const Preprocessing& preprocessing(const reducenet_model* model) {
  require(model, "the model is NULL");
  if (!model->preprocessing) throw Error(ErrorKind::unsupported, "the model does not say how its images are made");
  return *model->preprocessing;
}

}  // namespace

const char* reducenet_version(void) {
  return REDUCENET_VERSION;
}

const char* reducenet_last_error(void) {
  return last_error;
}

reducenet_status reducenet_load(const char* path, reducenet_model** model) {
  return guarded([&] {
    require(path && model, "reducenet_load: path or model is NULL");
    Graph graph = settle(load_native(path));
    auto names = class_names(graph.metadata);
    auto images = Preprocessing::from_metadata(graph.metadata);
    *model = new reducenet_model{std::move(graph), std::move(names), std::move(images)};
  });
}

void reducenet_model_free(reducenet_model* model) {
  delete model;
}

size_t reducenet_class_count(const reducenet_model* model) {
  return model ? model->class_names.size() : 0;
}

const char* reducenet_class_name(const reducenet_model* model, size_t index) {
  return index < reducenet_class_count(model) ? model->class_names[index].c_str() : nullptr;
}

reducenet_status reducenet_image_size(const reducenet_model* model, reducenet_image* size) {
  return guarded([&] {
    require(size, "reducenet_image_size: size is NULL");
    const Preprocessing& p = preprocessing(model);
    *size = {static_cast<size_t>(p.height), static_cast<size_t>(p.width), static_cast<size_t>(p.channels)};
  });
}

reducenet_status reducenet_preprocess(const reducenet_model* model, const uint8_t* pixels, float* input) {
  return guarded([&] {
    require(pixels && input, "reducenet_preprocess: pixels or input is NULL");
    preprocessing(model).apply(pixels, input);
  });
}

reducenet_status reducenet_plan_create(const reducenet_model* model, const reducenet_plan_options* options,
                                       reducenet_plan** plan) {
  return guarded([&] {
    require(model && plan, "reducenet_plan_create: model or plan is NULL");
    PlanOptions wanted;
    if (options) {
      if (options->batch != 0) wanted.batch = options->batch;
      if (options->threads != 0) wanted.threads = options->threads;
      require(options->batch >= 0, "a batch must be positive");
      require(options->tune >= REDUCENET_TUNE_NONE && options->tune <= REDUCENET_TUNE_FULL, "no such way to tune");
      wanted.tune = static_cast<Tune>(options->tune);
      require(options->dtype >= REDUCENET_F32 && options->dtype <= REDUCENET_INT8, "no such number type");
      constexpr DType types[] = {DType::f32, DType::bf16, DType::i8};
      wanted.dtype = types[options->dtype];
    }
    *plan = new reducenet_plan{Plan(model->graph, wanted)};
  });
}

void reducenet_plan_free(reducenet_plan* plan) {
  delete plan;
}

size_t reducenet_input_size(const reducenet_plan* plan) {
  return plan ? static_cast<size_t>(plan->plan.input_size()) : 0;
}
size_t reducenet_output_size(const reducenet_plan* plan) {
  return plan ? static_cast<size_t>(plan->plan.output_size()) : 0;
}
size_t reducenet_batch(const reducenet_plan* plan) {
  return plan ? static_cast<size_t>(plan->plan.batch()) : 0;
}
size_t reducenet_arena_bytes(const reducenet_plan* plan) {
  return plan ? static_cast<size_t>(plan->plan.arena_bytes()) : 0;
}

reducenet_status reducenet_arena_create(const reducenet_plan* plan, reducenet_arena** arena) {
  return guarded([&] {
    require(plan && arena, "reducenet_arena_create: plan or arena is NULL");
    *arena = new reducenet_arena{plan->plan.arena()};
  });
}

void reducenet_arena_free(reducenet_arena* arena) {
  delete arena;
}

reducenet_status reducenet_run(const reducenet_plan* plan, reducenet_arena* arena, const float* input,
                               size_t input_count, float* output, size_t output_count) {
  return guarded([&] {
    require(plan && input && output, "reducenet_run: plan, input or output is NULL");
    const auto size = [](size_t count, size_t wanted, const char* what) {
      if (count != wanted) {
        throw Error(ErrorKind::usage, std::string("reducenet_run: the ") + what + " has " + std::to_string(count) +
                                          " floats, the plan wants " + std::to_string(wanted));
      }
    };
    size(input_count, reducenet_input_size(plan), "input");
    size(output_count, reducenet_output_size(plan), "output");
    const std::span<const float> from(input, input_count);
    const std::span<float> to(output, output_count);
    arena ? plan->plan.run(from, to, *arena->arena) : plan->plan.run(from, to);
  });
}
