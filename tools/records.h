#pragma once

#include <filesystem>
#include <string>

#include "cli.h"
#include "reducenet/graph.h"

namespace reducenet::cli {

/// "AMD EPYC…, 8 logical processors"
std::string machine();

/// {ms, p90_ms} of a deployed model: the runtime, batch 1, one thread.
Json measure_latency(const Graph& deployed, double seconds = 1);

/// The figures of a finished experiment, or null.
Json read_json(const std::filesystem::path& path);
/// Creates the folder that it lies in.
void write_json(const std::filesystem::path& path, const Json& json);

/// The axis of a page along its points' "ms".
Json latency_axis();

/// A page that shows points in a chart and a table, offline: `data` is what pages/explore.html says at its top.
void write_page(const std::filesystem::path& path, const Json& data);

}  // namespace reducenet::cli
