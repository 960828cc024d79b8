import * as torch from '../torch/index.js';

type Tensor = torch.Tensor;

/** The part of a model that is needed here: features of images, with gradients. */
export interface ExplainableModel extends torch.nn.AnyModule {
  call(batch: { images: Tensor; camids?: Tensor }): unknown;
}

/** Where a picture made a layer active. Both maps are float32 `[height, width]` of the picture, 0 to 1, on the CPU. */
export interface PictureMaps {
  /** L2 norm of the activations over the channels, from its least to its greatest value. */
  activation: Tensor;
  /** What of it raises the similarity, over its greatest value; all 0 where nothing does. */
  contribution: Tensor;
}

export interface Explanation {
  /** Cosine of the two features. */
  similarity: number;
  query: PictureMaps;
  match: PictureMaps;
}

/**
 * Where two pictures agree, in a model in evaluation mode. Activations are shown as the L2 norm over channels
 * (Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, with p = 2); contributions weight the
 * channels by the mean gradient of the similarity, and keep what is positive (Selvaraju et al., "Grad-CAM", ICCV
 * 2017, equations 1 and 2, with the similarity as score).
 *
 * @param images `[2, 3, height, width]`, 0 to 255, RGB: query and match
 * @param layer dotted name of a module that gives maps `[2, C, h, w]`; default `backbone`
 * @param camids int64 `[2]`, for models with embeddings of cameras; default: both unknown
 * @throws where the layer gives something else
 */
export function explainPair(
  model: ExplainableModel,
  images: Tensor,
  layer = 'backbone',
  camids?: Tensor,
): Explanation {
  if (images.shape.length !== 4 || images.shape[0] !== 2) {
    throw new RangeError(
      `explainPair: two images [2, 3, height, width] are needed, not [${images.shape.join(', ')}]`,
    );
  }
  using capture = new torch.nn.Capture(model, { layers: layer, what: ['output', 'gradOutput'] });
  const kept = torch.scope(() => {
    // The pictures ask for a gradient, so that there is one whether or not the model's weights do.
    const pixels = images.detach().to(torch.float32).requiresGrad_();
    capture.attach();
    const features = model.call({ images: pixels, camids });
    if (!(features instanceof torch.Tensor)) throw new Error('explainPair: the model is in training mode');
    const [a, b] = [features.select(0, 0), features.select(0, 1)];
    const similarity = a.mul(b).sum().div(a.linalg_vector_norm().mul(b.linalg_vector_norm()));
    torch.autograd.grad(similarity, pixels);
    capture.detach();
    const seen = capture.take();
    try {
      const [output, gradient] = ['output', 'gradOutput'].map(
        (what) => seen.find((one) => one.what === what)?.value,
      );
      if (output?.shape.length !== 4) {
        const what = output === undefined ? 'nothing' : `[${output.shape.join(', ')}]`;
        throw new Error(
          `'${layer}' gives ${what}, not maps [2, channels, height, width]: choose a layer that does`,
        );
      }
      if (gradient === undefined)
        throw new Error(`the features do not depend on '${layer}': choose another layer`);
      const size = images.shape.slice(2);
      const maps = torch.noGrad(() => mapsOf(output, gradient, size));
      return { similarity: Number(similarity.item()), maps: maps.map((map) => map.keep()) };
    } finally {
      for (const { value } of seen) value.dispose();
    }
  });
  const [activation, contribution] = kept.maps;
  const of = (i: number): PictureMaps => ({
    activation: activation.select(0, i).keep(),
    contribution: contribution.select(0, i).keep(),
  });
  return { similarity: kept.similarity, query: of(0), match: of(1) };
}

/** Activation and contribution, `[2, height, width]` each. */
function mapsOf(output: Tensor, gradient: Tensor, size: number[]): [Tensor, Tensor] {
  const activation = output.linalg_vector_norm(2, [1], true);
  const contribution = gradient.mean([2, 3], true).mul(output).sum([1], true).relu();
  const enlarge = (map: Tensor): Tensor =>
    map.to(torch.float32).upsample_bilinear2d(size, false).squeeze(1).cpu();
  const [wide, useful] = [enlarge(activation), enlarge(contribution)];
  const low = wide.amin([1, 2], true);
  const range = wide.amax([1, 2], true).sub(low);
  return [wide.sub(low).div(range.clamp_min(TINY)), useful.div(useful.amax([1, 2], true).clamp_min(TINY))];
}

/** Keeps maps without any difference from becoming 0 / 0. */
const TINY = 1e-12;
