// A pool of native threads for work that must stay off the JavaScript thread. Knows nothing of its tasks.
#pragma once

#include <cstddef>
#include <functional>

namespace rn {

// One pool a process: idle threads cost nothing, and two loaders at once must not double the load.
class ThreadPool {
 public:
  // The pool lives for ever (its threads may outlast every static object's destructor); an exit handler stops
  // it from taking new tasks and waits a short while for those in hand.
  static ThreadPool& Instance();

  // Makes sure that at least `threads` threads exist. Their number never shrinks.
  void Grow(size_t threads);
  size_t size() const;

  // Runs `task` on some thread of the pool, first come first served. It must not throw, nor run operators
  // that libtorch spreads over threads: each thread of the pool would get a team of its own.
  void Post(std::function<void()> task);

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

 private:
  struct State;
  ThreadPool();
  State* state_;
};

}  // namespace rn
