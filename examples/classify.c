/* classify_c MODEL.safetensors FILE: the best class of a binary PPM or PGM image (P6, P5) of the model's size, or of
 * raw float32 input. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reducenet.h"

static int fail(const char* what) {
  fprintf(stderr, "%s\n", what);
  return 1;
}

/* The file as the model's input; 0 when it is neither an image of the model's size nor that many floats. */
static int read_input(const char* path, const reducenet_model* model, float* input, size_t count) {
  reducenet_image size;
  unsigned long width, height, most;
  char kind = 0;
  int good = 0;
  FILE* file = fopen(path, "rb");
  if (!file) return 0;
  if (fscanf(file, "P%c %lu %lu %lu", &kind, &width, &height, &most) == 4 && fgetc(file) != EOF) {
    if (reducenet_image_size(model, &size) == REDUCENET_OK && (kind == '5' || kind == '6') && most == 255 &&
        width == size.width && height == size.height && size.channels == (kind == '6' ? 3u : 1u)) {
      unsigned char* pixels = malloc(count);
      good = pixels && fread(pixels, 1, count, file) == count &&
             reducenet_preprocess(model, pixels, input) == REDUCENET_OK;
      free(pixels);
    }
  } else {
    rewind(file);
    good = fread(input, sizeof *input, count, file) == count;
  }
  fclose(file);
  return good;
}

int main(int argc, char** argv) {
  reducenet_model* model = NULL;
  reducenet_plan* plan = NULL;
  float *input, *scores;
  size_t i, best = 0, outputs;
  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL.safetensors IMAGE.ppm|FLOATS\n", argv[0]);
    return 2;
  }
  if (reducenet_load(argv[1], &model) || reducenet_plan_create(model, NULL, &plan)) return fail(reducenet_last_error());
  outputs = reducenet_output_size(plan);
  input = malloc(reducenet_input_size(plan) * sizeof *input);
  scores = malloc(outputs * sizeof *scores);
  if (!input || !scores) return fail("no memory");
  if (!read_input(argv[2], model, input, reducenet_input_size(plan))) return fail("not an input of this model");
  if (reducenet_run(plan, NULL, input, reducenet_input_size(plan), scores, outputs))
    return fail(reducenet_last_error());
  for (i = 1; i < outputs; ++i) {
    if (scores[i] > scores[best]) best = i;
  }
  if (reducenet_class_count(model) > best) {
    printf("%s %g\n", reducenet_class_name(model, best), scores[best]);
  } else {
    printf("%lu %g\n", (unsigned long)best, scores[best]);
  }
  free(scores);
  free(input);
  reducenet_plan_free(plan);
  reducenet_model_free(model);
  return 0;
}
