#include "reducenet/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "reducenet/error.h"

namespace reducenet {
namespace {

TEST(Tensor, RoundTripsEveryNumericType) {
  const std::vector<double> values{0, 1, 2, 5, 100};
  for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16, DType::i8, DType::u8, DType::i16,
                            DType::u16, DType::i32, DType::u32, DType::i64, DType::u64}) {
    EXPECT_EQ(Tensor::from_doubles({5}, values, dtype).to_doubles(), values) << to_string(dtype);
  }
}

TEST(Tensor, CopiesShareStorage) {
  const Tensor a = Tensor::filled({1000}, 3);
  const Tensor b = a.reshaped({10, 100});
  EXPECT_EQ(a.bytes().data(), b.bytes().data());
}

TEST(Tensor, BigIntegersSurviveACast) {
  const int64_t big = (int64_t{1} << 53) + 1;
  const Tensor a = Tensor::of({1}, std::vector<int64_t>{big});
  EXPECT_EQ(a.cast(DType::u64).as<uint64_t>()[0], static_cast<uint64_t>(big));
}

TEST(Tensor, RefusesWrongSizes) {
  EXPECT_THROW(Tensor(DType::f32, {2}, std::vector<std::byte>(7)), Error);
  EXPECT_THROW(Tensor::filled({2}, 0).reshaped({3}), Error);
  EXPECT_THROW(element_count({int64_t{1} << 40, int64_t{1} << 40}), Error);
  EXPECT_THROW(element_count({-1, 2}), Error);
  EXPECT_THROW(Tensor::filled({2}, 0).as<double>(), Error);
}

TEST(Tensor, EveryHalfConvertsBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = half_to_float(half);
    if (std::isnan(value)) continue;
    EXPECT_EQ(float_to_half(value), half) << bits;
  }
}

TEST(Tensor, HalvesRoundToNearestEven) {
  EXPECT_EQ(float_to_half(1 + 0x1p-11f), float_to_half(1.0f));             // tie, to even
  EXPECT_EQ(half_to_float(float_to_half(1 + 3 * 0x1p-11f)), 1 + 0x1p-9f);  // tie, to even
  EXPECT_EQ(half_to_float(float_to_half(65519.0f)), 65504.0f);
  EXPECT_TRUE(std::isinf(half_to_float(float_to_half(65520.0f))));
  EXPECT_EQ(half_to_float(float_to_half(0x1p-25f)), 0.0f);  // tie with 0
  EXPECT_EQ(half_to_float(float_to_half(0x1.8p-25f)), 0x1p-24f);
  EXPECT_EQ(bfloat16_to_float(float_to_bfloat16(1 + 0x1p-8f)), 1.0f);
  EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace reducenet
