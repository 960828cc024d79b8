// One Init per concern; addon.cc calls them all.
#pragma once

#include <napi.h>

namespace rn {

void InitMemory(Napi::Env env, Napi::Object exports);
void InitOperators(Napi::Env env, Napi::Object exports);
void InitTensor(Napi::Env env, Napi::Object exports);
void InitAutograd(Napi::Env env, Napi::Object exports);
void InitAutocast(Napi::Env env, Napi::Object exports);
void InitFunctions(Napi::Env env, Napi::Object exports);
void InitContext(Napi::Env env, Napi::Object exports);
void InitImage(Napi::Env env, Napi::Object exports);
void InitSerialization(Napi::Env env, Napi::Object exports);
void InitLayout(Napi::Env env, Napi::Object exports);
void InitDistributedStore(Napi::Env env, Napi::Object exports);
void InitDistributedGroup(Napi::Env env, Napi::Object exports);
void InitDistributedHealth(Napi::Env env, Napi::Object exports);
void InitDistributedReducer(Napi::Env env, Napi::Object exports);
void InitProfiler(Napi::Env env, Napi::Object exports);

}  // namespace rn
