// What belongs to devices: Init functions for addon.cc, and what there is to say when memory runs out.
#pragma once

#include "env.h"

#include <c10/util/Exception.h>

namespace rn {

void InitBackends(Napi::Env env, Napi::Object exports);
void InitCuda(Napi::Env env, Napi::Object exports);

// Whether an error says that memory has run out, and what JavaScript holds of it.
bool IsOutOfMemory(const c10::Error& error);
std::string WhoHoldsMemory(EnvData& data);

}  // namespace rn
