#pragma once

#include <filesystem>
#include <memory>
#include <span>

namespace reducenet {

/// A file's bytes, read-only; they live as long as `owner`.
struct MappedFile {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

/// Maps a regular file. Throws Error(io) naming it when it cannot be read, Error(bad_input) when it is no regular file.
MappedFile map_file(const std::filesystem::path& path);

/// A file that appears under its name only when commit() has returned: until then, and for ever when that is never
/// reached, whatever stood there before stands. Every member throws Error(io) naming the file.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void write(std::span<const std::byte> bytes);
  /// The temporary file's descriptor, for writers that bring their own buffering.
  int descriptor() const { return descriptor_; }
  /// fsync, rename, fsync of the folder.
  void commit();

 private:
  [[noreturn]] void fail(int error) const;

  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

}  // namespace reducenet
