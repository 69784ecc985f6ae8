#pragma once

#include "cli.h"
#include "reducenet/verify.h"

namespace reducenet::cli {

Json certificate_json(const Certificate& certificate);
/// One or two lines for a person.
std::string certificate_text(const Certificate& certificate);

}  // namespace reducenet::cli
