#include "image_cache.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

namespace rn {
namespace {

constexpr size_t kChannels = 3;
constexpr char kSuffix[] = ".rgb";

// The beginning of a cache file; the path and the pixels follow.
struct Header {
  char magic[8] = {'R', 'N', 'R', 'G', 'B', '1', 0, 0};
  int64_t modified = 0, size = 0;  // of the file that was decoded
  uint64_t height = 0, width = 0, path_length = 0;
};

struct File {
  explicit File(FILE* file) : handle(file) {}
  ~File() {
    if (handle != nullptr) std::fclose(handle);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  FILE* handle;
};

// What tells a picture file from one of the same name that replaced it.
bool Identify(const std::string& path, Header& header) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return false;
  header.modified = static_cast<int64_t>(info.st_mtime);
  header.size = static_cast<int64_t>(info.st_size);
  header.path_length = path.size();
  return true;
}

uint64_t Fnv1a(const std::string& text) {
  uint64_t hash = 14695981039346656037ull;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211ull;
  return hash;
}

uint64_t BytesIn(const std::string& folder) {
  uint64_t bytes = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const auto size = entry.path().extension() == kSuffix ? entry.file_size(ignored) : 0;
    if (!ignored) bytes += size;
  }
  return bytes;
}

}  // namespace

ImageCache::ImageCache(std::string folder, uint64_t limit, uint64_t shares)
    : folder_(std::move(folder)), limit_(limit) {
  if (!folder_.empty()) stats_.bytes = BytesIn(folder_);
  if (limit_ > stats_.bytes) limit_ = stats_.bytes + (limit_ - stats_.bytes) / shares;
}

std::shared_ptr<const CachedImage> ImageCache::Get(const std::string& path) {
  std::shared_ptr<const CachedImage> found;
  if (!folder_.empty()) found = Read(path);
  std::lock_guard<std::mutex> lock(mutex_);
  if (folder_.empty()) {
    const auto at = memory_.find(path);
    if (at != memory_.end()) found = at->second;
  }
  if (found) stats_.hits++;
  return found;
}

void ImageCache::Put(const std::string& path, const uint8_t* rgb, size_t height, size_t width) {
  const size_t size = kChannels * height * width;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (full_ || memory_.count(path) > 0) return;
    if (stats_.bytes + size > limit_) {
      full_ = true;
      return;
    }
    stats_.bytes += size;
    stats_.images++;
  }
  if (!folder_.empty()) {
    if (Write(path, rgb, height, width)) return;
    std::lock_guard<std::mutex> lock(mutex_);
    stats_.bytes -= size;
    stats_.images--;
    full_ = true;  // the disk is full, or the folder gone: no use trying for every picture
    return;
  }
  auto image = std::make_shared<CachedImage>();
  image->height = height;
  image->width = width;
  image->rgb.resize(size + 1);
  std::memcpy(image->rgb.data(), rgb, size);
  std::lock_guard<std::mutex> lock(mutex_);
  memory_[path] = std::move(image);
}

ImageCache::Stats ImageCache::stats() {
  std::lock_guard<std::mutex> lock(mutex_);
  return stats_;
}

std::string ImageCache::FileOf(const std::string& path) const {
  char name[17];
  std::snprintf(name, sizeof name, "%016llx", static_cast<unsigned long long>(Fnv1a(path)));
  return folder_ + "/" + name + kSuffix;
}

std::shared_ptr<const CachedImage> ImageCache::Read(const std::string& path) const {
  Header want, header;
  if (!Identify(path, want)) return nullptr;
  const File file(std::fopen(FileOf(path).c_str(), "rb"));
  if (file.handle == nullptr || std::fread(&header, sizeof header, 1, file.handle) != 1) return nullptr;
  want.height = header.height;
  want.width = header.width;
  if (std::memcmp(&want, &header, sizeof header) != 0) return nullptr;
  std::string name(header.path_length, '\0');
  if (std::fread(name.data(), 1, name.size(), file.handle) != name.size() || name != path) return nullptr;
  struct stat info;
  if (fstat(fileno(file.handle), &info) != 0) return nullptr;
  const uint64_t left = static_cast<uint64_t>(info.st_size) - sizeof header - name.size();
  const bool sane = header.height > 0 && header.width > 0 && header.height < (1u << 20) &&
                    header.width < (1u << 20) && kChannels * header.height * header.width == left;
  if (!sane) return nullptr;
  auto image = std::make_shared<CachedImage>();
  image->height = header.height;
  image->width = header.width;
  image->rgb.resize(left + 1);
  if (std::fread(image->rgb.data(), 1, left, file.handle) != left) return nullptr;
  return image;
}

// Under another name first: another process may be reading, and this one may be killed.
bool ImageCache::Write(const std::string& path, const uint8_t* rgb, size_t height, size_t width) const {
  static std::atomic<unsigned> count{0};
  Header header;
  if (!Identify(path, header)) return true;  // gone meanwhile, which is no fault of the cache
  header.height = height;
  header.width = width;
  const std::string name = FileOf(path);
  const std::string part = name + "." + std::to_string(getpid()) + "-" + std::to_string(count++) + ".tmp";
  bool good;
  {
    const File file(std::fopen(part.c_str(), "wb"));
    const size_t size = kChannels * height * width;
    good = file.handle != nullptr && std::fwrite(&header, sizeof header, 1, file.handle) == 1 &&
           std::fwrite(path.data(), 1, path.size(), file.handle) == path.size() &&
           std::fwrite(rgb, 1, size, file.handle) == size && std::fflush(file.handle) == 0;
  }
  good = good && std::rename(part.c_str(), name.c_str()) == 0;
  if (!good) std::remove(part.c_str());
  return good;
}

}  // namespace rn
