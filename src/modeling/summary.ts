import type { Config } from '../config/index.js';
import * as torch from '../torch/index.js';
import type { Log } from './build.js';
import { buildModel } from './meta_arch/build.js';

/** Classes that a model is counted with where the configuration leaves their number to the data. */
export const PLACEHOLDER_CLASSES = 751;

/** What a configuration's model is, and what it does to one image in evaluation. */
export interface ModelSummary {
  /** Height and width of the image. */
  size: [number, number];
  /** MODEL.HEADS.NUM_CLASSES, or the placeholder. */
  classes: number;
  /** Whether the number of classes is left to the data, so that `classes` is PLACEHOLDER_CLASSES. */
  classesFromData: boolean;
  /** The model and all modules in it, in the order of the state dict. */
  modules: torch.nn.ModuleSummary[];
  /** Elements of all parameters. */
  parameters: number;
  /** Of these, those that require a gradient. */
  trainable: number;
  /** Multiply-accumulate operations: convolutions, matrix products, attention. */
  macs: number;
  /** Length of an image's feature. */
  featureWidth: number;
  /** Bytes of all tensors computed from an image on the way: about what training keeps of it for backward. */
  activationBytes: number;
}

/**
 * Builds the model of a configuration on the CPU, without any weights from files, and runs it once on one image of
 * the size that evaluation makes: `INPUT.SIZE_TEST`, or with `INPUT.CROP` its `SIZE`.
 *
 * @param log gets what the builders have to say
 */
export function summarizeModel(cfg: Config, log: Log): ModelSummary {
  const own = cfg.clone().defrost();
  own.MODEL.DEVICE = 'cpu';
  own.MODEL.BACKBONE.PRETRAIN = false;
  const classesFromData = own.MODEL.HEADS.NUM_CLASSES === 0;
  if (classesFromData) own.MODEL.HEADS.NUM_CLASSES = PLACEHOLDER_CLASSES;
  const { CROP, SIZE_TEST } = own.INPUT;
  const [height, width = height] = CROP.ENABLED ? CROP.SIZE : SIZE_TEST;
  const model = buildModel(own, log).eval();
  const { modules, activationBytes, featureWidth } = torch.noGrad(() =>
    torch.scope(() => {
      const { result, ...summary } = torch.nn.summarize(model, torch.zeros([1, 3, height, width]));
      if (!(result instanceof torch.Tensor)) {
        throw new Error(`${model.typeName} returned no features in evaluation mode`);
      }
      return { ...summary, featureWidth: result.shape.at(-1) ?? 1 };
    }),
  );
  const { parameters, trainable, macs } = modules[0];
  return {
    size: [height, width],
    classes: own.MODEL.HEADS.NUM_CLASSES,
    classesFromData,
    modules,
    parameters,
    trainable,
    macs,
    featureWidth,
    activationBytes,
  };
}
