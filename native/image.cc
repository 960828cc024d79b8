// Images from files or bytes into tensors, by native threads (image_job.h). Generic: it knows batches of
// pictures, not what they are for.
//
//   imageLoadBatch(sources: (string | Uint8Array)[], out, threads, programs?, cache?): Promise<Failure[]>
//   imageProcessInto(rgb: Uint8Array, height, width, out, index, program?, cache?, path?): Promise<Failure[]>
//   imageDecode(source: string | Uint8Array): Promise<id | Failure>
//   imageCacheOpen(folder: string, limit, shares): cache
//   imageCacheStats(cache): {hits, images, bytes}
//
// `out` is the id of a contiguous CPU tensor N x 3 x H x W, uint8 or float32 (values 0 to 255); source i
// fills slot i, after its program (a Float64Array, see picture_program.h) or, without programs, after being
// resized to fit. A job keeps its own reference to that tensor, so that JavaScript may let go of its own
// meanwhile. Failures come as values, {index, unsupported, message}: one picture that needs another decoder
// must not discard the other 63.

#include <ATen/core/Tensor.h>
#include <napi.h>

#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "addon.h"
#include "env.h"
#include "image_cache.h"
#include "image_job.h"
#include "picture.h"

namespace rn {
namespace {

// What jobs need of the JavaScript environment they were started from. Shared with them, since they may
// outlive it.
struct ImageEnv {
  std::mutex mutex;
  bool closing = false;  // guarded by mutex; from then on `done` must not be touched
  napi_threadsafe_function done = nullptr;
  size_t pending = 0;  // JavaScript thread only
};

// A promise that a job is to settle.
struct Pending {
  std::shared_ptr<ImageEnv> env;
  napi_deferred deferred = nullptr;
  std::shared_ptr<ImageJob> job;
};

// On a thread of the pool: hands a finished job to the JavaScript thread.
void Report(const std::shared_ptr<Pending>& pending) {
  std::lock_guard<std::mutex> lock(pending->env->mutex);
  if (pending->env->closing) return;
  auto* data = new std::shared_ptr<Pending>(pending);
  if (napi_call_threadsafe_function(pending->env->done, data, napi_tsfn_nonblocking) != napi_ok) delete data;
}

Napi::Object FailureObject(Napi::Env env, const ImageFailure& failure) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("index", static_cast<double>(failure.index));
  object.Set("unsupported", failure.unsupported);
  object.Set("message", failure.message);
  return object;
}

napi_value JobResult(Napi::Env env, const ImageJob& job) {
  if (!job.out.defined()) {
    if (!job.failures.empty()) return FailureObject(env, job.failures[0]);
    return Napi::Number::New(env, PutTensor(env, job.decoded));
  }
  Napi::Array result = Napi::Array::New(env, job.failures.size());
  for (uint32_t i = 0; i < job.failures.size(); i++) result[i] = FailureObject(env, job.failures[i]);
  return result;
}

// Runs on the JavaScript thread for every finished job; `env` is null when the environment is going away.
void Settle(napi_env env, napi_value, void*, void* data) {
  std::unique_ptr<std::shared_ptr<Pending>> holder(static_cast<std::shared_ptr<Pending>*>(data));
  if (env == nullptr) return;
  Pending& pending = **holder;
  if (--pending.env->pending == 0) napi_unref_threadsafe_function(env, pending.env->done);
  try {
    napi_resolve_deferred(env, pending.deferred, JobResult(env, *pending.job));
  } catch (const std::exception& e) {
    napi_reject_deferred(env, pending.deferred, Napi::Error::New(env, e.what()).Value());
  }
}

void OpenChannel(Napi::Env env, const std::shared_ptr<ImageEnv>& state) {
  napi_status status = napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "image"),
                                                       0, 1, nullptr, nullptr, nullptr, Settle, &state->done);
  if (status != napi_ok) throw std::runtime_error("cannot make a channel to the JavaScript thread");
  napi_unref_threadsafe_function(env, state->done);
  // Hooks run last-added first: this one closes the gate before the channel's own hook destroys the channel.
  napi_add_env_cleanup_hook(
      env,
      [](void* data) {
        std::unique_ptr<std::shared_ptr<ImageEnv>> holder(static_cast<std::shared_ptr<ImageEnv>*>(data));
        std::lock_guard<std::mutex> lock((*holder)->mutex);
        (*holder)->closing = true;
      },
      new std::shared_ptr<ImageEnv>(state));
}

