#pragma once

#include <string>
#include <string_view>

namespace reducenet::report {

/// Text as HTML: & < > " ' escaped.
std::string escape(std::string_view text);

/// A number with at most `digits` significant digits, without trailing zeros.
std::string number(double value, int digits = 4);

}  // namespace reducenet::report
