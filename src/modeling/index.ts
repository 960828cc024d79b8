import './backbones/clip_vit.js';
import './backbones/convnext.js';
import './backbones/effnet.js';
import './backbones/mobilenetv2.js';
import './backbones/mobilenetv3.js';
import './backbones/osnet.js';
import './backbones/regnet.js';
import './backbones/repvgg.js';
import './backbones/resnest.js';
import './backbones/resnet.js';
import './backbones/resnet_distill.js';
import './backbones/resnext.js';
import './backbones/shufflenetv2.js';
import './backbones/timm_vit.js';
import './backbones/vit.js';
import './heads/clas_head.js';
import './heads/embedding_head.js';
import './meta_arch/baseline.js';
import './meta_arch/distiller.js';
import './meta_arch/mgn.js';
import './meta_arch/moco.js';

export { BACKBONE_REGISTRY, buildBackbone } from './backbones/build.js';
export { CameraBackbone, callBackbone } from './backbones/cameras.js';
export { buildClipVit } from './backbones/clip_vit.js';
export { buildConvNeXt, ConvNeXt, ConvNeXtBlock, type ConvNeXtOptions } from './backbones/convnext.js';
export { buildEffNet, EffNet, type EffNetOptions } from './backbones/effnet.js';
export { buildMobileNetV2, MobileNetV2, type MobileNetV2Options } from './backbones/mobilenetv2.js';
export { buildMobileNetV3, MobileNetV3, type MobileNetV3Options } from './backbones/mobilenetv3.js';
export { buildOSNet, OSBlock, OSNet, type OSNetOptions } from './backbones/osnet.js';
export { loadPretrained, type PretrainedReport } from './backbones/pretrained.js';
export { buildRegNet, RegNet, type RegNetOptions } from './backbones/regnet.js';
export { buildRepVGG, RepVGG, RepVGGBlock, type RepVGGOptions } from './backbones/repvgg.js';
export { buildResNeSt, ResNeSt, type ResNeStOptions } from './backbones/resnest.js';
export { BasicBlock, Bottleneck, buildResNet, ResNet, type ResNetOptions } from './backbones/resnet.js';
export { buildResNetDistill } from './backbones/resnet_distill.js';
export { buildResNeXt, ResNeXt, ResNeXtBottleneck, type ResNeXtOptions } from './backbones/resnext.js';
export { buildShuffleNetV2, ShuffleNetV2, type ShuffleNetV2Options } from './backbones/shufflenetv2.js';
export { buildDinov2, buildPlainVit } from './backbones/timm_vit.js';
export { VisionTransformer, type VisionTransformerOptions } from './backbones/vision_transformer.js';
export { buildVit } from './backbones/vit.js';
export { setBatchGroup } from './batch_group.js';
export type { Builder, Log } from './build.js';
export { type Deployable, deploy } from './deploy.js';
export { buildHeads, type Head, type HeadOutputs, REID_HEADS_REGISTRY } from './heads/build.js';
export { ClasHead } from './heads/clas_head.js';
export { EmbeddingHead, type EmbeddingHeadOptions } from './heads/embedding_head.js';
export type { BatchGroup } from './layers/batch_group.js';
export {
  ArcSoftmax,
  CircleSoftmax,
  CLS_LAYER_REGISTRY,
  ClassificationLayer,
  type ClassificationOptions,
  CosSoftmax,
  Linear,
} from './layers/classification.js';
export { IBN } from './layers/ibn.js';
export { NonLocal } from './layers/non_local.js';
export {
  BatchNorm,
  FrozenBatchNorm,
  GhostBatchNorm,
  GroupNorm32,
  getNorm,
  NORM_REGISTRY,
  type NormLayer,
  type NormOptions,
  SyncBatchNorm,
  setNormSplits,
} from './layers/norm.js';
export { POOLING_REGISTRY, type PoolLayer } from './layers/pooling.js';
export { SplitAttentionConv2d, type SplitAttentionOptions } from './layers/split_attention.js';
export { SqueezeExcite } from './layers/squeeze_excite.js';
export * from './losses/index.js';
export { applyMemoryFormat } from './memory_format.js';
export { Baseline, type BaselineOptions } from './meta_arch/baseline.js';
export {
  buildModel,
  type ExtraState,
  type LossDict,
  META_ARCH_REGISTRY,
  MetaArch,
  type ModelInput,
} from './meta_arch/build.js';
export { Distiller, type DistillerOptions } from './meta_arch/distiller.js';
export { ImageModel, type PixelStatistics, pixelStatistics } from './meta_arch/image_model.js';
export { MGN, type MGNOptions } from './meta_arch/mgn.js';
export { FeatureMemory, type FeatureMemoryOptions, MoCo, type MoCoOptions } from './meta_arch/moco.js';
export { MovingAverage } from './meta_arch/teacher.js';
export { type ModelSummary, PLACEHOLDER_CLASSES, summarizeModel } from './summary.js';