Napi::Value Start(Napi::Env env, const std::shared_ptr<ImageEnv>& state, std::shared_ptr<ImageJob> job,
                  size_t threads) {
  if (state->done == nullptr) OpenChannel(env, state);
  const auto pending = std::make_shared<Pending>(Pending{state, nullptr, std::move(job)});
  napi_value promise;
  if (napi_create_promise(env, &pending->deferred, &promise) != napi_ok) {
    throw std::runtime_error("cannot make a promise");
  }
  if (state->pending++ == 0) napi_ref_threadsafe_function(env, state->done);
  StartImageJob(pending->job, threads, [pending] { Report(pending); });
  return Napi::Value(env, promise);
}

std::vector<uint8_t> CopyBytes(const Napi::Value& value) {
  const auto array = value.As<Napi::TypedArray>();
  const auto* data = static_cast<const uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  return std::vector<uint8_t>(data, data + array.ByteLength());
}

bool IsBytes(const Napi::Value& value) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
}

ImageSource ToSource(const Napi::Value& value) {
  ImageSource source;
  if (value.IsString()) {
    source.path = value.As<Napi::String>().Utf8Value();
  } else if (IsBytes(value)) {
    source.kind = ImageSource::kEncoded;
    source.bytes = CopyBytes(value);
  } else {
    throw TypeError("an image source must be a path or a Uint8Array");
  }
  return source;
}

size_t ToCount(const Napi::Value& value, const char* name, double low, double high) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= low && number <= high) || number != static_cast<double>(static_cast<size_t>(number))) {
    throw TypeError(std::string(name) + " must be an integer from " +
                    std::to_string(static_cast<size_t>(low)) + " to " +
                    std::to_string(static_cast<size_t>(high)));
  }
  return static_cast<size_t>(number);
}

at::Tensor ToBatch(Napi::Env env, const Napi::Value& id, size_t slots) {
  at::Tensor out = GetTensor(env, id);
  const bool typed = out.scalar_type() == at::kByte || out.scalar_type() == at::kFloat;
  if (!out.is_cpu() || !typed || out.dim() != 4 || out.size(1) != int64_t{kChannels} ||
      !out.is_contiguous() || out.size(2) < 1 || out.size(3) < 1) {
    throw TypeError("images are written to a contiguous uint8 or float32 tensor N x 3 x H x W on the CPU");
  }
  if (static_cast<size_t>(out.size(0)) < slots) {
    throw TypeError("the batch has " + std::to_string(out.size(0)) + " slots, which is too few for " +
                    std::to_string(slots) + " images");
  }
  return out;
}

void SetProgram(ImageSource& source, const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
    throw TypeError("an image program must be a Float64Array");
  }
  const auto array = value.As<Napi::Float64Array>();
  source.has_program = true;
  source.program.assign(array.Data(), array.Data() + array.ElementLength());
}

using CacheHandle = Napi::External<std::shared_ptr<ImageCache>>;
constexpr napi_type_tag kCacheTag = {0x52e1d3a76b0f4c18, 0x9d7f20c45ab8e361};

std::shared_ptr<ImageCache> ToCache(const Napi::Value& value) {
  if (value.IsUndefined()) return nullptr;
  if (!value.IsExternal() || !value.As<CacheHandle>().CheckTypeTag(&kCacheTag)) {
    throw TypeError("not an image cache");
  }
  return *value.As<CacheHandle>().Data();
}

using State = std::shared_ptr<ImageEnv>;
constexpr double kMaxThreads = 256;

Napi::Value LoadBatch(const Napi::CallbackInfo& info, const State& state) {
  if (!info[0].IsArray()) throw TypeError("imageLoadBatch: the sources must be an array");
  const auto sources = info[0].As<Napi::Array>();
  auto job = std::make_shared<ImageJob>();
  job->out = ToBatch(info.Env(), info[1], sources.Length());
  const size_t threads = ToCount(info[2], "imageLoadBatch: threads", 1, kMaxThreads);
  job->sources.reserve(sources.Length());
  for (uint32_t i = 0; i < sources.Length(); i++) job->sources.push_back(ToSource(sources[i]));
  if (!info[3].IsUndefined()) {
    const auto programs = info[3].IsArray() ? info[3].As<Napi::Array>() : Napi::Array();
    if (programs.IsEmpty() || programs.Length() != sources.Length()) {
      throw TypeError("imageLoadBatch: there must be as many programs as sources");
    }
    for (uint32_t i = 0; i < programs.Length(); i++) SetProgram(job->sources[i], programs[i]);
  }
  job->cache = ToCache(info[4]);
  return Start(info.Env(), state, std::move(job), threads);
}

