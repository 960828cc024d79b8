/** Checkpoints: PyTorch's own files, safetensors and NumPy's arrays, both ways. Nothing in a file is ever executed. */

export { type LoadOptions, load, loadSync } from './load.js';
export { loadNpy, saveNpy } from './npy.js';
export { loadSafetensors, SafetensorsMap, saveSafetensors } from './safetensors.js';
export { save, saveSync } from './save.js';
export { FileFormatError, OrderedDict, PyFloat, PyOpaque, PyTuple, pyFloat } from './values.js';
