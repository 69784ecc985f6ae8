#include "reducenet/tensor.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "reducenet/error.h"

namespace reducenet {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors hold little-endian bytes");

template <class T>
constexpr bool stored_as(DType dtype) {
  if constexpr (std::is_same_v<T, float>) return dtype == DType::f32;
  if constexpr (std::is_same_v<T, double>) return dtype == DType::f64;
  if constexpr (std::is_same_v<T, int8_t>) return dtype == DType::i8;
  if constexpr (std::is_same_v<T, uint8_t>) return dtype == DType::u8 || dtype == DType::boolean;
  if constexpr (std::is_same_v<T, int16_t>) return dtype == DType::i16;
  if constexpr (std::is_same_v<T, uint16_t>) {
    return dtype == DType::u16 || dtype == DType::f16 || dtype == DType::bf16;
  }
  if constexpr (std::is_same_v<T, int32_t>) return dtype == DType::i32;
  if constexpr (std::is_same_v<T, uint32_t>) return dtype == DType::u32;
  if constexpr (std::is_same_v<T, int64_t>) return dtype == DType::i64;
  if constexpr (std::is_same_v<T, uint64_t>) return dtype == DType::u64;
  return false;
}

/// Calls `body(T{}, decode, encode)` for the stored type T, with conversions between T and double.
template <class Body>
auto with_type(DType dtype, Body body) {
  const auto decode = [](auto value) { return static_cast<double>(value); };
  const auto encode = [](auto type) { return [](double value) { return static_cast<decltype(type)>(value); }; };
  switch (dtype) {
    case DType::f32:
      return body(float{}, decode, encode(float{}));
    case DType::f64:
      return body(double{}, decode, encode(double{}));
    case DType::f16:
      return body(
          uint16_t{}, [](uint16_t bits) { return static_cast<double>(half_to_float(bits)); },
          [](double value) { return float_to_half(static_cast<float>(value)); });
    case DType::bf16:
      return body(
          uint16_t{}, [](uint16_t bits) { return static_cast<double>(bfloat16_to_float(bits)); },
          [](double value) { return float_to_bfloat16(static_cast<float>(value)); });
    case DType::i8:
      return body(int8_t{}, decode, encode(int8_t{}));
    case DType::u8:
      return body(uint8_t{}, decode, encode(uint8_t{}));
    case DType::boolean:
      return body(uint8_t{}, decode, [](double value) { return uint8_t{value != 0}; });
    case DType::i16:
      return body(int16_t{}, decode, encode(int16_t{}));
    case DType::u16:
      return body(uint16_t{}, decode, encode(uint16_t{}));
    case DType::i32:
      return body(int32_t{}, decode, encode(int32_t{}));
    case DType::u32:
      return body(uint32_t{}, decode, encode(uint32_t{}));
    case DType::i64:
      return body(int64_t{}, decode, encode(int64_t{}));
    case DType::u64:
      return body(uint64_t{}, decode, encode(uint64_t{}));
    case DType::string:
      break;
  }
  throw Error(ErrorKind::unsupported, "a tensor cannot hold strings");
}

template <class T>
std::span<const T> view(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
}

template <class T>
std::vector<std::byte> bytes_of(std::span<const T> values) {
  std::vector<std::byte> bytes(values.size_bytes());
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim < 0) throw Error(ErrorKind::bad_input, "shape " + to_string(shape) + " has an unknown dimension");
    if (__builtin_mul_overflow(count, dim, &count)) {
      throw Error(ErrorKind::bad_input, "shape " + to_string(shape) + " has too many elements");
    }
  }
  return count;
}

std::string to_string(const Shape& shape) {
  if (shape.empty()) return "scalar";
  std::string text;
  for (const int64_t dim : shape) {
    if (!text.empty()) text += 'x';
    text += dim < 0 ? "?" : std::to_string(dim);
  }
  return text;
}

size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::i8:
    case DType::u8:
    case DType::boolean:
      return 1;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
    case DType::u16:
      return 2;
    case DType::f32:
    case DType::i32:
    case DType::u32:
      return 4;
    case DType::f64:
    case DType::i64:
    case DType::u64:
      return 8;
    case DType::string:
      return 0;
  }
  return 0;
}

std::string_view to_string(DType dtype) {
  constexpr std::string_view names[] = {"f32", "f64", "f16", "bf16", "i8",  "u8",   "i16",
                                        "u16", "i32", "u32", "i64",  "u64", "bool", "string"};
  return names[static_cast<size_t>(dtype)];
}

bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::f16 || dtype == DType::bf16;
}

Tensor::Tensor(DType dtype, Shape shape, std::span<const std::byte> bytes, std::shared_ptr<const void> owner)
    : dtype_(dtype), shape_(std::move(shape)), size_(element_count(shape_)), bytes_(bytes), owner_(std::move(owner)) {
  size_t expected = 0;
  if (__builtin_mul_overflow(static_cast<size_t>(size_), size_of(dtype), &expected) || expected != bytes.size()) {
    throw Error(ErrorKind::bad_input, "a tensor of shape " + to_string(shape_) + " and type " +
                                          std::string(to_string(dtype)) + " does not fit " +
                                          std::to_string(bytes.size()) + " bytes");
  }
}

