#include "formats/safetensors.h"

#include <algorithm>
#include <fstream>
#include <random>

#include "formats/file.h"
#include "formats/testing.h"
#include "reducenet/formats.h"

namespace reducenet {
namespace {

/// The bytes of a file with that header and so many bytes of data.
std::string file_of(const std::string& header, size_t data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + std::string(data, '\1');
}

NamedTensors parse(const std::string& bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes)), nullptr, "m.safetensors");
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Safetensors, RoundTripsEveryDTypeAndMetadata) {
  NamedTensors content;
  content.metadata = {{"format", "pt"}, {"names", "{\"0\": \"Flugzeug ✈\"}"}};
  for (int dtype = 0; dtype < static_cast<int>(DType::string); ++dtype) {
    const auto type = static_cast<DType>(dtype);
    content.tensors.emplace_back(std::string("t.") + to_string(type).data(), Tensor::filled({3, 1}, 1, type));
  }
  content.tensors.emplace_back("empty", Tensor::filled({0, 4}, 0));
  content.tensors.emplace_back("scalar", Tensor::filled({}, 2.5));
  const TestFolder folder;
  write_safetensors(content, folder / "a.safetensors");
  NamedTensors back = read_safetensors(folder / "a.safetensors");
  EXPECT_EQ(back.metadata, content.metadata);
  std::ranges::sort(back.tensors, {}, &std::pair<std::string, Tensor>::first);
  std::ranges::sort(content.tensors, {}, &std::pair<std::string, Tensor>::first);
  EXPECT_TRUE(back.tensors == content.tensors);
}

TEST(Safetensors, TensorsOutliveTheFileTheyCameFrom) {
  const TestFolder folder;
  write_safetensors({{}, {{"w", Tensor::filled({1000}, 3)}}}, folder / "a.safetensors");
  const NamedTensors old = read_safetensors(folder / "a.safetensors");
  write_safetensors({{}, {{"w", Tensor::filled({10}, 4)}}}, folder / "a.safetensors");
  EXPECT_EQ(old.tensors[0].second, Tensor::filled({1000}, 3));
}

TEST(Safetensors, ReadsUnalignedTensors) {
  const NamedTensors content = parse(file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                             R"("b":{"dtype":"I64","shape":[1],"data_offsets":[1,9]}})",
                                             9));
  EXPECT_EQ(content.tensors[1].second.to_ints()[0], 0x0101010101010101);
}

TEST(Safetensors, RefusesMalformedFiles) {
  const auto row = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  const struct {
    std::string header, part;
    size_t data = 8;
  } cases[] = {
      {"", "JSON"},
      {"[]", "no JSON object"},
      {R"({"a":)" + row("F33", "[2]", "[0,8]") + "}", "F33"},
      {R"({"a":)" + row("F32", "[2]", "[0,8]") + R"(,"a":)" + row("F32", "[2]", "[0,8]") + "}", "twice"},
      {R"({"a":)" + row("F32", "[3]", "[0,8]") + "}", "do not fit"},
      {R"({"a":)" + row("F32", "[-2]", "[0,8]") + "}", "-2"},
      {R"({"a":)" + row("F32", "[2.0]", "[0,8]") + "}", "2.0"},
      {R"({"a":)" + row("F32", "[4611686018427387904]", "[0,0]") + "}", "do not fit"},
      {R"({"a":)" + row("F32", "[4611686018427387904,4611686018427387904]", "[0,8]") + "}", "too many"},
      {R"({"a":)" + row("F32", "[2]", "[8,0]") + "}", "do not fit"},
      {R"({"a":)" + row("F32", "[2]", "[0,8]") + "}", "truncated", 7},
      {R"({"a":)" + row("F32", "[2]", "[0,8]") + "}", "after the last", 9},
      {R"({"a":)" + row("F32", "[1]", "[0,4]") + R"(,"b":)" + row("F32", "[2]", "[2,10]") + "}", "overlap", 10},
      {R"({"a":)" + row("F32", "[1]", "[0,4]") + R"(,"b":)" + row("F32", "[1]", "[8,12]") + "}", "hole", 12},
      {R"({"a":{"dtype":"F32","shape":[2]}})", "dtype, shape and data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", "dtype, shape and data_offsets"},
      {R"({"__metadata__":{"x":1}})", "string", 0},
      {"{\"a\xff\":1}", "UTF-8"},
      {std::string(100, '[') + std::string(100, ']'), "nested"},
  };
  for (const auto& [header, part, data] : cases) {
    SCOPED_TRACE(header);
    expect_error(ErrorKind::bad_input, {"m.safetensors", part}, [&] { parse(file_of(header, data)); });
  }
  expect_error(ErrorKind::bad_input, {"header of 72340172838076673 bytes"}, [] { parse(std::string(100, '\1')); });
}

