// What the files of the distributed part share: stores and process groups by number.
#pragma once

#include <napi.h>

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <map>
#include <mutex>
#include <string>

#include "env.h"

namespace rn {

// Objects that JavaScript knows by number. They are freed when JavaScript says so and never at exit: their
// destructors join threads, which a process that ends must not wait for.
template <class T>
class Handles {
 public:
  explicit Handles(const char* what) : what_(what) {}

  double add(c10::intrusive_ptr<T> object) {
    std::lock_guard<std::mutex> lock(mutex_);
    objects_.emplace(++last_, std::move(object));
    return static_cast<double>(last_);
  }
  c10::intrusive_ptr<T> get(const Napi::Value& handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = objects_.find(handle.As<Napi::Number>().Int64Value());
    if (found == objects_.end()) throw TypeError(std::string("this ") + what_ + " has been closed");
    return found->second;
  }
  c10::intrusive_ptr<T> take(const Napi::Value& handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = objects_.find(handle.As<Napi::Number>().Int64Value());
    if (found == objects_.end()) return {};
    auto object = std::move(found->second);
    objects_.erase(found);
    return object;
  }

 private:
  const char* what_;
  std::mutex mutex_;
  std::map<int64_t, c10::intrusive_ptr<T>> objects_;
  int64_t last_ = 0;
};

Handles<c10d::Store>& Stores();
Handles<c10d::ProcessGroup>& Groups();

// What averages gradients through a group ends before the group does.
void CloseReducersOf(const c10d::ProcessGroup& group);

// Tells the heartbeat (distributed_health.cc) which collective this process has come to.
void NoteCollective(const char* name);

}  // namespace rn
