// Decoded pictures, kept in memory or in a folder, so that they are decoded once and not once a pass. Any
// thread may use a cache. No N-API, no libtorch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace rn {

struct CachedImage {
  size_t height = 0, width = 0;
  std::vector<uint8_t> rgb;  // height x width x 3, and one more (see resize.h)
};

class ImageCache {
 public:
  struct Stats {
    size_t hits = 0, images = 0;  // images: added by this cache, or kept in its memory
    uint64_t bytes = 0;
  };

  // Keeps up to `limit` bytes in `folder`, which must exist, or in memory where that is empty. What a folder
  // holds already counts, and is used where the file it was made of has not changed since. Of what is left,
  // this cache adds one of `shares` equal parts.
  ImageCache(std::string folder, uint64_t limit, uint64_t shares = 1);

  // Null where the picture is not there.
  std::shared_ptr<const CachedImage> Get(const std::string& path);
  // Does nothing once the cache is full: in a pass every picture is wanted once, so that throwing out the
  // oldest would throw out what is wanted next.
  void Put(const std::string& path, const uint8_t* rgb, size_t height, size_t width);
  Stats stats();

 private:
  std::shared_ptr<const CachedImage> Read(const std::string& path) const;
  bool Write(const std::string& path, const uint8_t* rgb, size_t height, size_t width) const;
  std::string FileOf(const std::string& path) const;

  const std::string folder_;
  uint64_t limit_;
  std::mutex mutex_;  // guards what follows
  Stats stats_;
  bool full_ = false;
  std::unordered_map<std::string, std::shared_ptr<const CachedImage>> memory_;
};

}  // namespace rn
