export { checkFeaturesPath, type FeatureSet, loadFeatures, saveFeatures } from './features.js';
