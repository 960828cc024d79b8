// Key-value stores through which processes find each other. Whatever may wait for another process waits on a
// native thread.
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <chrono>
#include <memory>

#include "addon.h"
#include "async.h"
#include "distributed.h"

namespace rn {

Handles<c10d::Store>& Stores() {
  static auto* stores = new Handles<c10d::Store>("store");
  return *stores;
}

namespace {

using std::chrono::milliseconds;
using StorePtr = c10::intrusive_ptr<c10d::Store>;

milliseconds Milliseconds(const Napi::Value& value) {
  return milliseconds(value.As<Napi::Number>().Int64Value());
}

std::vector<std::string> Keys(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<std::string> keys;
  for (uint32_t i = 0; i < array.Length(); ++i) keys.push_back(Napi::Value(array[i]).ToString().Utf8Value());
  return keys;
}

// storeTcp(host, port, isServer, timeoutMs) -> Promise<[id, port]>. Port 0 of a server: a free one.
Napi::Value StoreTcp(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const std::string host = info[0].ToString().Utf8Value();
    c10d::TCPStoreOptions options;
    options.port = static_cast<std::uint16_t>(info[1].As<Napi::Number>().Uint32Value());
    options.isServer = info[2].ToBoolean();
    options.waitWorkers = false;
    options.timeout = Milliseconds(info[3]);
    auto store = std::make_shared<c10::intrusive_ptr<c10d::TCPStore>>();
    return Promise(
        info.Env(), [=] { *store = c10::make_intrusive<c10d::TCPStore>(host, options); },
        [=](Napi::Env env) -> napi_value {
          const std::uint16_t port = (*store)->getPort();
          Napi::Array result = Napi::Array::New(env, 2);
          result.Set(uint32_t{0}, Stores().add(*store));
          result.Set(uint32_t{1}, static_cast<double>(port));
          return result;
        });
  });
}

// storeFile(path, processes, timeoutMs) -> id
Napi::Value StoreFile(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    auto store = c10::make_intrusive<c10d::FileStore>(info[0].ToString().Utf8Value(),
                                                      info[1].As<Napi::Number>().Int32Value());
    store->setTimeout(Milliseconds(info[2]));
    return Napi::Number::New(info.Env(), Stores().add(std::move(store)));
  });
}

// storePrefix(id, prefix) -> id
Napi::Value StorePrefix(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    auto store =
        c10::make_intrusive<c10d::PrefixStore>(info[1].ToString().Utf8Value(), Stores().get(info[0]));
    return Napi::Number::New(info.Env(), Stores().add(std::move(store)));
  });
}

// storeClose(id): whatever is under way goes on; what is begun later fails.
void StoreClose(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { Stores().take(info[0]); });
}

using Bytes = std::vector<uint8_t>;

Bytes ToBytes(const Napi::Value& value) {
  const auto array = value.As<Napi::Uint8Array>();
  return Bytes(array.Data(), array.Data() + array.ByteLength());
}

// storeSet(id, key, Uint8Array) -> Promise
Napi::Value StoreSet(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    const StorePtr store = Stores().get(info[0]);
    return Promise(
        info.Env(),
        [store, key = info[1].ToString().Utf8Value(), value = ToBytes(info[2])] { store->set(key, value); },
        [](Napi::Env env) -> napi_value { return env.Undefined(); });
  });
}

// storeGet(id, key, timeoutMs) -> Promise<Uint8Array>: waits for the key.
Napi::Value StoreGet(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    const StorePtr store = Stores().get(info[0]);
    auto value = std::make_shared<Bytes>();
    return Promise(
        info.Env(),
        [store, value, key = info[1].ToString().Utf8Value(), timeout = Milliseconds(info[2])] {
          store->wait({key}, timeout);
          *value = store->get(key);
        },
        [value](Napi::Env env) -> napi_value {
          auto bytes = Napi::Uint8Array::New(env, value->size());
          std::copy(value->begin(), value->end(), bytes.Data());
          return bytes;
        });
  });
}

