#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace reducenet {

using Bytes = std::vector<uint8_t>;

enum class Visit {
  skip,  ///< do not read this file, do not enter this folder
  read,  ///< read this file, enter this folder
  stop,  ///< end the walk
};

/// True for .tar, .tar.gz, .tgz and .tar.zst, by name.
bool is_archive(const std::filesystem::path& path);

/// How messages name a file of a folder ("root/name") or of an archive ("root: name").
std::string location(const std::filesystem::path& root, const std::string& name);

/// Walks a folder (sorted by name) or a tar archive (in its own order, without unpacking it to disk). `want` is asked
/// for every folder and regular file by its name relative to `root`; a walk of an archive may meet a file without
/// having met its folder. `visit` receives the files that `want` chose to read. Hidden names, links and special files
/// are left out. Errors: io when the system refuses; bad_input naming archive and entry when the archive is damaged.
void walk_files(const std::filesystem::path& root,
                const std::function<Visit(const std::string& name, bool is_folder)>& want,
                const std::function<void(const std::string& name, Bytes bytes)>& visit);

/// The whole of a regular file of at most 256 MiB.
Bytes read_data_file(const std::filesystem::path& path);

/// "text" in lower case (ASCII only).
std::string lower_case(std::string text);

}  // namespace reducenet
