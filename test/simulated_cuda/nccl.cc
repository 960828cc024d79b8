// NCCL between processes of one machine, through shared memory, in the order of the streams and behind the
// caller.
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <fcntl.h>
#include <nccl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "device.h"

struct ncclComm {
 public:
  ncclComm(const std::string& name, int rank, int size) : rank(rank), size(size) {
    cudaGetDevice(&device);
    const size_t bytes = sizeof(Shared) + size * kChunk + size * size * sizeof(Mail);
    const int file = shm_open(name.c_str(), O_CREAT | O_RDWR, 0600);
    void* made = MAP_FAILED;
    if (file >= 0 && ftruncate(file, bytes) == 0) {
      made = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    if (made == MAP_FAILED) {
      sim::say("NCCL: no shared memory");
      abort();
    }
    close(file);
    base_ = static_cast<char*>(made);
    ++shared().joined;
    until([&] { return shared().joined >= size; });
    barrier();
    if (rank == 0) shm_unlink(name.c_str());
  }

  // Everyone shows `bytes` of its own; `see(rank, offset, data, n)` gets a piece of each rank's.
  template <class See>
  void exchange(const char* mine, size_t bytes, See&& see) {
    for (size_t at = 0; at < std::max<size_t>(bytes, 1); at += kChunk) {
      const size_t n = std::min(kChunk, bytes - at);
      if (mine != nullptr) memcpy(chunk(rank), mine + at, n);
      if (!barrier()) return;
      for (int other = 0; other < size; ++other) see(other, at, chunk(other), n);
      if (!barrier()) return;
    }
  }
  // Ends when all has been received, as a large message's does with NCCL.
  void send(const char* from, size_t bytes, int peer) {
    Mail& mail = mailTo(rank, peer);
    for (size_t at = 0; at < bytes; at += sizeof mail.data) {
      if (!until([&] { return !mail.full; })) return;
      memcpy(mail.data, from + at, std::min(sizeof mail.data, bytes - at));
      mail.full = true;
    }
    until([&] { return !mail.full; });
  }
  void receive(char* to, size_t bytes, int peer) {
    Mail& mail = mailTo(peer, rank);
    for (size_t at = 0; at < bytes; at += sizeof mail.data) {
      if (!until([&] { return mail.full.load(); })) return;
      memcpy(to + at, mail.data, std::min(sizeof mail.data, bytes - at));
      mail.full = false;
    }
  }
  // Waits until all have left, as NCCL does for those of a machine.
  void leave() {
    ++shared().left;
    for (int i = 0; i < 100'000 && shared().left < size; ++i) usleep(100);
  }

  const int rank, size;
  int device = 0;
  std::atomic<bool> aborted{false};

 private:
  static constexpr size_t kChunk = 1 << 20;
  struct Shared {
    std::atomic<int> joined, left;
    std::atomic<unsigned> arrived, round;
  };
  struct Mail {
    std::atomic<bool> full;
    char data[1 << 18];
  };

  Shared& shared() { return *reinterpret_cast<Shared*>(base_); }
  char* chunk(int of) { return base_ + sizeof(Shared) + of * kChunk; }
  Mail& mailTo(int from, int to) { return reinterpret_cast<Mail*>(chunk(size))[from * size + to]; }

  template <class Reached>
  bool until(Reached&& reached) {
    while (!reached()) {
      if (aborted) return false;
      usleep(50);
    }
    return true;
  }
  bool barrier() {
    const unsigned now = shared().round;
    if (++shared().arrived == static_cast<unsigned>(size)) {
      shared().arrived = 0;
      ++shared().round;
      return true;
    }
    return until([&] { return shared().round != now; });
  }

  char* base_;
};

namespace {

size_t sizeOf(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8:
      return 1;
    case ncclFloat16:
    case ncclBfloat16:
      return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
      return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64:
      return 8;
    default:
      sim::say("NCCL: type %d is not simulated", type);
      abort();
  }
}

template <class Sum>
Sum combine(Sum a, Sum b, int op) {
  switch (op) {
    case ncclProd:
      return a * b;
    case ncclMax:
      return std::max(a, b);
    case ncclMin:
      return std::min(a, b);
    default:
      return a + b;
  }
}

// What a reduction of `count` numbers of all ranks gives, numbers `begin` to `end` of it.
struct Reduction {
  size_t count, begin, end;
  int op;
  bool wanted;
};

template <class T, class Sum = T>
void reduceAs(ncclComm& comm, const char* in, char* out, const Reduction& what) {
  std::vector<Sum> sum(what.count);
  comm.exchange(in, what.count * sizeof(T), [&](int rank, size_t at, const char* data, size_t bytes) {
    const T* values = reinterpret_cast<const T*>(data);
    Sum* into = sum.data() + at / sizeof(T);
    for (size_t i = 0; i < bytes / sizeof(T); ++i) {
      const Sum value = static_cast<Sum>(values[i]);
      into[i] = rank == 0 ? value : combine(into[i], value, what.op);
    }
  });
  if (!what.wanted) return;
  T* to = reinterpret_cast<T*>(out);
  for (size_t i = what.begin; i < what.end; ++i) {
    *to++ = static_cast<T>(what.op == ncclAvg ? sum[i] / static_cast<Sum>(comm.size) : sum[i]);
  }
}

void reduce(ncclComm& comm, const char* in, char* out, ncclDataType_t type, const Reduction& what) {
  switch (type) {
    case ncclInt8:
      return reduceAs<int8_t>(comm, in, out, what);
    case ncclUint8:
      return reduceAs<uint8_t>(comm, in, out, what);
    case ncclInt32:
      return reduceAs<int32_t>(comm, in, out, what);
    case ncclUint32:
      return reduceAs<uint32_t>(comm, in, out, what);
    case ncclInt64:
      return reduceAs<int64_t>(comm, in, out, what);
    case ncclUint64:
      return reduceAs<uint64_t>(comm, in, out, what);
    case ncclFloat16:
      return reduceAs<c10::Half, float>(comm, in, out, what);
    case ncclBfloat16:
      return reduceAs<c10::BFloat16, float>(comm, in, out, what);
    case ncclFloat32:
      return reduceAs<float>(comm, in, out, what);
    default:
      return reduceAs<double>(comm, in, out, what);
  }
}

struct Operation {
  ncclComm_t comm;
  cudaStream_t stream;
  int lane;  // of those between two ranks: one a peer and direction; else 0
  std::function<void()> work;
  sim::Range writes;
};
thread_local int depth = 0;
thread_local std::vector<Operation> group;

// Enqueues the operations of a group: those between different ranks go on side by side, others in order.
ncclResult_t flush() {
  while (!group.empty()) {
    const auto same = [first = group.front()](const Operation& other) {
      return other.comm == first.comm && other.stream == first.stream;
    };
    const auto rest = std::stable_partition(group.begin(), group.end(), same);
    const auto together = std::make_shared<std::vector<Operation>>(group.begin(), rest);
    group.erase(group.begin(), rest);
    std::vector<sim::Range> writes;
    for (const auto& one : *together) {
      if (one.writes.size > 0) writes.push_back(one.writes);
    }
    const auto work = [together] {
      std::map<int, std::vector<std::function<void()>>> lanes;
      for (const auto& one : *together) lanes[one.lane].push_back(one.work);
      std::vector<std::thread> side;
      for (const auto& [_, lane] : lanes) {
        side.emplace_back([&lane] {
          for (const auto& work : lane) work();
        });
      }
      for (auto& thread : side) thread.join();
    };
    if (sim::enqueue(together->front().stream, work, writes) != cudaSuccess) return ncclUnhandledCudaError;
  }
  return ncclSuccess;
}

ncclResult_t add(const char* name, const void* in, void* out, Operation operation) {
  for (const void* address : {in, static_cast<const void*>(out)}) {
    if (address == nullptr || sim::onDevice(address)) continue;
    sim::say("%s of memory that is not the device's", name);
    return ncclInvalidArgument;
  }
  if (operation.comm->device != sim::currentDevice()) {
    sim::say("%s on device %d by a communicator of device %d", name, sim::currentDevice(),
             operation.comm->device);
    return ncclInvalidUsage;
  }
  if (operation.comm->aborted) return ncclInvalidUsage;
  group.push_back(std::move(operation));
  return depth > 0 ? ncclSuccess : flush();
}

const char* bytesAt(const void* address) { return static_cast<const char*>(sim::real(address)); }
char* bytesAt(void* address) { return static_cast<char*>(sim::real(address)); }

ncclResult_t addReduction(const char* name, const void* in, void* out, ncclDataType_t type,
                          const Reduction& what, ncclComm_t comm, cudaStream_t stream) {
  if (what.op > ncclAvg) {
    sim::say("%s: the operation %d is not simulated", name, what.op);
    return ncclInvalidArgument;
  }
  const auto work = [=] { reduce(*comm, bytesAt(in), bytesAt(out), type, what); };
  return add(name, in, out, {comm, stream, 0, work, {out, (what.end - what.begin) * sizeOf(type)}});
}

// Each rank shows `bytes`; of rank r's `take(r)` says where they go, if anywhere.
template <class Take>
ncclResult_t addExchange(const char* name, const void* in, void* out, size_t bytes, size_t written, Take take,
                         ncclComm_t comm, cudaStream_t stream) {
  const auto work = [=] {
    comm->exchange(in ? bytesAt(in) : nullptr, bytes, [&](int rank, size_t at, const char* data, size_t n) {
      if (char* to = take(rank)) memcpy(to + at, data, n);
    });
  };
  return add(name, in, out, {comm, stream, 0, work, {out, written}});
}

}  // namespace

// --- communicators ---

SIM_API ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
SIM_API const char* ncclGetErrorString(ncclResult_t) { return "an error of the simulated NCCL"; }
SIM_API const char* ncclGetLastError(ncclComm_t) { return ""; }
SIM_API ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::random_device random;
  *id = {};
  snprintf(id->internal, sizeof id->internal, "/simulated-nccl-%d-%08x%08x", getpid(), random(), random());
  return ncclSuccess;
}
SIM_API ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int size, ncclUniqueId id, int rank,
                                            ncclConfig_t*) {
  *comm = new ncclComm(id.internal, rank, size);
  return ncclSuccess;
}
SIM_API ncclResult_t ncclCommInitRank(ncclComm_t* comm, int size, ncclUniqueId id, int rank) {
  return ncclCommInitRankConfig(comm, size, id, rank, nullptr);
}
SIM_API ncclResult_t ncclCommFinalize(ncclComm_t) { return ncclSuccess; }
SIM_API ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  comm->leave();
  return ncclSuccess;
}
SIM_API ncclResult_t ncclCommAbort(ncclComm_t comm) {
  comm->aborted = true;
  return ncclSuccess;
}
SIM_API ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* error) {
  *error = ncclSuccess;
  return ncclSuccess;
}
SIM_API ncclResult_t ncclCommCount(const ncclComm_t comm, int* count) {
  *count = comm->size;
  return ncclSuccess;
}
SIM_API ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) {
  *rank = comm->rank;
  return ncclSuccess;
}
SIM_API ncclResult_t ncclCommRegister(const ncclComm_t, void*, size_t, void** handle) {
  *handle = nullptr;
  return ncclSuccess;
}
SIM_API ncclResult_t ncclCommDeregister(const ncclComm_t, void*) { return ncclSuccess; }
SIM_API ncclResult_t ncclGroupStart() {
  ++depth;
  return ncclSuccess;
}
SIM_API ncclResult_t ncclGroupEnd() { return --depth > 0 ? ncclSuccess : flush(); }

