// The whole native surface on one screen.
#include "addon.h"

#include "devices.h"
#include "env.h"
#include "positions.h"

namespace rn {

void SetCurrent(EnvData* data) noexcept;

namespace {

void CloseEnvironment(void* pointer) {
  auto* data = static_cast<EnvData*>(pointer);
  data->drain();
  data->closed.store(true);
  data->slots.clear();
  data->generators.clear();
  data->jsThread->close();
  SetCurrent(nullptr);
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  static std::once_flag once;
  std::call_once(once, InstallCountingAllocator);
  auto* data = new EnvData;  // never deleted: see env.h
  data->env = env;
  data->thread = std::this_thread::get_id();
  data->jsThread = std::make_unique<JsThread>(data);
  SetCurrent(data);
  napi_add_env_cleanup_hook(env, CloseEnvironment, data);

  InitMemory(env, exports);
  InitOperators(env, exports);
  InitTensor(env, exports);
  InitAutograd(env, exports);
  InitAutocast(env, exports);
  InitBackends(env, exports);
  InitCuda(env, exports);
  InitFunctions(env, exports);
  InitContext(env, exports);
  InitImage(env, exports);
  InitSerialization(env, exports);
  InitLayout(env, exports);
  InitPositions(env, exports);
  InitDistributedStore(env, exports);
  InitDistributedGroup(env, exports);
  InitDistributedHealth(env, exports);
  InitDistributedReducer(env, exports);
  InitProfiler(env, exports);
  return exports;
}

}  // namespace
}  // namespace rn

static Napi::Object InitAddon(Napi::Env env, Napi::Object exports) { return rn::Init(env, exports); }
NODE_API_MODULE(reid_native, InitAddon)
