// libtorch's wheels have ProcessGroupGloo.hpp but not the Gloo headers it includes. These few declarations
// stand in for them: only libtorch makes and destroys the objects, the addon passes pointers on.
#pragma once

#include <gloo/rendezvous/store.h>
#include <gloo/transport/device.h>

#include <chrono>
#include <memory>

namespace gloo {

class Context {
 public:
  virtual ~Context();
  void setTimeout(std::chrono::milliseconds timeout);
};

}  // namespace gloo
