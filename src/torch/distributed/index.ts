// Several processes that compute together: stores, process groups, collectives, data-parallel training.

export { broadcastTensors, type DataParallelOptions, DistributedDataParallel } from './data_parallel.js';
export { firstHost, type Meeting, meetingOf, type Placement, placementOf } from './environment.js';
export { type BackendName, ProcessGroup, type ReduceOp, type Transfer } from './group.js';
export {
  destroyProcessGroup,
  endWithParent,
  getRank,
  getWorldSize,
  initProcessGroup,
  isInitialized,
  newGroup,
  type ProcessGroupOptions,
  worldGroup,
} from './init.js';
export { allGatherObject, allGatherObjectSync, broadcastObject, gatherObject } from './objects.js';
export { fileStore, Store, type TCPStore, type TcpStoreOptions, tcpStore } from './store.js';
export { DistributedError, distributedError, type Work } from './work.js';
