#pragma once

#include <napi.h>

namespace rn {

void InitPositions(Napi::Env env, Napi::Object exports);

}  // namespace rn
