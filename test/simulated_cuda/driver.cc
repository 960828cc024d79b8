// libcuda.so.1: as much as libtorch asks it on its own.
#define SIM_API extern "C" __attribute__((visibility("default")))

SIM_API int simContextActive(int device);

SIM_API int cuInit(unsigned) { return 0; }
SIM_API int cuDevicePrimaryCtxGetState(int device, unsigned* flags, int* active) {
  *flags = 0;
  *active = simContextActive(device);
  return 0;
}
SIM_API int cuGetErrorString(int, const char** text) {
  *text = "an error of the simulated driver";
  return 0;
}
