#pragma once

#include <filesystem>

#include "reducenet/error.h"

namespace reducenet::train {

/// Another run holds the folder.
class FolderBusy : public Error {
 public:
  explicit FolderBusy(const std::filesystem::path& folder)
      : Error(ErrorKind::io, folder.string() + ": another run is training here; wait for it, or take another folder") {}
};

/// A run's folder, for this process alone as long as the object lives. Nothing is written; what a killed process held
/// is free.
class FolderLock {
 public:
  /// The folder is made when absent. FolderBusy where another run holds `folder`, in this process or another; Error(io)
  /// where it cannot be made or opened.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace reducenet::train
