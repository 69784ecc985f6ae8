#pragma once

#include <optional>
#include <string>

#include "rules/view.h"

namespace reducenet {

/// A linear map and constant padding of height and width behind it: pad_v, or pad₀ with a frame of constants written
/// over it by ScatterND.
struct Frame {
  View first;  ///< what makes the inside
  View map;    ///< the same with the padding among its own: equal to all of it, where frame_obstacle() finds nothing
  NodeId padding;  ///< the Pad
  ValueId result;
};

/// The frame that `value` is, by its ops alone; nothing when it is none.
std::optional<Frame> read_frame(const Site& site, ValueId value);

/// Why a frame is not its map: other values than the map makes of zeros, other readers in between; nothing when it is.
/// They may differ by what rounding leaves of the sum that makes the inside, for inputs of 1.
std::optional<std::string> frame_obstacle(const Site& site, const Frame& frame);

}  // namespace reducenet