TEST(Safetensors, EveryTruncationIsAnError) {
  const TestFolder folder;
  write_safetensors({{{"key", "value"}}, {{"a", Tensor::filled({3}, 1)}, {"b", Tensor::filled({2}, 1)}}}, folder / "a");
  const std::string bytes = read(folder / "a");
  for (size_t size = 0; size < bytes.size(); ++size) {
    expect_error(ErrorKind::bad_input, {"m.safetensors"}, [&] { parse(bytes.substr(0, size)); });
  }
}

TEST(Safetensors, BitFlipsAreHarmless) {
  const TestFolder folder;
  write_safetensors({{{"key", "value"}}, {{"a", Tensor::filled({3}, 1)}, {"b", Tensor::filled({2}, 1)}}}, folder / "a");
  const std::string good = read(folder / "a");
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 10'000; ++i) {
    std::string bytes = good;
    for (int flips = 1 + i % 3; flips > 0; --flips)
      bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
    try {
      for (const auto& [name, tensor] : parse(bytes).tensors) tensor.to_doubles();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::bad_input);
      ++refused;
    }
  }
  EXPECT_GT(refused, 5000);
}

TEST(Safetensors, WriteRefusesBadNamesAndLeavesTheOldFile) {
  const TestFolder folder;
  const Tensor t = Tensor::filled({1}, 1);
  write_safetensors({{}, {{"old", t}}}, folder / "a");
  const NamedTensors bad[] = {
      {{}, {{"a", t}, {"a", t}}}, {{}, {{"__metadata__", t}}}, {{}, {{"\xff", t}}}, {{{"k", "\xff"}}, {}}};
  for (const NamedTensors& content : bad) {
    expect_error(ErrorKind::bad_input, {(folder / "a").string()}, [&] { write_safetensors(content, folder / "a"); });
  }
  EXPECT_EQ(read_safetensors(folder / "a").tensors[0].first, "old");
  expect_error(ErrorKind::io, {"no/such"}, [&] { write_safetensors({}, folder / "no/such"); });
}

TEST(Files, WritesAtomically) {
  const TestFolder folder;
  const std::string text = "new";
  write_atomically(folder / "a", std::as_bytes(std::span(text)));
  EXPECT_EQ(read(folder / "a"), "new");
  {
    AtomicFile abandoned(folder / "a");
    abandoned.write(std::as_bytes(std::span("half", 4)));
  }
  EXPECT_EQ(read(folder / "a"), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
  expect_error(ErrorKind::io, {folder.path().string()}, [&] { write_atomically(folder.path(), {}); });
}

TEST(Files, MapsOnlyRegularFiles) {
  const TestFolder folder;
  expect_error(ErrorKind::io, {"absent"}, [&] { map_file(folder / "absent"); });
  expect_error(ErrorKind::bad_input, {"not a regular file"}, [&] { map_file(folder.path()); });
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
  expect_error(ErrorKind::bad_input, {"not a regular file"}, [&] { map_file(folder / "fifo"); });
}

}  // namespace
}  // namespace reducenet