Tensor::Tensor(DType dtype, Shape shape, std::vector<std::byte> bytes) {
  auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  const std::span<const std::byte> all(*owner);
  *this = Tensor(dtype, std::move(shape), all, std::move(owner));
}

Tensor Tensor::of(Shape shape, std::span<const float> values) {
  return Tensor(DType::f32, std::move(shape), bytes_of(values));
}

Tensor Tensor::of(Shape shape, std::span<const int64_t> values) {
  return Tensor(DType::i64, std::move(shape), bytes_of(values));
}

Tensor Tensor::from_doubles(Shape shape, std::span<const double> values, DType dtype) {
  return with_type(dtype, [&](auto type, auto, auto encode) {
    using T = decltype(type);
    std::vector<std::byte> bytes(values.size() * sizeof(T));
    T* out = reinterpret_cast<T*>(bytes.data());
    for (size_t i = 0; i < values.size(); ++i) out[i] = encode(values[i]);
    return Tensor(dtype, std::move(shape), std::move(bytes));
  });
}

Tensor Tensor::adopt(Shape shape, std::vector<double> values) {
  const auto owner = std::make_shared<const std::vector<double>>(std::move(values));
  return Tensor(DType::f64, std::move(shape), std::as_bytes(std::span(*owner)), owner);
}

Tensor Tensor::filled(Shape shape, double value, DType dtype) {
  const std::vector<double> values(static_cast<size_t>(element_count(shape)), value);
  return from_doubles(std::move(shape), values, dtype);
}

template <class T>
std::span<const T> Tensor::as() const {
  if (!stored_as<T>(dtype_)) {
    throw Error(ErrorKind::usage, "a tensor of type " + std::string(to_string(dtype_)) + " was read as another type");
  }
  return view<T>(bytes_);
}
template std::span<const float> Tensor::as() const;
template std::span<const double> Tensor::as() const;
template std::span<const int8_t> Tensor::as() const;
template std::span<const uint8_t> Tensor::as() const;
template std::span<const int16_t> Tensor::as() const;
template std::span<const uint16_t> Tensor::as() const;
template std::span<const int32_t> Tensor::as() const;
template std::span<const uint32_t> Tensor::as() const;
template std::span<const int64_t> Tensor::as() const;
template std::span<const uint64_t> Tensor::as() const;

std::vector<double> Tensor::to_doubles() const {
  std::vector<double> out(static_cast<size_t>(size_));
  with_type(dtype_, [&](auto type, auto decode, auto) {
    const auto values = view<decltype(type)>(bytes_);
    for (size_t i = 0; i < out.size(); ++i) out[i] = decode(values[i]);
  });
  return out;
}

std::vector<float> Tensor::to_floats() const {
  if (dtype_ == DType::f32) {
    const auto values = as<float>();
    return {values.begin(), values.end()};
  }
  const std::vector<double> values = to_doubles();
  return {values.begin(), values.end()};
}

std::vector<int64_t> Tensor::to_ints() const {
  if (dtype_ == DType::i64) {
    const auto values = as<int64_t>();
    return {values.begin(), values.end()};
  }
  if (is_float(dtype_)) throw Error(ErrorKind::bad_input, "expected integers, found " + std::string(to_string(dtype_)));
  const std::vector<double> values = to_doubles();
  return {values.begin(), values.end()};
}

Tensor Tensor::cast(DType dtype) const {
  if (dtype == dtype_) return *this;
  if (is_float(dtype) || is_float(dtype_)) return from_doubles(shape_, to_doubles(), dtype);
  const std::vector<int64_t> values = to_ints();  // 64-bit integers do not survive a double
  return with_type(dtype, [&](auto type, auto, auto) {
    std::vector<decltype(type)> out(values.begin(), values.end());
    return Tensor(dtype, shape_, bytes_of(std::span<const decltype(type)>(out)));
  });
}

Tensor Tensor::reshaped(Shape shape) const {
  return Tensor(dtype_, std::move(shape), bytes_, owner_);
}

bool operator==(const Tensor& a, const Tensor& b) {
  return a.dtype_ == b.dtype_ && a.shape_ == b.shape_ && a.bytes_.size() == b.bytes_.size() &&
         (a.bytes_.empty() || std::memcmp(a.bytes_.data(), b.bytes_.data(), a.bytes_.size()) == 0);
}

float half_to_float(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1f, fraction = bits & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return sign ? -magnitude : magnitude;
  }
  const uint32_t wide = exponent == 31 ? 0xffu : exponent + 112;
  return std::bit_cast<float>(sign | (wide << 23) | (fraction << 13));
}

uint16_t float_to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;   // NaN
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // rounds past the largest half
  if (magnitude < 0x38800000u) {                        // subnormal: units of 2^-24
    return sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(std::bit_cast<float>(magnitude), 24)));
  }
  const uint32_t rounded = magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u);
  return sign | static_cast<uint16_t>(rounded >> 13);
}

float bfloat16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint16_t float_to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);  // NaN stays NaN
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace reducenet
