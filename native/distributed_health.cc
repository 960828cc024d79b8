// Who is alive. Every process shows signs of life in the store from a native thread of its own, so that a
// process whose JavaScript thread waits in a collective counts as alive, and a killed, stopped or cut-off one
// does not.
#include <torch/csrc/distributed/c10d/Store.hpp>
#ifdef __linux__
#include <signal.h>
#include <sys/prctl.h>
#endif
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "addon.h"
#include "async.h"
#include "distributed.h"

namespace rn {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::atomic<int64_t> collectives{0};
std::atomic<const char*> lastCollective{"none"};

struct Peer {
  std::string beat;        // as last read; "count collectives name"
  Clock::time_point seen;  // when it last changed
  bool known = false;      // has shown a sign of life
  bool done = false;       // has said goodbye
  std::string failure;     // has said that it failed, and why
};

// One a process: what JavaScript started with healthStart.
struct Health {
  int rank = 0, size = 1;
  milliseconds interval{1000}, lostAfter{30000};
  std::string errorFile, address;
  c10::intrusive_ptr<c10d::Store> store;  // the beat thread's own connection

  std::mutex mutex;  // guards what follows
  std::vector<Peer> peers;
  Clock::time_point answered;  // when the store last answered
  std::string storeError;
  std::atomic<bool> stop{false};
  std::mutex speaking;  // held while this process writes its own key: nothing may follow the last word

  std::string key(int of) const { return "alive/" + std::to_string(of); }
};

// Any thread may ask for it at the process's end, so neither is ever destroyed.
std::mutex& currentMutex = *new std::mutex;
std::shared_ptr<Health>& current = *new std::shared_ptr<Health>;

std::shared_ptr<Health> Current() {
  std::lock_guard lock(currentMutex);
  return current;
}
std::shared_ptr<Health> Replace(std::shared_ptr<Health> next) {
  std::lock_guard lock(currentMutex);
  std::swap(current, next);
  return next;
}

constexpr const char* kDone = "done";
constexpr const char* kFailed = "failed ";

void Beat(Health& health, int64_t count) {
  const std::string mine =
      std::to_string(count) + " " + std::to_string(collectives.load()) + " " + lastCollective.load();
  {
    std::lock_guard lock(health.speaking);
    if (health.stop) return;
    health.store->set(health.key(health.rank), std::vector<uint8_t>(mine.begin(), mine.end()));
  }
  for (int i = 0; i < health.size; ++i) {
    if (i == health.rank) continue;
    {
      std::lock_guard lock(health.mutex);
      if (health.peers[i].done) continue;
    }
    if (!health.store->check({health.key(i)})) continue;
    const auto bytes = health.store->get(health.key(i));
    std::string text(bytes.begin(), bytes.end());
    std::lock_guard lock(health.mutex);
    Peer& peer = health.peers[i];
    if (text == peer.beat) continue;
    if (text.rfind(kFailed, 0) == 0) peer.failure = text.substr(std::string(kFailed).size());
    peer.done = text == kDone || !peer.failure.empty();
    peer.known = true;
    peer.seen = Clock::now();
    peer.beat = std::move(text);
  }
  std::lock_guard lock(health.mutex);
  health.answered = Clock::now();
}

void BeatLoop(const std::shared_ptr<Health>& health) {
  for (int64_t count = 1; !health->stop; ++count) {
    try {
      Beat(*health, count);
    } catch (...) {
      std::lock_guard lock(health->mutex);
      health->storeError = MessageInFlight();
      return;
    }
    std::this_thread::sleep_for(health->interval);
  }
}

std::string Seconds(Clock::duration time) {
  return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(time).count()) + " s";
}

// Who has failed, and why; empty when nobody has.
std::string Failures(Health& health) {
  std::lock_guard lock(health.mutex);
  std::string text;
  for (int i = 0; i < health.size; ++i) {
    const Peer& peer = health.peers[i];
    if (peer.failure.empty()) continue;
    text += "rank " + std::to_string(i) + " failed: " + peer.failure;
    text += std::ispunct(static_cast<unsigned char>(text.back())) ? " " : ". ";
  }
  return text;
}

// Who does not answer; empty when all seem well.
std::string Lost(Health& health, milliseconds limit) {
  std::lock_guard lock(health.mutex);
  std::ostringstream text;
  const auto now = Clock::now();
  const bool silent = now - health.answered > limit;
  if (health.rank != 0 && (!health.storeError.empty() || silent)) {
    text << "rank 0, which keeps the store at " << health.address << ", does not answer ("
         << (health.storeError.empty() ? "for " + Seconds(now - health.answered) : "connection lost")
         << "). ";
    return text.str();
  }
  for (int i = 0; i < health.size; ++i) {
    const Peer& peer = health.peers[i];
    if (i == health.rank || !peer.known || peer.done || now - peer.seen <= limit) continue;
    text << "rank " << i << " has shown no sign of life for " << Seconds(now - peer.seen)
         << " (it is dead, stopped or cut off). ";
  }
  return text.str();
}

void WriteError(const Health& health, const std::string& message) {
  // Rank 0 shares the terminal with its launcher, which says it.
  if (health.errorFile.empty() || health.rank != 0) {
    std::fprintf(stderr, "error: rank %d: %s\n", health.rank, message.c_str());
    std::fflush(stderr);
  }
  if (health.errorFile.empty()) return;
  std::FILE* file = std::fopen(health.errorFile.c_str(), "wx");  // an error that is there came first
  if (file == nullptr) return;
  std::string quoted;
  for (const char c : message) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  const auto time =
      std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::fprintf(file, "{\"rank\":%d,\"message\":\"%s\",\"secondary\":true,\"time\":%lld}\n", health.rank,
               quoted.c_str(), static_cast<long long>(time));
  std::fclose(file);
}

