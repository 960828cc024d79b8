#include "jpeg.h"

#ifdef RN_HAVE_JPEG
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <new>

#include <jpeglib.h>  // wants <cstdio> before it

#include <jerror.h>
#endif

namespace rn {

#ifndef RN_HAVE_JPEG

Decode DecodeJpeg(const uint8_t*, size_t, RgbImage&, std::string&) { return Decode::kUnsupported; }

#else

namespace {

constexpr uint64_t kMaxPixels = 1ull << 28;  // a header may promise 4 gigapixels in a few bytes

struct ErrorManager {
  jpeg_error_mgr base;  // first: libjpeg hands back a pointer to it
  jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
  bool ended_early;
};

ErrorManager* Manager(j_common_ptr info) { return reinterpret_cast<ErrorManager*>(info->err); }

[[noreturn]] void OnError(j_common_ptr info) {
  info->err->format_message(info, Manager(info)->message);
  longjmp(Manager(info)->jump, 1);
}

void OnMessage(j_common_ptr info, int level) {
  if (level >= 0) return;
  info->err->num_warnings++;
  if (info->err->msg_code == JWRN_JPEG_EOF) Manager(info)->ended_early = true;
}

uint32_t ReadUint(const uint8_t* p, int bytes, bool little) {
  uint32_t value = 0;
  for (int i = 0; i < bytes; i++) value |= uint32_t{p[i]} << 8 * (little ? i : bytes - 1 - i);
  return value;
}

// Orientation tag (0x0112) of an EXIF block, 1 (upright) where there is none.
uint32_t Orientation(const uint8_t* exif, size_t size) {
  constexpr size_t kHeader = 6;  // "Exif\0\0", then a TIFF file
  if (size < kHeader + 8 || std::memcmp(exif, "Exif\0\0", kHeader) != 0) return 1;
  const uint8_t* tiff = exif + kHeader;
  const size_t length = size - kHeader;
  if (tiff[0] != tiff[1] || (tiff[0] != 'I' && tiff[0] != 'M')) return 1;
  const bool little = tiff[0] == 'I';
  const size_t directory = ReadUint(tiff + 4, 4, little);
  if (directory > length || length - directory < 2) return 1;
  const size_t entries = ReadUint(tiff + directory, 2, little);
  for (size_t i = 0; i < entries; i++) {
    const size_t at = directory + 2 + 12 * i;
    if (at + 12 > length) return 1;
    if (ReadUint(tiff + at, 2, little) == 0x0112) return ReadUint(tiff + at + 8, 2, little);
  }
  return 1;
}

bool IsUpright(const jpeg_decompress_struct& info) {
  for (const jpeg_marker_struct* marker = info.marker_list; marker != nullptr; marker = marker->next) {
    if (marker->marker != JPEG_APP0 + 1) continue;
    const uint32_t orientation = Orientation(marker->data, marker->data_length);
    if (orientation >= 2 && orientation <= 8) return false;
  }
  return true;
}

// Everything between setjmp and the end; no object with a destructor may live here, since longjmp skips it.
Decode Run(jpeg_decompress_struct& info, const uint8_t* data, size_t size, RgbImage& image) {
  jpeg_mem_src(&info, data, static_cast<unsigned long>(size));
  jpeg_save_markers(&info, JPEG_APP0 + 1, 0xFFFF);
  jpeg_read_header(&info, TRUE);
  const bool colour_known = info.jpeg_color_space == JCS_YCbCr || info.jpeg_color_space == JCS_RGB ||
                            info.jpeg_color_space == JCS_GRAYSCALE;
  if (!colour_known || info.data_precision != 8 || !IsUpright(info)) return Decode::kUnsupported;
  if (uint64_t{info.image_width} * info.image_height > kMaxPixels) {
    std::snprintf(Manager(reinterpret_cast<j_common_ptr>(&info))->message, JMSG_LENGTH_MAX,
                  "the image is too large (%u x %u pixels)", info.image_width, info.image_height);
    return Decode::kFailed;
  }
  info.out_color_space = JCS_RGB;
  info.dct_method = JDCT_ISLOW;
  info.do_fancy_upsampling = TRUE;
  jpeg_start_decompress(&info);
  image.height = static_cast<int>(info.output_height);
  image.width = static_cast<int>(info.output_width);
  const size_t stride = size_t{info.output_width} * 3;
  image.pixels.resize(stride * info.output_height + 1);
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = image.pixels.data() + stride * info.output_scanline;
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_finish_decompress(&info);
  return Decode::kDone;
}

}  // namespace

Decode DecodeJpeg(const uint8_t* data, size_t size, RgbImage& image, std::string& error) {
  if (size < 3 || data[0] != 0xFF || data[1] != 0xD8 || data[2] != 0xFF) return Decode::kUnsupported;
  jpeg_decompress_struct info;
  ErrorManager manager;
  manager.message[0] = '\0';
  manager.ended_early = false;
  info.err = jpeg_std_error(&manager.base);
  manager.base.error_exit = OnError;
  manager.base.emit_message = OnMessage;
  volatile Decode result = Decode::kFailed;
  if (setjmp(manager.jump) == 0) {
    jpeg_create_decompress(&info);
    try {
      result = Run(info, data, size, image);
    } catch (const std::bad_alloc&) {
      std::snprintf(manager.message, sizeof manager.message, "not enough memory for its pixels");
    }
  }
  jpeg_destroy_decompress(&info);
  if (result == Decode::kDone && manager.ended_early) {
    std::snprintf(manager.message, sizeof manager.message, "the file ends before the image does");
    result = Decode::kFailed;
  }
  if (result == Decode::kFailed) error = std::string("broken JPEG: ") + manager.message;
  return result;
}

#endif

}  // namespace rn
