#include "thread_pool.h"

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace rn {

struct ThreadPool::State {
  std::mutex mutex;
  std::condition_variable wake;  // a task came, or the process ends
  std::condition_variable idle;  // a thread finished its task
  std::deque<std::function<void()>> tasks;
  size_t threads = 0;
  size_t running = 0;
  bool stopping = false;

  void Work();
};

void ThreadPool::State::Work() {
  std::unique_lock<std::mutex> lock(mutex);
  for (;;) {
    wake.wait(lock, [this] { return stopping || !tasks.empty(); });
    if (stopping) return;
    std::function<void()> task = std::move(tasks.front());
    tasks.pop_front();
    running++;
    lock.unlock();
    task();
    task = nullptr;  // what it holds is released here, not under the lock
    lock.lock();
    running--;
    idle.notify_all();
  }
}

ThreadPool::ThreadPool() : state_(new State) {}

ThreadPool& ThreadPool::Instance() {
  static ThreadPool* pool = [] {
    auto* made = new ThreadPool;
    std::atexit([] {
      State& state = *Instance().state_;
      std::unique_lock<std::mutex> lock(state.mutex);
      state.stopping = true;
      state.tasks.clear();
      state.wake.notify_all();
      // A task inside libtorch must not see its static objects destroyed. A task that hangs (a dead network
      // drive) must not keep the process from ending either.
      state.idle.wait_for(lock, std::chrono::seconds(5), [&state] { return state.running == 0; });
    });
    return made;
  }();
  return *pool;
}

void ThreadPool::Grow(size_t threads) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  while (state_->threads < threads && !state_->stopping) {
    std::thread([state = state_] { state->Work(); }).detach();
    state_->threads++;
  }
}

size_t ThreadPool::size() const {
  std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->threads;
}

void ThreadPool::Post(std::function<void()> task) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  if (state_->stopping) return;
  state_->tasks.push_back(std::move(task));
  state_->wake.notify_one();
}

}  // namespace rn
