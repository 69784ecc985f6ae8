/* ReduceNet in C: load a collapsed model, plan it once, run it many times. Link with `reducenet` (pkg-config) or
 * `reducenet::c` (CMake). Needs neither LibTorch nor ONNX: models are .safetensors files that the tool has written
 * (`reducenet export MODEL -o model.safetensors`).
 *
 * Functions that can fail return a status; REDUCENET_OK is 0. After a failure reducenet_last_error() says what was
 * wrong, naming the file and, where there is one, the node. No function throws, prints or ends the program. Pointers to
 * results are written only on success. Every *_free function takes NULL. */
#ifndef REDUCENET_H_
#define REDUCENET_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define REDUCENET_API __attribute__((visibility("default")))
#else
#define REDUCENET_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What went wrong; 2 to 5 are the exit codes of the command line as well. */
typedef enum reducenet_status {
  REDUCENET_OK = 0,
  REDUCENET_USAGE = 2,       /* an argument makes no sense */
  REDUCENET_BAD_INPUT = 3,   /* a file or model is malformed */
  REDUCENET_IO = 4,          /* the operating system refused */
  REDUCENET_UNSUPPORTED = 5, /* valid, but outside what ReduceNet does */
  REDUCENET_FAILED = 6       /* anything else: no memory, for instance */
} reducenet_status;

typedef struct reducenet_model reducenet_model;
typedef struct reducenet_plan reducenet_plan;
typedef struct reducenet_arena reducenet_arena;

/* "0.1.0" */
REDUCENET_API const char* reducenet_version(void);
/* What the last failed call of this thread had to say; valid until the next one fails. Never NULL. */
REDUCENET_API const char* reducenet_last_error(void);

/* A model from a file in the native format (.safetensors). */
REDUCENET_API reducenet_status reducenet_load(const char* path, reducenet_model** model);
REDUCENET_API void reducenet_model_free(reducenet_model* model);

/* Class names in the order of the outputs: how many the model carries (0: none), and the one at `index` (NULL beyond
 * the last). Valid as long as the model. */
REDUCENET_API size_t reducenet_class_count(const reducenet_model* model);
REDUCENET_API const char* reducenet_class_name(const reducenet_model* model, size_t index);

/* The images that the model was trained on. Error REDUCENET_UNSUPPORTED when the model does not say. */
typedef struct reducenet_image {
  size_t height, width, channels;
} reducenet_image;
REDUCENET_API reducenet_status reducenet_image_size(const reducenet_model* model, reducenet_image* size);
/* One image of that size, RGB or grey bytes [height][width][channels], as the model's input: (pixel/255 - mean)/std per
 * channel, [channels][height][width] floats. */
REDUCENET_API reducenet_status reducenet_preprocess(const reducenet_model* model, const uint8_t* pixels, float* input);

typedef enum reducenet_tune {
  REDUCENET_TUNE_NONE = 0,
  REDUCENET_TUNE_FAST = 1,
  REDUCENET_TUNE_FULL = 2
} reducenet_tune;

/* Of the dense convolutions' weights and activations. INT8 needs a model that carries its ranges
 * (`reducenet export --dtype int8 --data ...`). */
typedef enum reducenet_dtype { REDUCENET_F32 = 0, REDUCENET_BF16 = 1, REDUCENET_INT8 = 2 } reducenet_dtype;

typedef struct reducenet_plan_options {
  int64_t batch;       /* images in a run, where the model leaves that open; 0: 1 */
  int threads;         /* the caller's included; 0: 1 */
  reducenet_tune tune; /* how kernels are chosen: by rule, or by timing them */
  reducenet_dtype dtype;
} reducenet_plan_options;

/* The model made ready to run. `options` may be NULL. The model may be freed afterwards. */
REDUCENET_API reducenet_status reducenet_plan_create(const reducenet_model* model,
                                                     const reducenet_plan_options* options, reducenet_plan** plan);
REDUCENET_API void reducenet_plan_free(reducenet_plan* plan);

/* Floats in the input and the output of a run (all images of the batch), images in a run, and bytes that a run needs
 * beside the weights. */
REDUCENET_API size_t reducenet_input_size(const reducenet_plan* plan);
REDUCENET_API size_t reducenet_output_size(const reducenet_plan* plan);
REDUCENET_API size_t reducenet_batch(const reducenet_plan* plan);
REDUCENET_API size_t reducenet_arena_bytes(const reducenet_plan* plan);

/* What one run writes beside its output. One plan may run on several threads at once, each with an arena of its own. An
 * arena must be freed before its plan. */
REDUCENET_API reducenet_status reducenet_arena_create(const reducenet_plan* plan, reducenet_arena** arena);
REDUCENET_API void reducenet_arena_free(reducenet_arena* arena);

/* One run: dense NCHW floats in, dense floats out; several inputs or outputs stand one behind the other. The counts
 * must be those above. Without an arena (NULL) the plan uses its own: one such run at a time. */
REDUCENET_API reducenet_status reducenet_run(const reducenet_plan* plan, reducenet_arena* arena, const float* input,
                                             size_t input_count, float* output, size_t output_count);

#ifdef __cplusplus
}
#endif

#endif /* REDUCENET_H_ */
