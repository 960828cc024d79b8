// Loaded before anything else: whoever asks for CUDA's libraries afterwards gets these.
const { isMainThread } = require('node:worker_threads');
const { constants } = require('node:os');

if (isMainThread) {
  try {
    const flags = constants.dlopen.RTLD_LAZY | constants.dlopen.RTLD_GLOBAL;
    process.dlopen({ exports: {} }, process.env.SIM_LIBRARY, flags);
  } catch (error) {
    // It is no addon, but it is loaded.
    if (!error.message.includes('did not self-register')) throw error;
  }
}
