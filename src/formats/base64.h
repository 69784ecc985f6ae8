#pragma once

#include <string>
#include <string_view>

namespace reducenet {

/// RFC 4648, section 4, with padding.
std::string to_base64(std::string_view bytes);
/// Throws Error(bad_input) when `text` is not what to_base64 writes.
std::string from_base64(std::string_view text);

}  // namespace reducenet
