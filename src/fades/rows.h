#pragma once

#include "fades/fades.h"

namespace reducenet {

extern const FadeKind kActivationFade;

}  // namespace reducenet
