/* Runs small.safetensors on input.raw through the installed C API, and compares with expected.raw; main.cc wrote all
 * three. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "reducenet.h"

static float* read_floats(const char* path, size_t count) {
  float* values = malloc(count * sizeof *values);
  FILE* file = fopen(path, "rb");
  if (!file || !values || fread(values, sizeof *values, count, file) != count) exit(1);
  fclose(file);
  return values;
}

int main(void) {
  reducenet_model* model = NULL;
  reducenet_plan* plan = NULL;
  float *input, *expected, *output;
  size_t i, inputs, outputs;
  if (reducenet_load("small.safetensors", &model) || reducenet_plan_create(model, NULL, &plan)) {
    return puts(reducenet_last_error()), 1;
  }
  inputs = reducenet_input_size(plan);
  outputs = reducenet_output_size(plan);
  input = read_floats("input.raw", inputs);
  expected = read_floats("expected.raw", outputs);
  output = malloc(outputs * sizeof *output);
  if (reducenet_run(plan, NULL, input, inputs, output, outputs)) return puts(reducenet_last_error()), 1;
  for (i = 0; i < outputs; ++i) {
    if (!(fabs((double)output[i] - (double)expected[i]) < 1e-4)) {
      return printf("output %lu: %g, not %g\n", (unsigned long)i, output[i], expected[i]), 1;
    }
  }
  printf("ReduceNet %s from C: %lu outputs agree; class 0 is \"%s\"\n", reducenet_version(), (unsigned long)outputs,
         reducenet_class_name(model, 0));
  reducenet_plan_free(plan);
  reducenet_model_free(model);
  free(input);
  free(expected);
  free(output);
  return 0;
}
