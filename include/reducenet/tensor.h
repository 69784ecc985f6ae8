#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace reducenet {

/// Dimensions, outermost first. A negative entry is a dimension known only at run time.
using Shape = std::vector<int64_t>;

/// Number of elements; throws Error(bad_input) when a dimension is unknown or the product overflows.
int64_t element_count(const Shape& shape);
/// "1x3x32x32"; unknown dimensions print as "?".
std::string to_string(const Shape& shape);

enum class DType : uint8_t { f32, f64, f16, bf16, i8, u8, i16, u16, i32, u32, i64, u64, boolean, string };

/// Bytes per element (0 for string, which no Tensor holds).
size_t size_of(DType dtype);
std::string_view to_string(DType dtype);
bool is_float(DType dtype);

/// An immutable array with value semantics: copies share storage.
class Tensor {
 public:
  Tensor() = default;
  /// Takes `bytes` as little-endian elements; throws Error(bad_input) when their number does not fit shape and dtype.
  Tensor(DType dtype, Shape shape, std::vector<std::byte> bytes);
  /// Borrows memory that `owner` keeps alive (a mapped file, for instance).
  Tensor(DType dtype, Shape shape, std::span<const std::byte> bytes, std::shared_ptr<const void> owner);

  static Tensor of(Shape shape, std::span<const float> values);
  static Tensor of(Shape shape, std::span<const int64_t> values);
  /// Rounds each value to `dtype` (default: keeps double).
  static Tensor from_doubles(Shape shape, std::span<const double> values, DType dtype = DType::f64);
  /// Takes the values as they are, in double.
  static Tensor adopt(Shape shape, std::vector<double> values);
  static Tensor filled(Shape shape, double value, DType dtype = DType::f32);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t size() const { return size_; }
  std::span<const std::byte> bytes() const { return bytes_; }

  /// Elements as stored; throws Error(usage) when T is not the stored type.
  template <class T>
  std::span<const T> as() const;

  /// Every element as a double (from any numeric dtype).
  std::vector<double> to_doubles() const;
  /// Every element as a float (from any numeric dtype).
  std::vector<float> to_floats() const;
  /// Every element as an int64 (from any integer dtype; throws Error(bad_input) otherwise).
  std::vector<int64_t> to_ints() const;
  /// The same elements rounded to another dtype.
  Tensor cast(DType dtype) const;
  /// The same elements under another shape of equal size.
  Tensor reshaped(Shape shape) const;

  /// True when dtype, shape and every byte agree.
  friend bool operator==(const Tensor& a, const Tensor& b);

 private:
  DType dtype_ = DType::f32;
  Shape shape_ = {0};
  int64_t size_ = 0;
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
};

/// IEEE half and bfloat16 conversions, round to nearest even.
float half_to_float(uint16_t bits);
uint16_t float_to_half(float value);
float bfloat16_to_float(uint16_t bits);
uint16_t float_to_bfloat16(float value);

}  // namespace reducenet
