#include "async.h"

#include <c10/util/Exception.h>

#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "env.h"

namespace rn {

namespace {

// The way back to one JavaScript thread. Shared with the work, which may outlive the environment.
struct Channel {
  std::mutex mutex;
  bool closing = false;  // guarded by mutex; from then on `done` must not be touched
  napi_threadsafe_function done = nullptr;
  size_t pending = 0;  // JavaScript thread only
};

struct Job {
  std::shared_ptr<Channel> channel;
  napi_deferred deferred = nullptr;
  std::function<void()> work;
  std::function<napi_value(Napi::Env)> result;
  std::string error;
  bool failed = false;
  bool holdsLoop = true;
};

// Runs on the JavaScript thread for every finished job; `env` is null when the environment is going away.
void Settle(napi_env env, napi_value, void*, void* data) {
  std::unique_ptr<Job> job(static_cast<Job*>(data));
  if (env == nullptr) return;
  if (job->holdsLoop && --job->channel->pending == 0) {
    napi_unref_threadsafe_function(env, job->channel->done);
  }
  if (!job->failed) {
    try {
      napi_resolve_deferred(env, job->deferred, job->result(env));
      return;
    } catch (...) {
      job->error = MessageInFlight();
    }
  }
  napi_reject_deferred(env, job->deferred, Napi::Error::New(env, job->error).Value());
}

std::shared_ptr<Channel> Open(Napi::Env env) {
  thread_local std::shared_ptr<Channel> channel;
  if (channel != nullptr && !channel->closing) return channel;
  channel = std::make_shared<Channel>();
  Check(napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "reid-native"), 0, 1,
                                        nullptr, nullptr, nullptr, Settle, &channel->done));
  napi_unref_threadsafe_function(env, channel->done);
  // Hooks run last-added first: this one closes the gate before the channel's own hook destroys the channel.
  napi_add_env_cleanup_hook(
      env,
      [](void* data) {
        std::unique_ptr<std::shared_ptr<Channel>> holder(static_cast<std::shared_ptr<Channel>*>(data));
        std::lock_guard<std::mutex> lock((*holder)->mutex);
        (*holder)->closing = true;
      },
      new std::shared_ptr<Channel>(channel));
  return channel;
}

void Run(std::unique_ptr<Job> job) {
  try {
    job->work();
  } catch (...) {
    job->failed = true;
    job->error = MessageInFlight();
  }
  job->work = nullptr;
  const std::shared_ptr<Channel> channel = job->channel;
  std::lock_guard<std::mutex> lock(channel->mutex);
  if (channel->closing) return;
  Job* data = job.release();
  if (napi_call_threadsafe_function(channel->done, data, napi_tsfn_nonblocking) != napi_ok) delete data;
}

}  // namespace

std::string MessageInFlight() {
  std::string text;
  try {
    throw;
  } catch (const c10::Error& error) {
    text = error.what_without_backtrace();
  } catch (const std::exception& error) {
    text = error.what();
  } catch (...) {
    text = "unknown native error";
  }
  // The watchdog of NCCL quotes a c10::Error with its back-trace.
  if (const size_t trace = text.find("\nException raised from "); trace != std::string::npos)
    text.erase(trace);
  // Gloo begins its messages with "[/path/of/a/source.cc:123] ".
  if (text.rfind("[/", 0) == 0) {
    const size_t end = text.find("] ");
    if (end != std::string::npos) text.erase(0, end + 2);
  }
  return text;
}

Napi::Value Promise(Napi::Env env, std::function<void()> work, std::function<napi_value(Napi::Env)> result,
                    bool holdsLoop) {
  auto job = std::make_unique<Job>();
  job->channel = Open(env);
  job->work = std::move(work);
  job->result = std::move(result);
  job->holdsLoop = holdsLoop;
  napi_value promise;
  Check(napi_create_promise(env, &job->deferred, &promise));
  if (holdsLoop && job->channel->pending++ == 0) napi_ref_threadsafe_function(env, job->channel->done);
  std::thread([job = std::move(job)]() mutable { Run(std::move(job)); }).detach();
  return Napi::Value(env, promise);
}

}  // namespace rn
