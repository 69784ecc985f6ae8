#pragma once

#include "fades/fades.h"

namespace reducenet {

extern const FadeKind kActivationFade, kBranchFade, kBlendFade, kDropFade;

}  // namespace reducenet
