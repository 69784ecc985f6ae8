#pragma once

#include <span>

#include "reducenet/collapse.h"

namespace reducenet {

/// The rows of each family; rules() joins them in this order.
std::span<const Rule> identity_rules();
std::span<const Rule> constant_rules();
std::span<const Rule> activation_rules();
std::span<const Rule> batch_norm_rules();
std::span<const Rule> linear_rules();
std::span<const Rule> branch_rules();
std::span<const Rule> concat_rules();
std::span<const Rule> residual_rules();
std::span<const Rule> border_rules();
std::span<const Rule> last_axis_rules();
std::span<const Rule> reserve_rules();
std::span<const Rule> pool_rules();

}  // namespace reducenet
