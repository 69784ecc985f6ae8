#include "data/files.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>

#include "reducenet/error.h"

namespace reducenet {
namespace fs = std::filesystem;
namespace {

constexpr int64_t max_file_bytes = int64_t{256} << 20;
constexpr int max_depth = 6;  // ends the walk of a folder that contains itself by a link
constexpr std::array archive_endings = {".tar", ".tar.gz", ".tgz", ".tar.zst"};

using Archive = std::unique_ptr<archive, decltype(&archive_read_free)>;

[[noreturn]] void refuse_large(const std::string& where) {
  throw Error(ErrorKind::unsupported, where + ": larger than " + std::to_string(max_file_bytes >> 20) + " MiB");
}

// The name of an entry without "./" before and "/" behind it.
std::string entry_name(archive_entry* entry) {
  const char* raw = archive_entry_pathname(entry);
  if (!raw) raw = archive_entry_pathname_utf8(entry);
  std::string name = fs::path(raw ? raw : "").lexically_normal().generic_string();
  while (!name.empty() && name.back() == '/') name.pop_back();
  return name;
}

bool is_hidden(const std::string& name) {
  return name.empty() || name[0] == '.' || name.find("/.") != name.npos;
}

Bytes read_entry(archive* source, const std::string& where) {
  Bytes bytes;
  constexpr size_t chunk = size_t{1} << 16;
  for (size_t size = 0;;) {
    bytes.resize(size + chunk);
    const la_ssize_t got = archive_read_data(source, bytes.data() + size, chunk);
    if (got < 0) {
      const char* why = archive_error_string(source);
      throw Error(ErrorKind::bad_input, where + ": " + (why ? why : "damaged archive"));
    }
    size += static_cast<size_t>(got);
    if (size > max_file_bytes) refuse_large(where);
    if (got == 0) {
      bytes.resize(size);
      return bytes;
    }
  }
}

void walk_archive(const fs::path& path, const std::function<Visit(const std::string&, bool)>& want,
                  const std::function<void(const std::string&, Bytes)>& visit) {
  const Archive source(archive_read_new(), archive_read_free);
  archive_read_support_format_tar(source.get());
  archive_read_support_filter_gzip(source.get());
  archive_read_support_filter_zstd(source.get());
  std::string last = "its first entry";
  const auto damaged = [&] {
    const char* why = archive_error_string(source.get());
    const int code = archive_errno(source.get());
    const bool refused = code == EACCES || code == ENOENT || code == EIO;
    return Error(refused ? ErrorKind::io : ErrorKind::bad_input,
                 path.string() + ": damaged archive at " + last + ": " + (why ? why : "unknown error"));
  };
  if (archive_read_open_filename(source.get(), path.c_str(), 1 << 16) != ARCHIVE_OK) throw damaged();
  for (;;) {
    archive_entry* entry = nullptr;
    const int status = archive_read_next_header(source.get(), &entry);
    if (status == ARCHIVE_EOF) return;
    if (status < ARCHIVE_WARN) throw damaged();
    const std::string name = entry_name(entry);
    last = "the entry after " + name;
    const bool is_folder = archive_entry_filetype(entry) == AE_IFDIR;
    if (is_hidden(name) || (!is_folder && archive_entry_filetype(entry) != AE_IFREG)) continue;
    const Visit choice = want(name, is_folder);
    if (choice == Visit::stop) return;
    if (choice == Visit::read && !is_folder) visit(name, read_entry(source.get(), location(path, name)));
  }
}

// Returns false when the walk was stopped.
bool walk_folder(const fs::path& root, const std::string& below, int depth,
                 const std::function<Visit(const std::string&, bool)>& want,
                 const std::function<void(const std::string&, Bytes)>& visit) {
  std::vector<fs::path> children;
  std::error_code error;
  for (fs::directory_iterator it(root / below, error), end; !error && it != end; it.increment(error)) {
    children.push_back(it->path());
  }
  if (error) throw Error(ErrorKind::io, (root / below).string() + ": " + error.message());
  std::sort(children.begin(), children.end());
  for (const fs::path& child : children) {
    const fs::file_status status = fs::status(child, error);
    const std::string name = (fs::path(below) / child.filename()).generic_string();
    if (is_hidden(name) || (!fs::is_directory(status) && !fs::is_regular_file(status))) continue;
    const Visit choice = want(name, fs::is_directory(status));
    if (choice == Visit::stop) return false;
    if (choice == Visit::skip) continue;
    if (!fs::is_directory(status)) {
      visit(name, read_data_file(child));
    } else if (depth < max_depth && !walk_folder(root, name, depth + 1, want, visit)) {
      return false;
    }
  }
  return true;
}

}  // namespace

std::string lower_case(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

bool is_archive(const fs::path& path) {
  const std::string name = lower_case(path.filename().string());
  return std::any_of(archive_endings.begin(), archive_endings.end(),
                     [&](const char* end) { return name.ends_with(end); });
}

std::string location(const fs::path& root, const std::string& name) {
  return is_archive(root) ? root.string() + ": " + name : (root / name).string();
}

void walk_files(const fs::path& root, const std::function<Visit(const std::string&, bool)>& want,
                const std::function<void(const std::string&, Bytes)>& visit) {
  if (fs::is_directory(root)) {
    walk_folder(root, "", 1, want, visit);
  } else {
    walk_archive(root, want, visit);
  }
}

Bytes read_data_file(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);  // refuses what is no regular file
  std::ifstream file(path, std::ios::binary);
  if (error || !file) {
    throw Error(ErrorKind::io,
                "cannot read " + path.string() + ": " + (error ? error.message() : std::strerror(errno)));
  }
  if (size > max_file_bytes) refuse_large(path.string());
  Bytes bytes(size);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  if (static_cast<uintmax_t>(file.gcount()) != size) throw Error(ErrorKind::io, "cannot read all of " + path.string());
  return bytes;
}

}  // namespace reducenet