Napi::Value ProcessIntoSlot(const Napi::CallbackInfo& info, const State& state) {
  if (!IsBytes(info[0])) throw TypeError("imageProcessInto: the pixels must be a Uint8Array");
  ImageSource source;
  source.kind = ImageSource::kRgb;
  source.height = static_cast<int>(ToCount(info[1], "imageProcessInto: height", 1, 1 << 20));
  source.width = static_cast<int>(ToCount(info[2], "imageProcessInto: width", 1, 1 << 20));
  const size_t index = ToCount(info[4], "imageProcessInto: index", 0, 1 << 30);
  source.bytes = CopyBytes(info[0]);
  if (source.bytes.size() != size_t{3} * source.height * source.width) {
    throw TypeError("imageProcessInto: expected height x width x 3 bytes, got " +
                    std::to_string(source.bytes.size()));
  }
  source.bytes.push_back(0);  // ResizeToPlanes reads one byte further
  if (!info[5].IsUndefined()) SetProgram(source, info[5]);
  auto job = std::make_shared<ImageJob>();
  job->out = ToBatch(info.Env(), info[3], index + 1);
  job->first_slot = index;
  job->cache = ToCache(info[6]);
  if (job->cache) source.path = info[7].As<Napi::String>().Utf8Value();
  job->sources.push_back(std::move(source));
  return Start(info.Env(), state, std::move(job), 1);
}

Napi::Value DecodeOne(const Napi::CallbackInfo& info, const State& state) {
  auto job = std::make_shared<ImageJob>();
  job->sources.push_back(ToSource(info[0]));
  return Start(info.Env(), state, std::move(job), 1);
}

Napi::Value CacheOpen(const Napi::CallbackInfo& info, const State&) {
  if (!info[0].IsString() || !info[1].IsNumber())
    throw TypeError("imageCacheOpen: expected a folder, a size");
  const double limit = info[1].As<Napi::Number>().DoubleValue();
  if (!(limit >= 0 && limit <= 9e15)) throw TypeError("imageCacheOpen: the size must be 0 or more bytes");
  const size_t shares = ToCount(info[2], "imageCacheOpen: shares", 1, 1 << 20);
  auto cache = std::make_shared<ImageCache>(info[0].As<Napi::String>().Utf8Value(),
                                            static_cast<uint64_t>(limit), shares);
  auto* holder = new std::shared_ptr<ImageCache>(std::move(cache));
  const auto handle =
      CacheHandle::New(info.Env(), holder, [](auto, std::shared_ptr<ImageCache>* held) { delete held; });
  handle.TypeTag(&kCacheTag);
  return handle;
}

Napi::Value CacheStats(const Napi::CallbackInfo& info, const State&) {
  const auto cache = ToCache(info[0]);
  if (!cache) throw TypeError("not an image cache");
  const ImageCache::Stats stats = cache->stats();
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("hits", static_cast<double>(stats.hits));
  object.Set("images", static_cast<double>(stats.images));
  object.Set("bytes", static_cast<double>(stats.bytes));
  return object;
}

void Register(Napi::Env env, Napi::Object exports, const char* name, const State& state,
              Napi::Value (*body)(const Napi::CallbackInfo&, const State&)) {
  auto callback = [state, body, name](const Napi::CallbackInfo& info) -> Napi::Value {
    return Guarded(info.Env(), [&] { return body(info, state); });
  };
  exports.Set(name, Napi::Function::New(env, callback, name));
}

}  // namespace

void InitImage(Napi::Env env, Napi::Object exports) {
  const auto state = std::make_shared<ImageEnv>();
  Register(env, exports, "imageLoadBatch", state, LoadBatch);
  Register(env, exports, "imageProcessInto", state, ProcessIntoSlot);
  Register(env, exports, "imageDecode", state, DecodeOne);
  Register(env, exports, "imageCacheOpen", state, CacheOpen);
  Register(env, exports, "imageCacheStats", state, CacheStats);
}

}  // namespace rn
