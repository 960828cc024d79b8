// Configurations that between them use every kind of layer, head and loss.

/** Options of a backbone. */
export const backbone = (name: string, depth: string, dim: number, ...more: unknown[]): unknown[] => [
  ...['MODEL.BACKBONE.NAME', `build_${name}_backbone`, 'MODEL.BACKBONE.DEPTH', depth],
  ...['MODEL.BACKBONE.FEAT_DIM', dim, ...more],
];
/** Options of a ResNet-18. */
export const resnet = (...more: unknown[]): unknown[] => backbone('resnet', '18x', 512, ...more);

/** A model of each kind whose layers look at the layout of a map. */
export const MODELS: Record<string, unknown[]> = {
  'ResNet with SE and IBN': resnet('MODEL.BACKBONE.WITH_SE', true, 'MODEL.BACKBONE.WITH_IBN', true),
  'ResNet-50 with non-local blocks': backbone('resnet', '50x', 2048, 'MODEL.BACKBONE.WITH_NL', true),
  'group normalisation': resnet('MODEL.BACKBONE.NORM', 'GN'),
  'FrozenBN and an embedding': resnet('MODEL.BACKBONE.NORM', 'FrozenBN', 'MODEL.HEADS.EMBEDDING_DIM', 16),
  'ghost batch norm': resnet('MODEL.BACKBONE.NORM', 'GhostBN', 'MODEL.BACKBONE.NORM_SPLIT', 2),
  ...Object.fromEntries(
    [
      'FastGlobalAvgPool',
      'GlobalMaxPool',
      'AdaptiveAvgMaxPool',
      'ClipGlobalAvgPool',
      'GeneralizedMeanPoolingP',
    ].map((pool) => [pool, resnet('MODEL.HEADS.POOL_LAYER', pool, 'MODEL.HEADS.WITH_BNNECK', true)]),
  ),
  OSNet: backbone('osnet', 'x0_25', 128),
  MobileNetV2: backbone('mobilenetv2', '0.1x', 1280),
  MobileNetV3: backbone('mobilenetv3', 'Small', 1024),
  ShuffleNetV2: backbone('shufflenetv2', '0.5x', 1024),
  ResNeSt: backbone('resnest', '50x', 2048),
  RepVGG: backbone('repvgg', 'A0', 1280),
  MGN: resnet('MODEL.META_ARCHITECTURE', 'MGN'),
};

/** Losses, heads and meta-architectures, as options of a ResNet-18 of five classes. */
export const TRAININGS: Record<string, unknown[]> = {
  'all losses': [
    'MODEL.LOSSES.NAME',
    ['CrossEntropyLoss', 'TripletLoss', 'CircleLoss', 'Cosface', 'FocalLoss'],
  ],
  'adaptive smoothing, soft margin, soft mining': [
    ...['MODEL.LOSSES.CE.EPSILON', 0.1, 'MODEL.LOSSES.CE.ALPHA', 0.2, 'MODEL.LOSSES.TRI.MARGIN', 0],
    ...['MODEL.LOSSES.TRI.HARD_MINING', false, 'MODEL.LOSSES.TRI.NORM_FEAT', true],
    ...['MODEL.LOSSES.NAME', ['CrossEntropyLoss', 'TripletLoss']],
  ],
  ArcSoftmax: ['MODEL.HEADS.CLS_LAYER', 'ArcSoftmax', 'MODEL.HEADS.SCALE', 16, 'MODEL.HEADS.MARGIN', 0.2],
  CosSoftmax: ['MODEL.HEADS.CLS_LAYER', 'CosSoftmax', 'MODEL.HEADS.SCALE', 16, 'MODEL.HEADS.MARGIN', 0.2],
  CircleSoftmax: [
    'MODEL.HEADS.CLS_LAYER',
    'CircleSoftmax',
    'MODEL.HEADS.SCALE',
    16,
    'MODEL.HEADS.MARGIN',
    0.2,
  ],
  'generalised mean': ['MODEL.HEADS.POOL_LAYER', 'GeneralizedMeanPoolingP'],
  'ghost batch norm in backbone and heads': ['MODEL.BACKBONE.NORM', 'GhostBN', 'MODEL.HEADS.NORM', 'GhostBN'],
  MoCo: ['MODEL.META_ARCHITECTURE', 'MoCo', 'MODEL.QUEUE_SIZE', 64],
  Distiller: ['MODEL.META_ARCHITECTURE', 'Distiller', 'KD.EMA.ENABLED', true],
  'non-local, IBN, SE': [
    ...['MODEL.BACKBONE.DEPTH', '50x', 'MODEL.BACKBONE.FEAT_DIM', 2048, 'MODEL.BACKBONE.WITH_NL', true],
    ...['MODEL.BACKBONE.WITH_IBN', true, 'MODEL.BACKBONE.WITH_SE', true],
  ],
  ViT: [
    ...['MODEL.BACKBONE.NAME', 'build_vit_backbone', 'MODEL.BACKBONE.DEPTH', 'small'],
    ...['MODEL.BACKBONE.FEAT_DIM', 768],
  ],
};