// A process that waits in a collective for one that is cut off, or that has failed but not ended, would wait
// for the collective's whole time-out, and nothing but its end stops it. So it is ended, after JavaScript had
// time to notice by itself.
void WatchLoop(const std::shared_ptr<Health>& health) {
  const milliseconds grace = std::min(health->lostAfter, milliseconds(5000));
  Clock::time_point since{};
  while (!health->stop) {
    std::this_thread::sleep_for(milliseconds(200));
    std::string lost = Failures(*health);
    if (lost.empty()) lost = Lost(*health, health->lostAfter);
    if (lost.empty()) {
      since = {};
    } else if (since == Clock::time_point{}) {
      since = Clock::now();
    } else if (Clock::now() - since > grace && !health->stop) {
      WriteError(*health, lost + "This process ends. Go on from the last checkpoint with --resume");
      std::_Exit(75);
    }
  }
}

// The last word: nothing of this process follows it in the store.
void Say(Health& health, const std::string& word) noexcept {
  try {
    std::lock_guard lock(health.speaking);
    health.store->set(health.key(health.rank), std::vector<uint8_t>(word.begin(), word.end()));
  } catch (...) {
    // Whoever kept the store is gone, and with it everybody who could want to know.
  }
}

std::terminate_handler usualEnd = nullptr;

// An exception that nobody catches ends the process, as NCCL's watchdog means it to: the launcher and the
// other ranks are told before.
[[noreturn]] void EndByException() {
  static std::atomic_flag begun;
  const auto health = Current();
  if (health && !health->stop && !begun.test_and_set()) {
    health->stop = true;
    std::string message = std::current_exception() ? MessageInFlight() : "std::terminate";
    std::replace(message.begin(), message.end(), '\n', ' ');
    message = "a native thread ended the process: " + message;
    WriteError(*health, message);
    const auto said = std::make_shared<std::promise<void>>();
    std::thread([health, said, word = kFailed + message] {
      Say(*health, word);
      said->set_value();
    }).detach();
    said->get_future().wait_for(std::chrono::seconds(2));
  }
  usualEnd();
  std::abort();
}

// healthStart(storeId, rank, size, intervalMs, lostAfterMs, errorFile, address)
void HealthStart(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    if (usualEnd == nullptr) usualEnd = std::set_terminate(EndByException);
    auto health = std::make_shared<Health>();
    health->rank = info[1].As<Napi::Number>().Int32Value();
    health->size = info[2].As<Napi::Number>().Int32Value();
    health->interval = milliseconds(info[3].As<Napi::Number>().Int64Value());
    health->lostAfter = milliseconds(info[4].As<Napi::Number>().Int64Value());
    health->errorFile = info[5].ToString().Utf8Value();
    health->address = info[6].ToString().Utf8Value();
    health->store = Stores().get(info[0])->clone();
    health->peers.resize(health->size);
    health->answered = Clock::now();
    if (const auto before = Replace(health)) before->stop = true;
    std::thread([health] { BeatLoop(health); }).detach();
    std::thread([health] { WatchLoop(health); }).detach();
  });
}

// healthStop(failure): the last word, a goodbye or with a text the reason of an end; the others no longer
// expect signs of life. The promise never fails.
Napi::Value HealthStop(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    const auto health = Replace(nullptr);
    if (health) health->stop = true;
    const std::string failure = info[0].ToString().Utf8Value();
    return Promise(
        info.Env(),
        [health, word = failure.empty() ? kDone : kFailed + failure] {
          if (health) Say(*health, word);
        },
        [](Napi::Env env) -> napi_value { return env.Undefined(); });
  });
}

// healthReport(limitMs, orBehind) -> who failed, else who does not answer, else, where asked for, who is
// behind; '' when nothing is known.
Napi::Value HealthReport(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const auto health = Current();
    if (!health) return Napi::String::New(info.Env(), "");
    std::string text = Failures(*health);
    if (text.empty()) text = Lost(*health, milliseconds(info[0].As<Napi::Number>().Int64Value()));
    if (!text.empty() || !info[1].ToBoolean()) return Napi::String::New(info.Env(), text);
    std::lock_guard lock(health->mutex);
    const int64_t mine = collectives.load();
    for (int i = 0; i < health->size; ++i) {
      if (i == health->rank) continue;
      std::istringstream beat(health->peers[i].beat);
      int64_t count = 0, theirs = 0;
      std::string name;
      if (health->peers[i].done) {
        text += "rank " + std::to_string(i) + " has ended. ";
      } else if (beat >> count >> theirs >> name && theirs < mine) {
        text += "rank " + std::to_string(i) + " is behind: it has begun " + std::to_string(theirs) +
                " collectives (the last a " + name + "), this rank " + std::to_string(mine) + " (" +
                lastCollective.load() + "). ";
      }
    }
    return Napi::String::New(info.Env(), text);
  });
}

// dieWithParent(): the operating system ends this process when the one that started it ends. Linux only.
void DieWithParent(const Napi::CallbackInfo&) {
#ifdef __linux__
  prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
}

}  // namespace

void NoteCollective(const char* name) {
  lastCollective = name;
  ++collectives;
}

void InitDistributedHealth(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("healthStart", HealthStart);
  add("healthStop", HealthStop);
  add("healthReport", HealthReport);
  add("dieWithParent", DieWithParent);
}

}  // namespace rn