// --- collectives ---

SIM_API ncclResult_t ncclAllReduce(const void* in, void* out, size_t count, ncclDataType_t type,
                                   ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  return addReduction("ncclAllReduce", in, out, type, {count, 0, count, op, true}, comm, stream);
}
SIM_API ncclResult_t ncclReduce(const void* in, void* out, size_t count, ncclDataType_t type, ncclRedOp_t op,
                                int root, ncclComm_t comm, cudaStream_t stream) {
  const bool mine = comm->rank == root;
  return addReduction("ncclReduce", in, out, type, {count, 0, mine ? count : 0, op, mine}, comm, stream);
}
SIM_API ncclResult_t ncclReduceScatter(const void* in, void* out, size_t count, ncclDataType_t type,
                                       ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  const size_t begin = count * comm->rank;
  return addReduction("ncclReduceScatter", in, out, type,
                      {count * comm->size, begin, begin + count, op, true}, comm, stream);
}
SIM_API ncclResult_t ncclBroadcast(const void* in, void* out, size_t count, ncclDataType_t type, int root,
                                   ncclComm_t comm, cudaStream_t stream) {
  const size_t bytes = count * sizeOf(type);
  const auto take = [=](int rank) { return rank == root ? bytesAt(out) : nullptr; };
  return addExchange("ncclBroadcast", comm->rank == root ? in : nullptr, out, bytes, bytes, take, comm,
                     stream);
}
SIM_API ncclResult_t ncclBcast(void* data, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                               cudaStream_t stream) {
  return ncclBroadcast(data, data, count, type, root, comm, stream);
}
SIM_API ncclResult_t ncclAllGather(const void* in, void* out, size_t count, ncclDataType_t type,
                                   ncclComm_t comm, cudaStream_t stream) {
  const size_t bytes = count * sizeOf(type);
  const auto take = [=](int rank) { return bytesAt(out) + rank * bytes; };
  return addExchange("ncclAllGather", in, out, bytes, bytes * comm->size, take, comm, stream);
}
SIM_API ncclResult_t ncclSend(const void* in, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                              cudaStream_t stream) {
  const size_t bytes = count * sizeOf(type);
  return add("ncclSend", in, nullptr,
             {comm, stream, 1 + 2 * peer, [=] { comm->send(bytesAt(in), bytes, peer); }, {}});
}
SIM_API ncclResult_t ncclRecv(void* out, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                              cudaStream_t stream) {
  const size_t bytes = count * sizeOf(type);
  return add("ncclRecv", nullptr, out,
             {comm, stream, 2 + 2 * peer, [=] { comm->receive(bytesAt(out), bytes, peer); }, {out, bytes}});
}
SIM_API ncclResult_t ncclAlltoAll(const void* in, void* out, size_t count, ncclDataType_t type,
                                  ncclComm_t comm, cudaStream_t stream) {
  const size_t bytes = count * sizeOf(type);
  ncclGroupStart();
  for (int peer = 0; peer < comm->size; ++peer) {
    ncclSend(static_cast<const char*>(in) + peer * bytes, count, type, peer, comm, stream);
    ncclRecv(static_cast<char*>(out) + peer * bytes, count, type, peer, comm, stream);
  }
  return ncclGroupEnd();
}
SIM_API ncclResult_t ncclGather(const void* in, void* out, size_t count, ncclDataType_t type, int root,
                                ncclComm_t comm, cudaStream_t stream) {
  ncclGroupStart();
  ncclSend(in, count, type, root, comm, stream);
  for (int peer = 0; peer < comm->size && comm->rank == root; ++peer) {
    ncclRecv(static_cast<char*>(out) + peer * count * sizeOf(type), count, type, peer, comm, stream);
  }
  return ncclGroupEnd();
}
