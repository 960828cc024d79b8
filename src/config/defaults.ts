import { float, tuple } from './pyvalue.js';

// FastReID writes its ImageNet statistics as fractions of 255; the products below are the very same doubles.
const IMAGENET_MEAN = [0.485 * 255, 0.456 * 255, 0.406 * 255];
const IMAGENET_STD = [0.229 * 255, 0.224 * 255, 0.225 * 255];
const WEIGHT_DECAY = 0.0005;

/**
 * Every key with its default, named and valued as in FastReID, plus those in ours.ts. The type `Config` is derived from
 * this object. `float(…)` marks a float default that is integral, `tuple(…)` a tuple: FastReID's files tell them
 * apart, so must we.
 */
export const DEFAULTS = {
  MODEL: {
    /** `cpu`, `cuda` or `cuda:N`. */
    DEVICE: 'cuda',
    /**
     * Layout of maps in training and prediction: `contiguous` (one channel after the other), `channels_last` (the
     * channels of a pixel together), or `auto`, the faster one for this model and device; not a FastReID key.
     */
    MEMORY_FORMAT: 'auto',
    /** Name in the meta-architecture registry. */
    META_ARCHITECTURE: 'Baseline',
    /** Module paths kept frozen for the first `SOLVER.FREEZE_ITERS` iterations. */
    FREEZE_LAYERS: [] as string[],
    /** Entries in MoCo's memory. */
    QUEUE_SIZE: 8192,
    BACKBONE: {
      /** Name in the backbone registry. */
      NAME: 'build_resnet_backbone',
      /** Size of the network; each backbone has its own names. */
      DEPTH: '50x',
      /** Stride of the last stage; 1 keeps a larger feature map. */
      LAST_STRIDE: 1,
      /** Channels of the feature map the backbone returns. */
      FEAT_DIM: 2048,
      /** Normalisation layer: `BN`, `syncBN`, `GhostBN`, `FrozenBN` or `GN`. */
      NORM: 'BN',
      /**
       * Parts of a batch that GhostBN normalises by themselves; must divide the images a device gets. Not a key of
       * today's FastReID, but of its first versions; 1, as there, makes GhostBN a BN.
       */
      NORM_SPLIT: 1,
      /** Instance-batch normalisation blocks. */
      WITH_IBN: false,
      /** Squeeze-and-excitation blocks. */
      WITH_SE: false,
      /** Non-local blocks. */
      WITH_NL: false,
      /** Vision transformer: weight of the side information embedding. */
      SIE_COE: float(3),
      /**
       * Vision transformer: number of cameras that get a side information embedding, 0 = none; at least as many as
       * there are in all of DATASETS.NAMES. Not a FastReID key.
       */
      SIE_CAMERAS: 0,
      /**
       * Vision transformer: what it returns: the class token (`cls`), which needs no pooling, or the map of the
       * patches' tokens (`patch`), for a pooling layer; not a FastReID key.
       */
      TOKENS: 'cls',
      /** Vision transformer: stride of the patches, [height, width] in pixels. */
      STRIDE_SIZE: tuple(16, 16),
      /** Vision transformer: stochastic depth. */
      DROP_PATH_RATIO: 0.1,
      /** Vision transformer: dropout. */
      DROP_RATIO: float(0),
      /** Vision transformer: dropout of the attention weights. */
      ATT_DROP_RATE: float(0),
      /** Start from pre-trained weights. */
      PRETRAIN: false,
      /** File of the pre-trained weights (.pth or .safetensors). */
      PRETRAIN_PATH: '',
    },
    HEADS: {
      /** Name in the head registry. */
      NAME: 'EmbeddingHead',
      /** Normalisation of the neck; names as in MODEL.BACKBONE.NORM. */
      NORM: 'BN',
      /** As MODEL.BACKBONE.NORM_SPLIT, for the neck. */
      NORM_SPLIT: 1,
      /** Identities to classify; 0 = counted from the training set. */
      NUM_CLASSES: 0,
      /** Size of the embedding; 0 = as wide as the backbone's features. */
      EMBEDDING_DIM: 0,
      /** Batch normalisation between the pooled feature and the classifier. */
      WITH_BNNECK: false,
      /** Which feature the metric losses see: `before` or `after` the neck. */
      NECK_FEAT: 'before',
      /** Name in the pooling registry. */
      POOL_LAYER: 'GlobalAvgPool',
      /** Name in the classification layer registry. */
      CLS_LAYER: 'Linear',
      /** Margin of margin-based classification layers. */
      MARGIN: float(0),
      /** Scale of margin-based classification layers. */
      SCALE: 1,
    },
    LOSSES: {
      /** Losses to add up, by name. */
      NAME: tuple('CrossEntropyLoss'),
      /** Cross entropy. */
      CE: {
        /** Label smoothing; 0 = none, below 0 = adaptive with ALPHA. */
        EPSILON: float(0),
        /** Smoothing strength of the adaptive mode. */
        ALPHA: 0.2,
        SCALE: float(1),
      },
      /** Focal loss. */
      FL: { ALPHA: 0.25, GAMMA: 2, SCALE: float(1) },
      /** Triplet loss. */
      TRI: {
        /** Margin; 0 = soft margin. */
        MARGIN: 0.3,
        /** Normalise the features first. */
        NORM_FEAT: false,
        /** Hardest positive and negative only; otherwise softmax-weighted. */
        HARD_MINING: false,
        SCALE: float(1),
      },
      /** Pairwise circle loss. */
      CIRCLE: { MARGIN: 0.25, GAMMA: 128, SCALE: float(1) },
      /** Pairwise CosFace loss. */
      COSFACE: { MARGIN: 0.25, GAMMA: 128, SCALE: float(1) },
    },
    /** Checkpoint of a whole model to load. */
    WEIGHTS: '',
    /** Per-channel mean taken off the image, 0 to 255, RGB. */
    PIXEL_MEAN: IMAGENET_MEAN,
    /** Per-channel divisor, 0 to 255, RGB. */
    PIXEL_STD: IMAGENET_STD,
  },
  /** Knowledge distillation. */
  KD: {
    /** Configuration files of the teachers. */
    MODEL_CONFIG: [] as string[],
    /** Weights of the teachers. */
    MODEL_WEIGHTS: [] as string[],
    /** A moving average of the student as its teacher. */
    EMA: { ENABLED: false, MOMENTUM: 0.999 },
  },
  INPUT: {
    /** [height, width] in training. */
    SIZE_TRAIN: [256, 128],
    /** [height, width] in evaluation. */
    SIZE_TEST: [256, 128],
    /** Random resized crop in training, centre crop in evaluation. */
    CROP: { ENABLED: false, SIZE: [224, 224], SCALE: [0.16, 1], RATIO: [3 / 4, 4 / 3] },
    /** Horizontal flip. */
    FLIP: { ENABLED: false, PROB: 0.5 },
    /** Padding followed by a crop at random. */
    PADDING: { ENABLED: false, MODE: 'constant', SIZE: 10 },
    /** Colour jitter. */
    CJ: { ENABLED: false, PROB: 0.5, BRIGHTNESS: 0.15, CONTRAST: 0.15, SATURATION: 0.1, HUE: 0.1 },
    /** Random affine map. */
    AFFINE: { ENABLED: false },
    /** AutoAugment with the ImageNet policy. */
    AUTOAUG: { ENABLED: false, PROB: float(0) },
    /** AugMix. */
    AUGMIX: { ENABLED: false, PROB: float(0) },
    /** Random erasing; VALUE is the colour painted, 0 to 255, RGB. */
    REA: { ENABLED: false, PROB: 0.5, VALUE: IMAGENET_MEAN },
    /** Random patch. */
    RPT: { ENABLED: false, PROB: 0.5 },
  },
  DATASETS: {
    /** Data sets to train on, by name, or your own as `folder:/path` or `manifest:/path.csv`. */
    NAMES: tuple('Market1501'),
    /** Data sets to evaluate on, likewise. */
    TESTS: tuple('Market1501'),
    /** Train on query and gallery images too. */
    COMBINEALL: false,
    /**
     * How `folder:` and `manifest:` are read: the share of the identities to test on, where the data do not say which;
     * the seed that decides; how a picture's name says its camera (empty: it does not). Not FastReID keys.
     */
    OWN: { TEST_SHARE: 0.5, SEED: 0, CAMERA_PATTERN: '_c(\\d+)' },
  },
  DATALOADER: {
    /**
     * `TrainingSampler`, `NaiveIdentitySampler`, `BalancedIdentitySampler`, `SetReWeightSampler` or
     * `ImbalancedDatasetSampler`.
     */
    SAMPLER_TRAIN: 'TrainingSampler',
    /** Images of each identity in a batch. */
    NUM_INSTANCE: 4,
    /** Images decoded at the same time. */
    NUM_WORKERS: 8,
    /**
     * Where decoded training images are kept: nowhere (empty), in `memory`, or in a folder of this name; not a
     * FastReID key.
     */
    CACHE: '',
    /** Most that CACHE may hold, in GiB; what does not fit is decoded anew each time. Not a FastReID key. */
    CACHE_GIB: float(4),
    /** Identities of each data set of NAMES (or of each camera) in a batch of SetReWeightSampler: a proportion. */
    SET_WEIGHT: [] as number[],
    /**
     * Go on when a picture cannot be read, with a warning: in training another one of the batch takes its place, of the
     * same identity where there is one; evaluation leaves it out. Not a FastReID key.
     */
    SKIP_BROKEN: false,
  },
  SOLVER: {
    /**
     * Automatic mixed precision. DTYPE (not a FastReID key) is `float16`, `bfloat16` or `auto`: float16 on CUDA,
     * bfloat16 on CPUs with instructions for it, float32 on others.
     */
    AMP: { ENABLED: false, DTYPE: 'auto' },
    /**
     * Records training steps in a CUDA graph, which is launched at once instead of kernel by kernel. Not a FastReID key.
     * For one process on CUDA with Adam, AdamW or SGD.
     */
    CUDA_GRAPH: false,
    /** Optimizer: `SGD`, or a name of torch.optim's (`Adam`, `AdamW`, `RAdam`, …), or `Lamb`. */
    OPT: 'Adam',
    MAX_EPOCH: 120,
    BASE_LR: 3e-4,
    /** Learning rate of the heads, as a multiple of BASE_LR. */
    HEADS_LR_FACTOR: float(1),
    MOMENTUM: 0.9,
    NESTEROV: false,
    WEIGHT_DECAY,
    /** Weight decay of normalisation layers. */
    WEIGHT_DECAY_NORM: 0.0005,
    /** Learning rate of biases, as a multiple of BASE_LR. */
    BIAS_LR_FACTOR: float(1),
    /** Weight decay of biases. */
    WEIGHT_DECAY_BIAS: WEIGHT_DECAY,
    /** Learning rate schedule: `MultiStepLR` or `CosineAnnealingLR`. */
    SCHED: 'MultiStepLR',
    /** Epochs before the schedule starts (cosine). */
    DELAY_EPOCHS: 0,
    /** Factor applied at each of STEPS. */
    GAMMA: 0.1,
    /** Epochs, counted from the end of the warm-up, at which the rate drops. */
    STEPS: [30, 55],
    /** Lowest learning rate of the cosine schedule. */
    ETA_MIN_LR: 1e-7,
    /** Learning rate at the first iteration, as a multiple of BASE_LR. */
    WARMUP_FACTOR: 0.1,
    /** Iterations of the warm-up. */
    WARMUP_ITERS: 1000,
    /** `constant`, `linear` or `exp`. */
    WARMUP_METHOD: 'linear',
    /** Iterations for which MODEL.FREEZE_LAYERS stay frozen. */
    FREEZE_ITERS: 0,
    /**
     * Exponential moving average of the weights, with MOMENTUM, updated after every step; it is what is evaluated
     * and saved as the model. Not FastReID keys.
     */
    EMA: { ENABLED: false, MOMENTUM: 0.999 },
    /**
     * Stochastic weight averaging: from START_EPOCH on (0 = after three quarters of MAX_EPOCH) rates stay at
     * LR_FACTOR times the initial ones (0 = as scheduled), weights are averaged every PERIOD epochs, and the model
     * ends as the average. Not FastReID keys.
     */
    SWA: { ENABLED: false, START_EPOCH: 0, PERIOD: 1, LR_FACTOR: 0.5 },
    /** Epochs between checkpoints. */
    CHECKPOINT_PERIOD: 20,
    /** Images in a batch, over all devices. */
    IMS_PER_BATCH: 64,
    /** Gradient clipping. */
    CLIP_GRADIENTS: {
      ENABLED: false,
      /** `value` or `norm`. */
      CLIP_TYPE: 'norm',
      CLIP_VALUE: float(5),
      /** Order of the norm; infinity is written `.inf`. */
      NORM_TYPE: float(2),
    },
  },
  TEST: {
    /** Epochs between evaluations. */
    EVAL_PERIOD: 20,
    /** Images in a batch, over all devices. */
    IMS_PER_BATCH: 64,
    /** `cosine`, `euclidean`, or `jaccard`: the distance of re-ranking alone, with K1 and K2 of RERANK. */
    METRIC: 'cosine',
    /**
     * What judges the model: `ReidEvaluator` ranks by features, `ClasEvaluator` counts the right classes of a `ClasHead`;
     * not a FastReID key.
     */
    EVALUATOR: 'ReidEvaluator',
    /** Ranks to report; not a FastReID key. */
    RANKS: [1, 5, 10],
    /** MiB that distances may take beside the features; not a FastReID key. */
    MEMORY_BUDGET: 256,
    /** Rank-k with one gallery image of each identity too; not a FastReID key. */
    SINGLE_SHOT: false,
    /** Draws of identities for 95 % confidence intervals, 0 for none; not a FastReID key. */
    BOOTSTRAP: 0,
    /** How well each camera finds images of each other one; not a FastReID key. */
    CAMERA_PAIRS: false,
    /** Measures of general retrieval too: Recall at RECALLS, R-precision, mAP@R; not a FastReID key. */
    RETRIEVAL: { ENABLED: false, RECALLS: [1, 2, 4, 8] },
    /** Verification figures beside the ranking ones. */
    ROC: { ENABLED: false },
    /** Add the features of the mirrored image. */
    FLIP: { ENABLED: false },
    /** Average query expansion. */
    AQE: { ENABLED: false, ALPHA: float(3), QE_TIME: 1, QE_K: 5 },
    /** k-reciprocal re-ranking. */
    RERANK: { ENABLED: false, K1: 20, K2: 6, LAMBDA: 0.3 },
    /** Batch-norm statistics computed anew before evaluation. */
    PRECISE_BN: { ENABLED: false, DATASET: 'Market1501', NUM_ITER: 300 },
  },
  /** What the training loop shows of itself; docs/hooks.md. Not FastReID keys. */
  HOOKS: {
    /** Gradient norms and update ratios, each PERIOD iterations, by groups of as many parts of a name as DEPTH says. */
    PARAMETERS: { ENABLED: false, PERIOD: 100, DEPTH: 2 },
    /** Mean, deviation and dead units of what LAYERS (names or patterns) give, each PERIOD iterations. */
    ACTIVATIONS: { LAYERS: [] as string[], PERIOD: 100 },
    /**
     * What flows through LAYERS, each PERIOD iterations. WHAT: `input`, `output`, `grad-input`, `grad-output`,
     * `grad-parameters`; REDUCE: `full`, `mean`, `std`, `norm`, `histogram`, `channel-mean`; TO: `tensorboard`,
     * `safetensors`.
     */
    CAPTURE: {
      LAYERS: [] as string[],
      PERIOD: 100,
      WHAT: ['output'],
      REDUCE: ['mean'],
      TO: ['tensorboard'],
    },
    /** Stop at the first value that is infinite or undefined, name the module, save the batch. */
    NON_FINITE: { ENABLED: false },
    /** Iterations, counted from 0, of which to make a profile. */
    PROFILER: { ITERS: [] as number[] },
  },
  /** Folder for checkpoints, logs and metrics. */
  OUTPUT_DIR: 'logs/',
  /** Let cuDNN time its algorithms; pays off when image sizes do not vary. */
  CUDNN_BENCHMARK: false,
  /** `fastreid` reproduces FastReID's figures where one of its quirks changes a number; not a FastReID key. */
  COMPAT: '',
};