// storeAdd(id, key, amount) -> Promise<number>
Napi::Value StoreAdd(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    const StorePtr store = Stores().get(info[0]);
    auto value = std::make_shared<int64_t>(0);
    return Promise(
        info.Env(),
        [store, value, key = info[1].ToString().Utf8Value(),
         amount = info[2].As<Napi::Number>().Int64Value()] { *value = store->add(key, amount); },
        [value](Napi::Env env) -> napi_value { return Napi::Number::New(env, static_cast<double>(*value)); });
  });
}

// storeWait(id, keys[], timeoutMs) -> Promise
Napi::Value StoreWait(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    const StorePtr store = Stores().get(info[0]);
    return Promise(
        info.Env(),
        [store, keys = Keys(info[1]), timeout = Milliseconds(info[2])] { store->wait(keys, timeout); },
        [](Napi::Env env) -> napi_value { return env.Undefined(); });
  });
}

Napi::Value StoreFlag(const Napi::CallbackInfo& info, std::function<bool(const StorePtr&)> ask) {
  const StorePtr store = Stores().get(info[0]);
  auto value = std::make_shared<bool>(false);
  return Promise(
      info.Env(), [store, value, ask = std::move(ask)] { *value = ask(store); },
      [value](Napi::Env env) -> napi_value { return Napi::Boolean::New(env, *value); });
}

// storeCheck(id, keys[]) -> Promise<boolean>: are they all there?
Napi::Value StoreCheck(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    return StoreFlag(info, [keys = Keys(info[1])](const StorePtr& store) { return store->check(keys); });
  });
}

// storeDelete(id, key) -> Promise<boolean>: was it there?
Napi::Value StoreDelete(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    return StoreFlag(info, [key = info[1].ToString().Utf8Value()](const StorePtr& store) {
      return store->deleteKey(key);
    });
  });
}

// addressesTo(host, port) -> [the address from which this machine reaches `host`, that of `host`]; throws for
// an unknown host. Nothing is sent.
Napi::Value AddressesTo(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const std::string host = info[0].ToString().Utf8Value();
    addrinfo hints{};
    hints.ai_socktype = SOCK_DGRAM;
    addrinfo* found = nullptr;
    const int failed = getaddrinfo(host.c_str(), info[1].ToString().Utf8Value().c_str(), &hints, &found);
    if (failed != 0) throw std::runtime_error("unknown host '" + host + "': " + gai_strerror(failed));
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, freeaddrinfo);
    for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
      const int socket = ::socket(at->ai_family, SOCK_DGRAM, 0);
      if (socket < 0) continue;
      sockaddr_storage own{};
      socklen_t length = sizeof own;
      auto* address = reinterpret_cast<sockaddr*>(&own);
      char here[NI_MAXHOST], there[NI_MAXHOST];
      const auto print = [](const sockaddr* from, socklen_t size, char* text) {
        return getnameinfo(from, size, text, NI_MAXHOST, nullptr, 0, NI_NUMERICHOST) == 0;
      };
      const bool ok = connect(socket, at->ai_addr, at->ai_addrlen) == 0 &&
                      getsockname(socket, address, &length) == 0 && print(address, length, here) &&
                      print(at->ai_addr, at->ai_addrlen, there);
      close(socket);
      if (!ok) continue;
      auto result = Napi::Array::New(info.Env(), 2);
      result.Set(uint32_t{0}, here);
      result.Set(uint32_t{1}, there);
      return result;
    }
    throw std::runtime_error("no network leads to host '" + host + "'");
  });
}

}  // namespace

void InitDistributedStore(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("storeTcp", StoreTcp);
  add("storeFile", StoreFile);
  add("storePrefix", StorePrefix);
  add("storeClose", StoreClose);
  add("storeSet", StoreSet);
  add("storeGet", StoreGet);
  add("storeAdd", StoreAdd);
  add("storeWait", StoreWait);
  add("storeCheck", StoreCheck);
  add("storeDelete", StoreDelete);
  add("addressesTo", AddressesTo);
}

}  // namespace rn
