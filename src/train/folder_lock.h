#pragma once

#include <filesystem>

namespace reducenet::train {

/// A run's folder, for this process alone as long as the object lives. Nothing is written; what a killed process held
/// is free.
class FolderLock {
 public:
  /// Error(io) where another run holds `folder`, in this process or another.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
};

}  // namespace reducenet::train
