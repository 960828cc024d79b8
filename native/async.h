// Work that takes its time on a native thread, and a JavaScript promise of its result.
#pragma once

#include <napi.h>

#include <functional>

namespace rn {

// Runs `work` on a thread of its own; it may block. The promise is kept with what `result` returns on the
// JavaScript thread, or broken with the message of what either throws. The promise keeps the event loop
// alive, unless `holdsLoop` is false: for work that may never end.
Napi::Value Promise(Napi::Env env, std::function<void()> work, std::function<napi_value(Napi::Env)> result,
                    bool holdsLoop = true);

// The message of the exception in flight, as users should see it: without back-traces and source locations.
std::string MessageInFlight();

}  // namespace rn
